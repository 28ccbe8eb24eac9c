#include "../src/stages/checkpoint.hpp"

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
            requested_eigenpairs(gram, {"K", ExitStatus::input}, study, session, lock);
        },
        bytes, 8);
}

TEST_F(OutOfMemory, OfOneRankEndsTheCheckpointOnAll) {
    const KernelMatrices matrices = empty_matrices(grid_, rows, rows, rows);
    const GramCheckpoint checkpoint(output_, Inputs());
    expect_shared_failures([&] { checkpoint.write(matrices); }, bytes, 8);
}

}  // namespace
}  // namespace tangram
