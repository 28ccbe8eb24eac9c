#include "tangram/parallel/shared_memory.hpp"

#include "support/mpi_test.hpp"
#include "tangram/parallel/communicator.hpp"

namespace tangram {
namespace {

TEST(SharedMemory, EveryRankSeesWhatTheOthersWrote) {
    const SharedMemory memory(MPI_COMM_WORLD, 3 * testing::world_size());
    // The tests' ranks are on one host.
    ASSERT_EQ(memory.ranks(), testing::world_size());
    ASSERT_EQ(memory.rank(), testing::world_rank());
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(memory.data()[3 * memory.rank() + i], std::byte{0});
        memory.data()[3 * memory.rank() + i] = static_cast<std::byte>(10 * memory.rank() + i);
    }
    EXPECT_FALSE(any_rank(MPI_COMM_WORLD, false));  // all have written
    for (int rank = 0; rank < memory.ranks(); ++rank)
        for (int i = 0; i < 3; ++i)
            EXPECT_EQ(memory.data()[3 * rank + i], static_cast<std::byte>(10 * rank + i)) << rank;
}

TEST(SharedMemory, NothingAndTooMuch) {
    EXPECT_EQ(SharedMemory(MPI_COMM_WORLD, 0).data(), nullptr);
    const auto thrown = testing::thrown_by([] { SharedMemory(MPI_COMM_WORLD, Index{1} << 62); });
    EXPECT_EQ(thrown.status, ExitStatus::study);
    EXPECT_EQ(thrown.kind, ErrorKind::no_memory) << thrown.text;
}

}  // namespace
}  // namespace tangram
