#include "tangram/parallel/process_grid.hpp"

#include "support/mpi_test.hpp"
#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram {
namespace {

using testing::grid_shapes;
using testing::world_rank;
using testing::world_size;

TEST(ProcessGrid, EveryFactorisation) {
    for (const auto& [rows, columns] : grid_shapes(world_size())) {
        const ProcessGrid grid(MPI_COMM_WORLD, rows, columns);
        EXPECT_EQ(grid.rows(), rows);
        EXPECT_EQ(grid.columns(), columns);
        EXPECT_EQ(grid.rank_of(grid.row(), grid.column()), world_rank());
        EXPECT_EQ(grid.row(), world_rank() / columns);
    }
}

TEST(ProcessGrid, MostSquare) {
    const std::vector<std::pair<int, int>> expected{{0, 0}, {1, 1}, {1, 2}, {1, 3}, {2, 2},
                                                    {1, 5}, {2, 3}, {1, 7}, {2, 4}};
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    if (world_size() < std::ssize(expected)) {
        EXPECT_EQ(grid.rows(), expected[static_cast<std::size_t>(world_size())].first);
        EXPECT_EQ(grid.columns(), expected[static_cast<std::size_t>(world_size())].second);
    }
}

TEST(ProcessGrid, WrongShapesAreRefused) {
    for (const auto& shape :
         std::vector<std::pair<int, int>>{{world_size(), 2}, {0, world_size()}, {-1, -world_size()}})
        testing::expect_error_on_all_ranks([&] { ProcessGrid(MPI_COMM_WORLD, shape.first, shape.second); },
                                           ExitStatus::study, ErrorKind::contradiction,
                                           std::to_string(world_size()) + " ranks");
}

// Lesson 5: BLACS_PINFO means the whole world; two halves work at the same time, each with its own numbers.
TEST(ProcessGrid, SubCommunicators) {
    const int colour = world_rank() % 2;
    const Communicator half(MPI_COMM_WORLD, colour, -world_rank());
    for (const auto& [rows, columns] : grid_shapes(half.size())) {
        const ProcessGrid grid(half.get(), rows, columns);
        EXPECT_EQ(grid.rank_of(grid.row(), grid.column()), half.rank());
        DistributedMatrix a(grid, 11, 11, 2);
        for (Index j = 0; j < a.local_columns(); ++j)
            for (Index i = 0; i < a.local_rows(); ++i)
                a.data()[i + j * a.lld()] =
                    static_cast<double>((colour + 2) * a.global_row(i) + a.global_column(j));
        const DistributedMatrix t = transpose(a);
        for (Index j = 0; j < t.local_columns(); ++j)
            for (Index i = 0; i < t.local_rows(); ++i)
                EXPECT_EQ(t.data()[i + j * t.lld()],
                          static_cast<double>((colour + 2) * t.global_column(j) + t.global_row(i)));
    }
}

TEST(ProcessGrid, OnSomeOfTheRanksOnly) {
    const Communicator first(MPI_COMM_WORLD, world_rank() < (world_size() + 1) / 2 ? 0 : -1, 0);
    if (!first.is_null()) {
        const ProcessGrid grid(first.get(), first.size(), 1);
        EXPECT_EQ(grid.row(), first.rank());
    }
    EXPECT_ON_ALL_RANKS(first.is_null() || first.size() == (world_size() + 1) / 2);
}

TEST(ProcessGrid, MovesLeaveNothingBehind) {
    ProcessGrid grid(MPI_COMM_WORLD, 1, world_size());
    const int context = grid.context();
    ProcessGrid moved = std::move(grid);
    EXPECT_EQ(moved.context(), context);
    moved = ProcessGrid(MPI_COMM_WORLD, world_size(), 1);
    EXPECT_EQ(moved.rows(), world_size());
    EXPECT_EQ(moved.column(), 0);
}

// Lesson 4: a grid whose communicators are not freed costs about 27 kB; 2000 of them 54 MB.
TEST(ProcessGrid, ManyGridsLeaveTheMemoryFlat) {
    const auto make = [](int count) {
        for (int i = 0; i < count; ++i) {
            const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
            const DistributedMatrix matrix(grid, 4, 4, 2);
            EXPECT_EQ(transpose(matrix).rows(), 4);
        }
    };
    make(200);
    const Index before = testing::resident_bytes();
    make(1000);
    EXPECT_LT(testing::resident_bytes() - before, Index{4} << 20);
}

}  // namespace
}  // namespace tangram
