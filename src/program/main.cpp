#include <omp.h>
#include <unistd.h>

#include <mpi.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>
#include <thread>

#include "program.hpp"
#include "tangram/error.hpp"
#include "tangram/files/mapped_file.hpp"
#include "tangram/io/damaged_file.hpp"

namespace {

/// Whether every rank comes here within a few seconds. An error that all ranks share ends the program in good
/// order; one that a single rank met must not leave the others waiting for it.
bool all_ranks_arrive() {
    using Clock = std::chrono::steady_clock;
    MPI_Request request = MPI_REQUEST_NULL;
    if (MPI_Ibarrier(MPI_COMM_WORLD, &request) != MPI_SUCCESS) return false;
    const auto give_up = Clock::now() + std::chrono::seconds(5);
    while (Clock::now() < give_up) {
        int done = 0;
        if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
        if (done != 0) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
}

/// One message from one rank: the first where all share the error, this one otherwise.
int leave(int status, const char* message) {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    const bool shared = all_ranks_arrive();
    if (!shared || rank == 0) {
        std::fprintf(stderr, "tangram: %s%s\n", status == 75 ? "" : "error: ", message);
        std::fflush(stderr);
    }
    tangram::note_end(status);
    if (!shared) MPI_Abort(MPI_COMM_WORLD, status);
    MPI_Finalize();
    return status;
}

/// Where an exception may not go on: nlohmann::json's destructor allocates, and has none to give.
[[noreturn]] void end_at_once() {
    try {
        if (const std::exception_ptr cause = std::current_exception()) std::rethrow_exception(cause);
    } catch (const std::bad_alloc&) {
        constexpr std::string_view words = "tangram: error: out of memory; use more ranks or fewer samples\n";
        static_cast<void>(!write(STDERR_FILENO, words.data(), words.size()));
        _exit(2);  // mpirun ends the others
    } catch (...) {
    }
    std::abort();
}

/// The rank that a launcher gives before MPI is there; 0 without one.
bool is_first_before_mpi() {
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"})
        if (const char* rank = std::getenv(name)) return std::atoi(rank) == 0;
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    // A reader that goes away, or a limit on the size of files, is an error of the call that writes.
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);
    std::set_terminate(end_at_once);
    if (const auto status = tangram::answer_without_mpi(argc, argv, is_first_before_mpi())) return *status;
    // A process without mpirun needs no daemon of OpenMPI's, which would need ssh in the path.
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
    // One thread per rank unless the user says otherwise: the default is one rank per core.
    if (std::getenv("OMP_NUM_THREADS") == nullptr) omp_set_num_threads(1);
    // From the first moment to the last: a signal before MPI is there, or while MPI and the C library end the
    // process, must not kill. Never destroyed, as that would let signals kill again.
    static auto& stop = *new tangram::StopFlag;
    tangram::name_files_cut_short();
    int provided = 0;
    if (MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) return 4;
    tangram::name_damaged_files();
    try {
        TANGRAM_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
        const int status = tangram::run_program(argc, argv, stop);
        tangram::note_end(status);
        return MPI_Finalize() == MPI_SUCCESS ? status : 4;
    } catch (...) {
        const std::exception_ptr exception = std::current_exception();
        const tangram::Failure failure = tangram::failure_of(exception);
        return leave(failure.status, failure.message);
    }
}
