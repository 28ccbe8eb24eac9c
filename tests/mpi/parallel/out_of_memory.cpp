#include <numeric>

#include "support/failing_allocation.hpp"
#include "tangram/parallel/rank_groups.hpp"

namespace tangram {
namespace {

using testing::expect_shared_failures;
using testing::world_rank;
using testing::world_size;

constexpr std::size_t bytes = 4;

DistributedMatrix counted(const ProcessGrid& grid, Index rows, Index columns, Index block) {
    DistributedMatrix matrix(grid, rows, columns, block);
    std::iota(matrix.local().begin(), matrix.local().end(), world_rank());
    return matrix;
}

TEST(OutOfMemory, Transfers) {
    std::vector<double> values(world_rank() == 0 ? 50 : 0);
    const std::string own(static_cast<std::size_t>(50 + world_rank()), 'x');
    expect_shared_failures(
        [&] {
            if (world_rank() != 0) std::vector<double>().swap(values);
            broadcast(MPI_COMM_WORLD, values, 0);
            gather_to_all(MPI_COMM_WORLD, own);
            gather_to_all(MPI_COMM_WORLD, Index{1});
        },
        bytes);
}

TEST(OutOfMemory, Matrices) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD), row(MPI_COMM_WORLD, 1, world_size());
    const RankGroups groups(MPI_COMM_WORLD, (world_size() + 1) / 2);
    const DistributedMatrix square = counted(grid, 11, 11, 2), wide = counted(grid, 11, 7, 2);
    const std::vector<Index> rows{8, 1, 1, 5, 10, 0}, columns{6, 2, 3};
    expect_shared_failures([&] { submatrix(wide, rows, columns, row, 3); }, bytes);
    expect_shared_failures([&] { submatrix(wide, rows, columns, groups, 0, 3); }, bytes);
    expect_shared_failures([&] { redistribute(wide, row, 3); }, bytes);
    expect_shared_failures([&] { multiply(square, wide); }, bytes);
    expect_shared_failures([&] { transpose(wide); }, bytes);
    expect_shared_failures([&] { collectively(MPI_COMM_WORLD, [&] { return wide.copy(); }); }, bytes);
    expect_shared_failures([&] { gather(wide, world_size() - 1); }, bytes);
    const std::vector<double> whole = gather(wide, 0);
    expect_shared_failures([&] { scatter(whole, grid, 11, 7, 2, 0); }, bytes);
}

TEST(OutOfMemory, MirroredBlocks) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    DistributedMatrix square = counted(grid, 11, 11, 2);
    expect_shared_failures([&] { mirror_blocks(square, [](Index I, Index J) { return (I + J) % 2 == 0; }); },
                           bytes);
    expect_shared_failures([&] { asymmetry(square, 1e300); }, bytes);
}

}  // namespace
}  // namespace tangram
