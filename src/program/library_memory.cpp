#include "library_memory.hpp"

#include <fmt/core.h>
#include <omp.h>
#include <sys/mman.h>

#include <algorithm>
#include <latch>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "tangram/error.hpp"

extern "C" void dsymv_(const char* uplo, const int* n, const double* alpha, const double* a, const int* lda,
                       const double* x, const int* incx, const double* beta, double* y, const int* incy);

namespace tangram {

namespace {

/// Threads beyond any use: libgomp lays a team out on the stack and breaks on too many.
void refuse_too_many_threads() {
    const int asked = omp_get_max_threads();
    const int processors = static_cast<int>(std::thread::hardware_concurrency());
    const int most = std::max(256, 4 * processors);
    if (asked > most)
        throw Error(
            ExitStatus::study, ErrorKind::out_of_range,
            fmt::format("OMP_NUM_THREADS: {} threads per rank, at most {} are possible on this machine's "
                        "{} processors; set it to the processors of a rank",
                        asked, most, processors));
}

/// Whether as many threads as OpenMP's can live at once; they are gone afterwards.
void try_threads() {
    std::latch over(1);
    std::vector<std::jthread> threads;
    try {
        for (int i = 1; i < omp_get_max_threads(); ++i) threads.emplace_back([&] { over.wait(); });
    } catch (...) {
        over.count_down();
        throw;
    }
    over.count_down();
}

}  // namespace

void take_library_memory() {
    refuse_too_many_threads();
    try {
        try_threads();
    } catch (const std::system_error&) {
        throw std::bad_alloc();
    }
    int threads = 0;  // an empty region would make none
#pragma omp parallel reduction(+ : threads)
    threads += 1;

    constexpr std::size_t blas_buffer = std::size_t{128} << 20;
    void* const room = mmap(nullptr, blas_buffer, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) throw std::bad_alloc();
    munmap(room, blas_buffer);
    // Of the routines that take the buffer whatever the size.
    const int one = 1;
    const double a = 1, x = 1, factor = 1;
    double y = 0;
    dsymv_("L", &one, &factor, &a, &one, &x, &one, &factor, &y, &one);
}

}  // namespace tangram
