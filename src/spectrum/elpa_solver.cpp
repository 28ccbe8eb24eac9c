#include "elpa_solver.hpp"

#ifdef TANGRAM_HAS_ELPA
// ELPA 2022 declares this one without saying that it is C.
extern "C" const char* elpa_strerr(int elpa_error);
#include <elpa/elpa.h>
#include <fmt/core.h>

#include <cstdlib>
#include <memory>

#include "tangram/parallel/collective_error.hpp"
#endif

namespace tangram {

#ifdef TANGRAM_HAS_ELPA

namespace {

void check(int code, const char* action) {
    if (code != ELPA_OK)
        throw Error(
            ExitStatus::numerical, ErrorKind::library,
            fmt::format("ELPA failed to {}: {}; try another spectrum.solver", action, elpa_strerr(code)));
}

/// Starts ELPA, once per process. It is stopped at the beginning of MPI_Finalize, which frees the attributes
/// of MPI_COMM_SELF first.
int start() {
    const int code = elpa_init(20171201);
    if (code != ELPA_OK) return code;
    int key = MPI_KEYVAL_INVALID;
    const auto stop = [](MPI_Comm, int, void*, void*) {
        int ignored = ELPA_OK;
        elpa_uninit(&ignored);
        return MPI_SUCCESS;
    };
    TANGRAM_MPI(MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, stop, &key, nullptr));
    TANGRAM_MPI(MPI_Comm_set_attr(MPI_COMM_SELF, key, nullptr));
    TANGRAM_MPI(MPI_Comm_free_keyval(&key));
    return code;
}

}  // namespace

bool has_elpa() { return true; }

void solve_elpa(DistributedMatrix& G, bool two_stage, bool vectors, Index count, std::vector<double>& w,
                DistributedMatrix& V) {
    const ProcessGrid& grid = G.grid();
    static const int initialised = start();
    int code = ELPA_OK;
    const auto deallocate = [](elpa_t handle) {
        int ignored = ELPA_OK;
        elpa_deallocate(handle, &ignored);
    };
    collectively(grid.comm().get(), [&] { check(initialised, "start"); });
    const std::unique_ptr<elpa_struct, decltype(deallocate)> elpa(elpa_allocate(&code), deallocate);
    collectively(grid.comm().get(), [&] {
        check(code, "allocate");
        const auto set = [&](const char* key, Index value) {
            int failed = ELPA_OK;
            elpa_set_integer(elpa.get(), key, narrow(value, key), &failed);
            check(failed, key);
        };
        set("na", G.rows());
        set("nev", count);
        set("local_nrows", G.local_rows());
        set("local_ncols", G.local_columns());
        set("nblk", G.block());
        set("mpi_comm_parent", MPI_Comm_c2f(grid.comm().get()));
        set("process_row", grid.row());
        set("process_col", grid.column());
        set("blacs_context", grid.context());
    });
    code = elpa_setup(elpa.get());
    collectively(grid.comm().get(), [&] {
        check(code, "set up");
        elpa_set_integer(elpa.get(), "solver", two_stage ? ELPA_SOLVER_2STAGE : ELPA_SOLVER_1STAGE, &code);
        check(code, "choose the solver");
    });
    if (vectors)
        elpa_eigenvectors(elpa.get(), G.data(), w.data(), V.data(), &code);
    else
        elpa_eigenvalues(elpa.get(), G.data(), w.data(), &code);
    collectively(grid.comm().get(), [&] { check(code, "solve"); });
}

#else

bool has_elpa() { return false; }
// solver_by_name refuses both names first.
void solve_elpa(DistributedMatrix&, bool, bool, Index, std::vector<double>&, DistributedMatrix&) {
    std::abort();
}

#endif

}  // namespace tangram
