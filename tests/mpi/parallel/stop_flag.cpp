#include "tangram/parallel/stop_flag.hpp"

#include <csignal>

#include "support/mpi_test.hpp"

namespace tangram {
namespace {

using testing::world_rank;
using testing::world_size;

volatile std::sig_atomic_t seen_by_previous = 0;
void previous_handler(int) { seen_by_previous = 1; }

TEST(StopFlag, ASignalOnOneRankIsSeenByAll) {
    for (const int signal : {SIGUSR1, SIGTERM, SIGINT})
        for (int receiver = 0; receiver < world_size(); ++receiver) {
            const StopFlag stop;
            EXPECT_FALSE(stop.requested(MPI_COMM_WORLD));
            if (world_rank() == receiver) std::raise(signal);
            EXPECT_TRUE(stop.requested(MPI_COMM_WORLD)) << "signal " << signal << " to rank " << receiver;
            EXPECT_TRUE(stop.requested(MPI_COMM_WORLD));
        }
}

TEST(StopFlag, ADeadlineOnOneRankIsSeenByAll) {
    using Clock = std::chrono::steady_clock;
    const auto past = Clock::now() - std::chrono::seconds(1), future = Clock::now() + std::chrono::hours(1);
    StopFlag stop;
    stop.stop_at(future);
    EXPECT_FALSE(stop.requested(MPI_COMM_WORLD));
    if (world_rank() == world_size() - 1) stop.stop_at(past);
    EXPECT_TRUE(stop.requested(MPI_COMM_WORLD));
}

TEST(StopFlag, HandlersAreRestored) {
    const auto before = std::signal(SIGUSR1, previous_handler);
    { const StopFlag stop; }
    seen_by_previous = 0;
    std::raise(SIGUSR1);
    EXPECT_EQ(seen_by_previous, 1);
    std::signal(SIGUSR1, before);
    EXPECT_FALSE(StopFlag().requested(MPI_COMM_WORLD));
}

}  // namespace
}  // namespace tangram
