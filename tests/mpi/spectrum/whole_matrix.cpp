#include "../src/spectrum/whole_matrix.hpp"

#include <omp.h>
#include <sched.h>

#include <algorithm>

#include "support/mpi_test.hpp"

extern "C" {
[[gnu::weak]] void openblas_set_num_threads(int threads);
[[gnu::weak]] int openblas_get_num_threads();
}

namespace tangram {
namespace {

int blas_threads() { return openblas_get_num_threads != nullptr ? openblas_get_num_threads() : 0; }

cpu_set_t own_cores() {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    sched_getaffinity(0, sizeof cores, &cores);
    return cores;
}

// All ranks of a test run on one host.
TEST(OnFirstRank, ItAloneWorksWithTheThreadsOfAllAndLeavesNoneBehind) {
    if (openblas_set_num_threads != nullptr) openblas_set_num_threads(1);
    const int before = blas_threads();
    const cpu_set_t cores = own_cores();
    const int expected =
        std::max(before, std::min(testing::world_size() * omp_get_max_threads(), CPU_COUNT(&cores)));
    int calls = 0, during = 0;
    on_first_rank(MPI_COMM_WORLD, true, [&] {
        ++calls;
        during = blas_threads();
    });
    EXPECT_EQ(calls, testing::world_rank() == 0 ? 1 : 0);
    if (testing::world_rank() == 0 && before > 0) {
        EXPECT_EQ(during, expected);
    }
    EXPECT_EQ(blas_threads(), before);
    const cpu_set_t after = own_cores();
    EXPECT_TRUE(CPU_EQUAL(&after, &cores));
    on_first_rank(MPI_COMM_WORLD, false, [&] { during = blas_threads(); });
    if (testing::world_rank() == 0) {
        EXPECT_EQ(during, before);
    }
}

TEST(OnFirstRank, ItsErrorIsThatOfAll) {
    testing::expect_error_on_all_ranks(
        [] {
            on_first_rank(MPI_COMM_WORLD, true, [] {
                throw Error(ExitStatus::numerical, ErrorKind::not_converged, "of the first rank");
            });
        },
        ExitStatus::numerical, ErrorKind::not_converged, "of the first rank");
}

}  // namespace
}  // namespace tangram
