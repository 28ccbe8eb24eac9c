/// Worker: seconds of eigensolvers, bare of what the program does around them.
///     eigensolvers SOLVER PROBLEM values|vectors          all eigenpairs: pdsyevd, pdsyevr, elpa1, elpa2
///     eigensolvers SOLVER PROBLEM values|vectors BLOCK GRID_ROWS  by spectrum.solver's names, as the program
///                                                does it, in this layout; 0: as it chooses
///     eigensolvers SOLVER PROBLEM COUNT [TOLERANCE] [key=value ...]
///                                                the largest: lanczos (ours), arpack, slepc (where it was
///                                                built with it)
/// PROBLEM: FILE.h5:/path of a symmetric matrix; a number of rows, of a random one; or, of the largest alone,
/// STUDY.toml, whose J (J^T x) is multiplied with. Prints one line of JSON: the longest seconds of any rank,
/// products (vectors, and calls), the largest eigenvalues.
#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <optional>

#include "../src/spectrum/elpa_solver.hpp"
#include "../src/spectrum/lapack.hpp"
#include "../src/stages/free_kernel.hpp"
#include "support/arpack.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/io/hdf5_file.hpp"
#include "tangram/io/matrix_io.hpp"
#include "tangram/learning/kernel_regression.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/random.hpp"
#include "tangram/spectrum/leading_pairs.hpp"
#ifdef TANGRAM_HAS_SLEPC
#include <slepceps.h>
#endif

namespace tangram {
namespace {

constexpr Index usual_block = 64;

/// H H^T / n, H normal.
DistributedMatrix random_matrix(const ProcessGrid& grid, Index n, Index block) {
    const std::uint64_t key = random::key_of(1, "benchmark");
    DistributedMatrix H(grid, n, n, block);
    for (Index j = 0; j < H.local_columns(); ++j)
        for (Index i = 0; i < H.local_rows(); ++i)
            H.data()[i + j * H.lld()] =
                random::normal(key, H.global_row(i) + H.global_column(j) * n) / std::sqrt(n);
    return multiply(H, transpose(H));
}

DistributedMatrix matrix_of(const std::string& problem, const ProcessGrid& grid, Index block) {
    Index rows = 0;
    const char* const end = problem.data() + problem.size();
    if (const auto [rest, error] = std::from_chars(problem.data(), end, rows);
        error == std::errc{} && rest == end)
        return random_matrix(grid, rows, block);
    const auto [file, path] = file_and_path(problem);
    return read_matrix({file, ExitStatus::input}, path, grid, block, Orientation::transposed);
}

/// A ScaLAPACK routine behind its two calls: the question for the workspace, and the work.
/// @param call  (work, size of work, iwork, size of iwork) -> info
template <class Call>
void with_workspace(Index least, Index least_integers, Call&& call) {
    std::array<double, 3> query{};
    std::vector<int> integers(static_cast<std::size_t>(least_integers));
    const int ask = -1, has = narrow(least_integers, "iwork");
    call(query.data(), ask, integers.data(), has);
    std::vector<double> work(static_cast<std::size_t>(std::max(static_cast<Index>(query[0]), least)));
    if (const int info = call(work.data(), narrow(std::ssize(work), "work"), integers.data(), has); info != 0)
        throw Error(ExitStatus::numerical, ErrorKind::library, fmt::format("info = {}", info));
}

std::vector<double> solve(const std::string& solver, DistributedMatrix& G, bool vectors) {
    const ProcessGrid& grid = G.grid();
    const Index n = G.rows(), nb = G.block();
    std::vector<double> w(static_cast<std::size_t>(n));
    DistributedMatrix V(grid, n, n, nb);
    const int order = narrow(n, "rows"), one = 1;
    const auto of_G = G.descriptor(), of_V = V.descriptor();
    const char* const job = vectors ? "V" : "N";
    if (solver == "elpa1" || solver == "elpa2") {
        solve_elpa(G, solver == "elpa2", vectors, n, w, V);
    } else if (solver == "pdsyevd") {  // has no values alone
        with_workspace(pdsyevd_workspace(n, nb, grid.rows(), grid.columns()), 7 * n + 8 * grid.columns() + 2,
                       [&](double* work, int size, int* iwork, int integers) {
                           int info = 0;
                           pdsyevd_("V", "L", &order, G.data(), &one, &one, of_G.data(), w.data(), V.data(),
                                    &one, &one, of_V.data(), work, &size, iwork, &integers, &info);
                           return info;
                       });
    } else {
        const double unused = 0;
        with_workspace(pdsyevr_workspace(n, nb, grid.rows(), grid.columns()), 14 * n + 4 * grid.comm().size(),
                       [&](double* work, int size, int* iwork, int integers) {
                           int info = 0, values = 0, found = 0;
                           pdsyevr_(job, "A", "L", &order, G.data(), &one, &one, of_G.data(), &unused,
                                    &unused, &one, &order, &values, &found, w.data(), V.data(), &one, &one,
                                    of_V.data(), work, &size, iwork, &integers, &info);
                           return info;
                       });
    }
    std::ranges::reverse(w);
    return w;
}

#ifdef TANGRAM_HAS_SLEPC
/// Of a call of PETSc or SLEPc, which say what is wrong on standard error, too.
void check(PetscErrorCode code, const char* call) {
    if (code == 0) return;
    const char* text = nullptr;
    PetscErrorMessage(code, &text, nullptr);
    throw Error(ExitStatus::numerical, ErrorKind::library,
                fmt::format("{}: {}", call, text != nullptr ? text : "an error of PETSc"));
}

/// y = G x of rows that are spread over the ranks.
void multiply_rows(Mat A, Vec x, Vec y) {
    const SymmetricOperator* G = nullptr;
    check(MatShellGetContext(A, &G), "MatShellGetContext");
    const PetscInt* firsts = nullptr;
    check(MatGetOwnershipRanges(A, &firsts), "MatGetOwnershipRanges");
    int ranks = 1, rank = 0;
    TANGRAM_MPI(MPI_Comm_size(G->comm, &ranks));
    TANGRAM_MPI(MPI_Comm_rank(G->comm, &rank));
    std::vector<int> counts;
    for (int r = 0; r < ranks; ++r) counts.push_back(firsts[r + 1] - firsts[r]);
    std::vector<double> whole(static_cast<std::size_t>(G->rows));
    const PetscScalar* from = nullptr;
    check(VecGetArrayRead(x, &from), "VecGetArrayRead");
    TANGRAM_MPI(MPI_Allgatherv(from, counts[static_cast<std::size_t>(rank)], MPI_DOUBLE, whole.data(),
                               counts.data(), firsts, MPI_DOUBLE, G->comm));
    check(VecRestoreArrayRead(x, &from), "VecRestoreArrayRead");
    const std::vector<double> product = G->product(whole, 1);
    PetscScalar* to = nullptr;
    check(VecGetArray(y, &to), "VecGetArray");
    std::copy_n(product.begin() + firsts[rank], counts[static_cast<std::size_t>(rank)], to);
    check(VecRestoreArray(y, &to), "VecRestoreArray");
}

/// What SLEPc calls: no exception passes through its frames.
PetscErrorCode multiply(Mat A, Vec x, Vec y) {
    try {
        multiply_rows(A, x, y);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "eigensolvers: error: %s\n", error.what());
        return PETSC_ERR_LIB;
    }
    return 0;
}

/// SLEPc's Krylov-Schur, its default for symmetric problems. Collective over G.comm.
std::vector<double> slepc_values(SymmetricOperator& G, Index count, double tolerance) {
    check(SlepcInitializeNoArguments(), "SlepcInitializeNoArguments");
    const auto n = static_cast<PetscInt>(G.rows), k = static_cast<PetscInt>(count);
    Mat A = nullptr;
    EPS eps = nullptr;
    check(MatCreateShell(G.comm, PETSC_DECIDE, PETSC_DECIDE, n, n, &G, &A), "MatCreateShell");
    check(MatShellSetOperation(A, MATOP_MULT, reinterpret_cast<void (*)()>(&multiply)),
          "MatShellSetOperation");
    check(EPSCreate(G.comm, &eps), "EPSCreate");
    check(EPSSetOperators(eps, A, nullptr), "EPSSetOperators");
    check(EPSSetProblemType(eps, EPS_HEP), "EPSSetProblemType");
    check(EPSSetWhichEigenpairs(eps, EPS_LARGEST_REAL), "EPSSetWhichEigenpairs");
    check(EPSSetDimensions(eps, k, PETSC_DEFAULT, PETSC_DEFAULT), "EPSSetDimensions");
    check(EPSSetTolerances(eps, tolerance, 10000), "EPSSetTolerances");
    check(EPSSolve(eps), "EPSSolve");
    PetscInt found = 0;
    check(EPSGetConverged(eps, &found), "EPSGetConverged");
    if (found < k)
        throw Error(ExitStatus::numerical, ErrorKind::not_converged,
                    fmt::format("slepc: {} of {} pairs converged", found, k));
    std::vector<double> w(static_cast<std::size_t>(k));
    for (PetscInt j = 0; j < k; ++j)
        check(EPSGetEigenvalue(eps, j, &w[static_cast<std::size_t>(j)], nullptr), "EPSGetEigenvalue");
    check(EPSDestroy(&eps), "EPSDestroy");
    check(MatDestroy(&A), "MatDestroy");
    check(SlepcFinalize(), "SlepcFinalize");
    return w;
}
#endif

struct Report {
    std::vector<double> values;
    double seconds = 0;
    Index products = 0, calls = 0;
};

/// @param G  given in full; products are counted
Report largest(const std::string& solver, const SymmetricOperator& G, Index count, double tolerance) {
    Report report;
    SymmetricOperator counted{G.comm, G.rows, [&](const std::vector<double>& X, Index vectors) {
                                  report.products += vectors;
                                  ++report.calls;
                                  return G.product(X, vectors);
                              }};
    G.product(std::vector<double>(static_cast<std::size_t>(G.rows), 1.0), 1);  // factors are there
    TANGRAM_MPI(MPI_Barrier(G.comm));
    const double start = MPI_Wtime();
    if (solver == "lanczos")
        report.values = leading_pairs(counted, count).values;
    else if (solver == "arpack")
        report.values = testing::arpack_pairs(counted, count,
                                              std::min(G.rows, std::max(2 * count, count + 20)), tolerance)
                            .values;
#ifdef TANGRAM_HAS_SLEPC
    else if (solver == "slepc")
        report.values = slepc_values(counted, count, tolerance);
#endif
    else
        throw Error(ExitStatus::study, ErrorKind::unknown_name, "eigensolvers: no " + solver + " here");
    report.seconds = max_over_ranks(G.comm, MPI_Wtime() - start);
    return report;
}

Report of_study(const std::string& solver, const std::vector<std::string>& arguments, Index count,
                double tolerance, const Communicator& world) {
    Log log(false, true, "");
    const StopFlag stop;
    const Session session{world, log, stop, ""};
    FilesRead files;
    const Study study =
        read_study(arguments[1],
                   {arguments.begin() + std::min<Index>(4, std::ssize(arguments)), arguments.end()}, files);
    const auto kernel =
        free_kernel(open_study(study, session), study, std::numeric_limits<double>::infinity(), world.get());
    return largest(solver, kernel->gram(), count, tolerance);
}

/// As the program solves it, from its own layout. Collective.
Report in_layout(const std::vector<std::string>& arguments, const ProcessGrid& grid) {
    const Solver solver = solver_by_name(arguments[0]);
    const bool vectors = arguments[2] == "vectors";
    const SolverLayout layout(std::stoll(arguments[3]), std::stoi(arguments[4]));
    DistributedMatrix matrix = matrix_of(arguments[1], grid, arithmetic::tile_rows);
    TANGRAM_MPI(MPI_Barrier(grid.comm().get()));
    const double start = MPI_Wtime();
    Report report;
    report.values = eigenpairs(std::move(matrix), solver, vectors, layout).values;
    report.seconds = max_over_ranks(grid.comm().get(), MPI_Wtime() - start);
    report.values.resize(std::min<std::size_t>(report.values.size(), 50));
    return report;
}

Report measure(const std::vector<std::string>& arguments, const Communicator& world) {
    const std::string &solver = arguments[0], &problem = arguments[1], &what = arguments[2];
    const ProcessGrid grid = ProcessGrid::most_square(world.get());
    if (what != "values" && what != "vectors") {
        const Index count = std::stoll(what);
        const double tolerance = arguments.size() > 3 ? std::stod(arguments[3]) : 1e-12;
        if (problem.ends_with(".toml")) return of_study(solver, arguments, count, tolerance, world);
        const DistributedMatrix matrix = matrix_of(problem, grid, usual_block);
        return largest(
            solver,
            {world.get(), matrix.rows(),
             [&](const std::vector<double>& X, Index vectors) { return product(matrix, X, vectors); }},
            count, tolerance);
    }
    if (arguments.size() > 4) return in_layout(arguments, grid);
    DistributedMatrix matrix = matrix_of(problem, grid, usual_block);
    // ELPA fails where a rank owns nothing.
    if (const Index most = matrix.rows() / std::max(grid.rows(), grid.columns()); most < usual_block)
        matrix = redistribute(matrix, grid, std::max<Index>(1, most));
    TANGRAM_MPI(MPI_Barrier(world.get()));
    const double start = MPI_Wtime();
    Report report;
    report.values = solve(solver, matrix, what == "vectors");
    report.seconds = max_over_ranks(world.get(), MPI_Wtime() - start);
    report.values.resize(std::min<std::size_t>(report.values.size(), 50));
    return report;
}

}  // namespace
}  // namespace tangram

int main(int argc, char** argv) {
    using namespace tangram;
    int provided = 0, status = 0;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    if (argc < 4) {
        std::fputs(
            "usage: eigensolvers SOLVER PROBLEM values|vectors [BLOCK GRID_ROWS]\n"
            "       eigensolvers SOLVER PROBLEM COUNT [TOLERANCE] [key=value ...]\n",
            stderr);
        status = 2;
    } else {
        try {
            const Communicator world(MPI_COMM_WORLD);
            const Report report = measure({argv + 1, argv + argc}, world);
            if (world.rank() == 0)
                fmt::print("{{\"seconds\": {}, \"products\": {}, \"calls\": {}, \"values\": [{}]}}\n",
                           report.seconds, report.products, report.calls, fmt::join(report.values, ", "));
        } catch (const std::exception& error) {
            std::fprintf(stderr, "eigensolvers: error: %s\n", error.what());
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
    }
    MPI_Finalize();
    return status;
}
