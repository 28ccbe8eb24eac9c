#include "whole_matrix.hpp"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "tangram/parallel/collective_error.hpp"

// OpenBLAS's own; another BLAS has neither.
extern "C" {
[[gnu::weak]] void openblas_set_num_threads(int threads);
[[gnu::weak]] int openblas_get_num_threads();
}

namespace tangram {

namespace {

/// While it lives, this thread and those that it starts may use the cores of all ranks of the host, and the
/// BLAS has as many threads. Cores and threads of BLAS are then as before; threads that BLAS has started
/// sleep.
class BlasThreads {
  public:
    BlasThreads(const cpu_set_t& before, const cpu_set_t& cores, int threads) : before_(before) {
        if (openblas_set_num_threads == nullptr || openblas_get_num_threads == nullptr) return;
        had_ = openblas_get_num_threads();
        const int wanted = std::min(threads, CPU_COUNT(&cores));
        if (wanted <= had_) return;
        changed_ = true;
        sched_setaffinity(0, sizeof cores,
                          &cores);  // new threads inherit it; where it fails they share cores
        openblas_set_num_threads(wanted);
    }
    BlasThreads(const BlasThreads&) = delete;
    BlasThreads& operator=(const BlasThreads&) = delete;
    ~BlasThreads() {
        if (!changed_) return;
        openblas_set_num_threads(had_);
        sched_setaffinity(0, sizeof before_, &before_);
    }

  private:
    cpu_set_t before_;
    int had_ = 1;
    bool changed_ = false;
};

/// A barrier whose waiting ranks sleep, a hundredth of the time that they have waited and a millisecond at
/// most. Collective.
void wait_asleep(MPI_Comm comm) {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    MPI_Request request = MPI_REQUEST_NULL;
    TANGRAM_MPI(MPI_Ibarrier(comm, &request));
    for (int done = 0; done == 0;) {
        TANGRAM_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
        if (done == 0)
            std::this_thread::sleep_for(
                std::min<Clock::duration>(std::chrono::milliseconds(1), (Clock::now() - start) / 100));
    }
}

}  // namespace

void on_first_rank(MPI_Comm comm, bool threaded, const std::function<void()>& work) {
    int rank = 0;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    const Communicator host = Communicator::of_host(comm);
    cpu_set_t own, cores;
    CPU_ZERO(&own);
    sched_getaffinity(0, sizeof own, &own);
    TANGRAM_MPI(MPI_Allreduce(&own, &cores, sizeof own, MPI_BYTE, MPI_BOR, host.get()));
    std::exception_ptr failure;
    try {
        if (rank == 0) {
            const BlasThreads threads(own, cores, threaded ? host.size() * omp_get_max_threads() : 1);
            work();
        }
    } catch (...) {
        failure = std::current_exception();
    }
    wait_asleep(comm);
    agree_on_failure(comm, failure);
}

}  // namespace tangram
