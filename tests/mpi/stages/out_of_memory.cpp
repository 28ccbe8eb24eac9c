#include "../src/stages/gram_checkpoint.hpp"
#include "../src/stages/lanczos_checkpoint.hpp"

#include <cmath>
#include <filesystem>

#include "support/failing_allocation.hpp"
#include "support/temporary_folder.hpp"
#include "tangram/gram/assembly.hpp"
#include "tangram/stages/spectrum_request.hpp"

namespace tangram {
namespace {

using testing::expect_shared_failures;

/// A row of numbers of a rank's share; what does not grow with the problem is taken to be there.
constexpr Index rows = 96;
constexpr std::size_t bytes = rows * sizeof(double);

class OutOfMemory : public ::testing::Test {
  protected:
    OutOfMemory() {
        std::string name = folder_.path().string();
        broadcast(MPI_COMM_WORLD, name, 0);
        output_ = std::filesystem::path(name) / "out.h5";
    }
    ~OutOfMemory() override { MPI_Barrier(MPI_COMM_WORLD); }

    testing::TemporaryFolder folder_;  // the first rank's is everybody's
    std::filesystem::path output_;
    ProcessGrid grid_ = ProcessGrid::most_square(MPI_COMM_WORLD);
    Log log_{false, true, ""};
};

TEST_F(OutOfMemory, OfOneRankEndsTheSpectrumOnAll) {
    const Communicator world(MPI_COMM_WORLD);
    Log log(false, true, "");
    const StopFlag stop;
    const Session session{world, log, stop, ""};
    const OutputLock lock(world.get(), output_);
    Study study;
    study.spectrum.solver = "lapack";
    DistributedMatrix gram(grid_, rows, rows, 8);
    for (Index j = 0; j < gram.local_columns(); ++j)
        for (Index i = 0; i < gram.local_rows(); ++i)
            gram.data()[i + j * gram.lld()] =
                1 / (1 + std::abs(static_cast<double>(gram.global_row(i) - gram.global_column(j))));
    expect_shared_failures(
        [&] {
            const LeaveOnStop leaving = leave_during(session, lock, "spectrum");
            requested_eigenpairs(gram, {"K", ExitStatus::input}, study, session);
        },
        bytes, 8);
}

TEST_F(OutOfMemory, OfOneRankEndsTheCheckpointOnAll) {
    const KernelMatrices matrices = empty_matrices(grid_, rows, rows, rows);
    const StageCheckpoint checkpoint(output_, Inputs());
    expect_shared_failures([&] { write_matrices(checkpoint, matrices); }, bytes, 8);
}

TEST_F(OutOfMemory, OfOneRankEndsTheCheckpointOfBlockLanczosOnAll) {
    const std::vector<double> basis(rows * 40, 0.5);
    LanczosState state;
    state.size = 40;
    state.basis = basis;
    state.projected.assign(1600, 0.25);
    const StageCheckpoint checkpoint(output_, Inputs());
    expect_shared_failures([&] { write_lanczos(checkpoint, state, rows, 50, grid_); }, bytes, 8);
    expect_shared_failures([&] { read_lanczos(checkpoint, rows, 50, grid_, log_); }, bytes, 8);
}

// On another grid, and not by another study.
TEST_F(OutOfMemory, NoneAndTheCheckpointOfBlockLanczosComesBack) {
    std::vector<double> basis(rows * 20);
    for (std::size_t i = 0; i < basis.size(); ++i) basis[i] = std::sin(static_cast<double>(i));
    const LanczosState state{
        20,   basis, std::vector<double>(400, 0.25), std::vector<double>(rows * 4, -3.0), {}, {3, 2}, 7, 2, 1,
        4096, 5};
    const Inputs inputs = Inputs().add("count", "5");
    const StageCheckpoint checkpoint(output_, inputs);
    EXPECT_FALSE(read_lanczos(checkpoint, rows, 50, grid_, log_));
    write_lanczos(checkpoint, state, rows, 50, grid_);
    const ProcessGrid column(MPI_COMM_WORLD, testing::world_size(), 1);
    const auto found = read_lanczos(checkpoint, rows, 50, column, log_);
    ASSERT_TRUE(found);
    EXPECT_TRUE(std::ranges::equal(found->state.basis, basis));
    EXPECT_TRUE(found->state.projected == state.projected && found->state.next == state.next);
    EXPECT_TRUE(found->state.settled.empty() && found->state.found == state.found);
    EXPECT_EQ(found->state.size, 20);
    EXPECT_EQ(found->state.products, 7);
    EXPECT_EQ(found->state.restarts, 2);
    EXPECT_EQ(found->state.random, 1);
    EXPECT_EQ(found->state.drawn, 4096);
    EXPECT_EQ(found->state.searched, 5);
    const StageCheckpoint other(output_, Inputs().add("count", "6"));
    testing::expect_error_on_all_ranks([&] { read_lanczos(other, rows, 50, grid_, log_); },
                                       ExitStatus::output, ErrorKind::changed, "h5.checkpoint");
    checkpoint.remove(MPI_COMM_WORLD);
    EXPECT_FALSE(read_lanczos(checkpoint, rows, 50, grid_, log_));
}

}  // namespace
}  // namespace tangram
