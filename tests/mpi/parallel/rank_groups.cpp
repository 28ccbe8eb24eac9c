#include "tangram/parallel/rank_groups.hpp"

#include "support/mpi_test.hpp"

namespace tangram {
namespace {

using testing::world_rank;
using testing::world_size;

TEST(RankGroups, EveryGroupGetsItsOwnEntries) {
    const ProcessGrid world = ProcessGrid::most_square(MPI_COMM_WORLD);
    DistributedMatrix matrix(world, 23, 31, 4);
    for (Index j = 0; j < matrix.local_columns(); ++j)
        for (Index i = 0; i < matrix.local_rows(); ++i)
            matrix.data()[i + j * matrix.lld()] =
                static_cast<double>(100 * matrix.global_row(i) + matrix.global_column(j)) + 0.5;
    for (int size = 1; size <= world_size(); ++size) {
        SCOPED_TRACE(size);
        const RankGroups groups(world.comm().get(), size);
        EXPECT_EQ(groups.count(), world_size() / size);
        EXPECT_EQ(groups.mine(), world_rank() / size < groups.count() ? world_rank() / size : -1);
        for (int group = 0; group < groups.count(); ++group) {
            // Rows backwards from the group's number, columns every third, one of them twice.
            std::vector<Index> rows, columns{5};
            for (Index i = 22 - group; i >= 0; --i) rows.push_back(i);
            for (Index j = 2; j < 31; j += 3) columns.push_back(j);
            const auto part = submatrix(matrix, rows, columns, groups, group, 3);
            EXPECT_EQ(part.has_value(), groups.mine() == group);
            Index wrong = 0, owned = 0;
            if (part) {
                owned = std::ssize(part->local());
                EXPECT_EQ(part->rows(), std::ssize(rows));
                EXPECT_EQ(part->grid().comm().size(), size);
                for (Index j = 0; j < part->local_columns(); ++j)
                    for (Index i = 0; i < part->local_rows(); ++i) {
                        const auto row = rows[static_cast<std::size_t>(part->global_row(i))];
                        const auto column = columns[static_cast<std::size_t>(part->global_column(j))];
                        if (!(part->data()[i + j * part->lld()] ==
                              static_cast<double>(100 * row + column) + 0.5))
                            ++wrong;
                    }
            }
            EXPECT_EQ(sum_over_ranks(MPI_COMM_WORLD, wrong), 0);
            EXPECT_EQ(sum_over_ranks(MPI_COMM_WORLD, owned), std::ssize(rows) * std::ssize(columns));
        }
    }
}

TEST(RankGroups, GroupsWorkSideBySide) {
    // Every group multiplies its own matrices while the others do the same.
    const RankGroups groups(MPI_COMM_WORLD, world_size() >= 4 ? 2 : 1);
    if (groups.mine() >= 0) {
        DistributedMatrix a(groups.grid(), 9, 9, 2);
        for (Index j = 0; j < a.local_columns(); ++j)
            for (Index i = 0; i < a.local_rows(); ++i)
                if (a.global_row(i) == a.global_column(j)) a.data()[i + j * a.lld()] = 1.0 + groups.mine();
        const DistributedMatrix square = multiply(a, a);
        for (Index j = 0; j < square.local_columns(); ++j)
            for (Index i = 0; i < square.local_rows(); ++i)
                EXPECT_EQ(square.data()[i + j * square.lld()],
                          square.global_row(i) == square.global_column(j)
                              ? (1.0 + groups.mine()) * (1.0 + groups.mine())
                              : 0.0);
    }
}

TEST(RankGroups, ImpossibleSizesAreRefusedEverywhere) {
    testing::expect_error_on_all_ranks([] { RankGroups(MPI_COMM_WORLD, world_size() + 1); },
                                       ExitStatus::study, ErrorKind::out_of_range,
                                       std::to_string(world_size() + 1));
    testing::expect_error_on_all_ranks([] { RankGroups(MPI_COMM_WORLD, 0); }, ExitStatus::study,
                                       ErrorKind::out_of_range, "0");
}

}  // namespace
}  // namespace tangram
