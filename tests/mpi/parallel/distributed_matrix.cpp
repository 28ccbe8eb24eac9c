#include "tangram/parallel/distributed_matrix.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "support/mpi_test.hpp"

namespace tangram {
namespace {

using testing::grid_shapes;
using testing::world_rank;
using testing::world_size;

/// No two entries alike, none symmetric.
double entry(Index i, Index j) { return static_cast<double>(1000 * i + j) + 0.25; }

template <class Entry>
void fill(DistributedMatrix& matrix, Entry&& value) {
    for (Index j = 0; j < matrix.local_columns(); ++j)
        for (Index i = 0; i < matrix.local_rows(); ++i)
            matrix.data()[i + j * matrix.lld()] = value(matrix.global_row(i), matrix.global_column(j));
}

/// Local entries that are not what they should be; NaN is never right.
template <class Entry>
Index wrong(const DistributedMatrix& matrix, Entry&& value) {
    Index count = 0;
    for (Index j = 0; j < matrix.local_columns(); ++j)
        for (Index i = 0; i < matrix.local_rows(); ++i)
            if (!(matrix.data()[i + j * matrix.lld()] ==
                  value(matrix.global_row(i), matrix.global_column(j))))
                ++count;
    return count;
}

/// Calls visit(grid) for every factorisation of the number of ranks.
template <class Visit>
void on_every_grid(Visit&& visit) {
    for (const auto& [rows, columns] : grid_shapes(world_size())) {
        SCOPED_TRACE(::testing::Message() << "grid " << rows << " x " << columns);
        visit(ProcessGrid(MPI_COMM_WORLD, rows, columns));
    }
}

const std::vector<Index> sizes{1, 2, 5, 7, 13, 24};
const std::vector<Index> blocks{1, 2, 3, 8, 30};

TEST(DistributedMatrix, LocalPartsMakeUpTheWhole) {
    on_every_grid([](const ProcessGrid& grid) {
        for (const Index rows : {0, 1, 7, 24})
            for (const Index columns : {0, 1, 5, 30})
                for (const Index block : blocks) {
                    const DistributedMatrix matrix(grid, rows, columns, block);
                    EXPECT_EQ(sum_over_ranks(MPI_COMM_WORLD, std::ssize(matrix.local())), rows * columns);
                    EXPECT_GE(matrix.descriptor()[8], 1);
                    EXPECT_EQ(wrong(matrix, [](Index, Index) { return 0.0; }), 0);
                }
    });
}

TEST(DistributedMatrix, SizesThatScalapackCannotCountAreRefusedEverywhere) {
    const ProcessGrid grid(MPI_COMM_WORLD, world_size(), 1);
    // One block of 2^31 rows is more than one rank's 32-bit integers hold, however many ranks there are.
    testing::expect_error_on_all_ranks(
        [&] { DistributedMatrix(grid, (Index{1} << 31) * world_size(), 0, 64); }, ExitStatus::study,
        ErrorKind::out_of_range, "32-bit");
    testing::expect_error_on_all_ranks([&] { DistributedMatrix(grid, 4, 4, 0); }, ExitStatus::study,
                                       ErrorKind::out_of_range, "blocks of 0");
    testing::expect_error_on_all_ranks([&] { DistributedMatrix(grid, -1, 4, 1); }, ExitStatus::study,
                                       ErrorKind::out_of_range, "-1 x 4");
}

TEST(DistributedMatrix, CopiesAreIndependent) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    DistributedMatrix matrix(grid, 9, 9, 2);
    fill(matrix, entry);
    const DistributedMatrix copy = matrix.copy();
    fill(matrix, [](Index, Index) { return -1.0; });
    EXPECT_EQ(wrong(copy, entry), 0);
}

TEST(Redistribute, BetweenAllGridsAndBlocks) {
    on_every_grid([](const ProcessGrid& from) {
        on_every_grid([&](const ProcessGrid& to) {
            for (const Index n : sizes)
                for (const Index first : blocks)
                    for (const Index second : {1, 3, 8}) {
                        DistributedMatrix matrix(from, n, n + 3, first);
                        fill(matrix, entry);
                        const DistributedMatrix moved = redistribute(matrix, to, second);
                        EXPECT_EQ(moved.block(), second);
                        EXPECT_EQ(wrong(moved, entry), 0) << n << ", blocks of " << first << " to " << second;
                        EXPECT_EQ(wrong(redistribute(moved, from, first), entry), 0);
                    }
        });
    });
}

TEST(Redistribute, EmptyMatrices) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    EXPECT_EQ(redistribute(DistributedMatrix(grid, 0, 5, 2), grid, 3).columns(), 5);
    EXPECT_EQ(redistribute(DistributedMatrix(grid, 5, 0, 2), grid, 3).rows(), 5);
}

// More than one panel of columns: 3000 columns of 3000 rows exceed the 2^22 numbers of a panel.
TEST(Redistribute, SeveralPanels) {
    const ProcessGrid from(MPI_COMM_WORLD, 1, world_size()), to(MPI_COMM_WORLD, world_size(), 1);
    DistributedMatrix matrix(from, 3000, 1700, 64);
    fill(matrix, [](Index i, Index j) { return static_cast<double>(i * 1700 + j); });
    const DistributedMatrix moved = redistribute(matrix, from, 48), turned = redistribute(matrix, to, 32);
    EXPECT_EQ(wrong(moved, [](Index i, Index j) { return static_cast<double>(i * 1700 + j); }), 0);
    EXPECT_EQ(wrong(turned, [](Index i, Index j) { return static_cast<double>(i * 1700 + j); }), 0);
}

TEST(Redistribute, GridsWhoseRanksAreNumberedOtherwise) {
    const Communicator reversed(MPI_COMM_WORLD, 0, -world_rank());
    const ProcessGrid backward = ProcessGrid::most_square(reversed.get());
    on_every_grid([&](const ProcessGrid& forward) {
        DistributedMatrix matrix(forward, 17, 12, 2);
        fill(matrix, entry);
        const DistributedMatrix moved = redistribute(matrix, backward, 3);
        EXPECT_EQ(wrong(moved, entry), 0);
        EXPECT_EQ(wrong(redistribute(moved, forward, 2), entry), 0);
    });
}

TEST(Submatrix, AnyRowsAndColumnsInAnyOrder) {
    on_every_grid([](const ProcessGrid& grid) {
        for (const Index block : blocks) {
            DistributedMatrix matrix(grid, 23, 19, block);
            fill(matrix, entry);
            const std::vector<std::vector<Index>> choices{
                {}, {0}, {18}, {5, 5, 5}, {18, 17, 3, 0, 9}, {1, 4, 7, 8, 11, 12, 15}};
            for (const auto& rows : choices)
                for (const auto& columns : choices) {
                    const DistributedMatrix part = submatrix(matrix, rows, columns, grid, 2);
                    ASSERT_EQ(part.rows(), std::ssize(rows));
                    ASSERT_EQ(part.columns(), std::ssize(columns));
                    EXPECT_EQ(wrong(part,
                                    [&](Index i, Index j) {
                                        return entry(rows[static_cast<std::size_t>(i)],
                                                     columns[static_cast<std::size_t>(j)]);
                                    }),
                              0);
                }
        }
    });
}

TEST(Submatrix, PrincipalKeepsTheLayout) {
    on_every_grid([](const ProcessGrid& grid) {
        DistributedMatrix matrix(grid, 40, 40, 3);
        fill(matrix, entry);
        std::vector<Index> chosen;
        for (Index i = 0; i < 29; ++i) chosen.push_back((7 * i + 11) % 40);
        const DistributedMatrix part = principal_submatrix(matrix, chosen);
        EXPECT_EQ(part.block(), 3);
        EXPECT_EQ(wrong(part,
                        [&](Index i, Index j) {
                            return entry(chosen[static_cast<std::size_t>(i)],
                                         chosen[static_cast<std::size_t>(j)]);
                        }),
                  0);
    });
}

TEST(Submatrix, IndicesOutsideAreRefused) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const DistributedMatrix matrix(grid, 5, 4, 2);
    const std::vector<Index> fine{0, 3}, high{0, 4}, negative{-1};
    testing::expect_error_on_all_ranks([&] { submatrix(matrix, fine, high, grid, 2); }, ExitStatus::study,
                                       ErrorKind::out_of_range, "column 4");
    testing::expect_error_on_all_ranks([&] { submatrix(matrix, negative, fine, grid, 2); }, ExitStatus::study,
                                       ErrorKind::out_of_range, "row -1");
}

TEST(Gather, ToEveryRootAndBack) {
    on_every_grid([](const ProcessGrid& grid) {
        for (const Index n : sizes)
            for (const Index block : blocks)
                for (int root = 0; root < world_size(); ++root) {
                    DistributedMatrix matrix(grid, n, n + 2, block);
                    fill(matrix, entry);
                    const std::vector<double> whole = gather(matrix, root);
                    ASSERT_EQ(std::ssize(whole), world_rank() == root ? n * (n + 2) : 0);
                    Index bad = 0;
                    for (std::size_t k = 0; k < whole.size(); ++k)
                        if (!(whole[k] == entry(static_cast<Index>(k) % n, static_cast<Index>(k) / n))) ++bad;
                    EXPECT_EQ(bad, 0) << n << " in blocks of " << block << " to rank " << root;
                    EXPECT_EQ(wrong(scatter(whole, grid, n, n + 2, block, root), entry), 0);
                }
    });
}

// 3000 rows: 87 columns go in one message of 2 MiB, three messages to a block of 256 columns; on several
// process rows more of them.
TEST(Gather, LongColumnsGoSeveralTogether) {
    on_every_grid([](const ProcessGrid& grid) {
        DistributedMatrix matrix(grid, 3000, 300, 256);
        fill(matrix, entry);
        const int root = world_size() - 1;
        std::vector<double> whole(world_rank() == root ? 3000 * 300 : 0, std::nan(""));
        gather(matrix, root, whole);
        Index bad = 0;
        for (std::size_t k = 0; k < whole.size(); ++k)
            if (!(whole[k] == entry(static_cast<Index>(k) % 3000, static_cast<Index>(k) / 3000))) ++bad;
        EXPECT_EQ(bad, 0);
        testing::expect_error_on_all_ranks(
            [&] { gather(matrix, root, std::span(whole).first(whole.size() / 2)); }, ExitStatus::study,
            ErrorKind::contradiction, "3000 x 300");
        EXPECT_EQ(wrong(scatter(whole, grid, 3000, 300, 256, root), entry), 0);
    });
}

TEST(Gather, ScatterTakesColumnsInAnyOrder) {
    const std::vector<Index> columns{4, 0, 3, 3, 1, 4, 2}, high{0, 5}, negative{-1};
    on_every_grid([&](const ProcessGrid& grid) {
        for (const Index block : {1, 2, 50}) {
            DistributedMatrix matrix(grid, 11, 5, block);
            fill(matrix, entry);
            const int root = world_size() - 1;
            const std::vector<double> whole = gather(matrix, root);
            const auto chosen = [&](Index i, Index j) {
                return entry(i, columns[static_cast<std::size_t>(j)]);
            };
            EXPECT_EQ(wrong(scatter(whole, grid, 11, columns, block, root), chosen), 0);
            for (const auto* outside : {&high, &negative})
                testing::expect_error_on_all_ranks([&] { scatter(whole, grid, 11, *outside, block, root); },
                                                   ExitStatus::study, ErrorKind::out_of_range,
                                                   "column " + std::to_string(outside->back()));
        }
    });
}

TEST(Gather, ScatterRefusesWhatIsNoMatrix) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const std::vector<double> seven(7);
    testing::expect_error_on_all_ranks([&] { scatter(seven, grid, 2, 3, 1, world_size() - 1); },
                                       ExitStatus::study, ErrorKind::contradiction, "2 x 3");
}

// Whole numbers, so that the order of summation does not matter.
TEST(Products, MultiplyAndTransposeAreExactOnIntegers) {
    const auto a_entry = [](Index i, Index j) { return static_cast<double>((3 * i + 5 * j) % 7 - 3); };
    const auto b_entry = [](Index i, Index j) { return static_cast<double>((2 * i + 7 * j) % 11 - 5); };
    on_every_grid([&](const ProcessGrid& grid) {
        for (const Index block : blocks) {
            DistributedMatrix a(grid, 13, 9, block), b(grid, 9, 17, block);
            fill(a, a_entry);
            fill(b, b_entry);
            EXPECT_EQ(wrong(multiply(a, b),
                            [&](Index i, Index j) {
                                double sum = 0;
                                for (Index k = 0; k < 9; ++k) sum += a_entry(i, k) * b_entry(k, j);
                                return sum;
                            }),
                      0);
            EXPECT_EQ(wrong(transpose(a), [&](Index i, Index j) { return a_entry(j, i); }), 0);
        }
    });
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    testing::expect_error_on_all_ranks(
        [&] { multiply(DistributedMatrix(grid, 3, 4, 2), DistributedMatrix(grid, 3, 4, 2)); },
        ExitStatus::study, ErrorKind::contradiction, "");
}

// Bits are copied: the values are numbers that an addition or a conversion would change.
TEST(Mirror, CopiesTheBitsOfWhatIsSet) {
    bool (*const masks[])(Index, Index) = {[](Index, Index) { return true; },
                                           [](Index, Index) { return false; },
                                           [](Index I, Index J) { return (I + J) % 2 == 1; },
                                           [](Index I, Index J) { return (3 * I + J) % 5 < 2; }};
    const auto value = [](Index i, Index j) {
        const Index low = std::min(i, j), high = std::max(i, j);
        return (low + high) % 3 == 0 ? -0.0 : 1.0 / static_cast<double>(7 * low + high + 1);
    };
    on_every_grid([&](const ProcessGrid& grid) {
        for (const auto is_set : masks)
            for (const Index n : {1, 2, 5, 7, 13, 24, 41})
                for (const Index block : blocks) {
                    DistributedMatrix matrix(grid, n, n, block);
                    fill(matrix, [&](Index i, Index j) {
                        const Index I = i / block, J = j / block;
                        const bool known = I == J || (I > J ? is_set(I, J) : !is_set(J, I));
                        return known ? value(i, j) : std::numeric_limits<double>::quiet_NaN();
                    });
                    mirror_blocks(matrix, is_set);
                    Index bad = 0;
                    for (Index j = 0; j < matrix.local_columns(); ++j)
                        for (Index i = 0; i < matrix.local_rows(); ++i) {
                            const double expected = value(matrix.global_row(i), matrix.global_column(j));
                            if (std::memcmp(&expected, &matrix.data()[i + j * matrix.lld()],
                                            sizeof expected) != 0)
                                ++bad;
                        }
                    EXPECT_EQ(bad, 0) << n << " in blocks of " << block;
                }
    });
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    DistributedMatrix oblong(grid, 3, 4, 2);
    testing::expect_error_on_all_ranks([&] { mirror_blocks(oblong, masks[0]); }, ExitStatus::study,
                                       ErrorKind::contradiction, "3 x 4");
}

// min(i, j), and every entry in turn off by 1, which its mirror image is then as well.
TEST(Asymmetry, IsTheLargestAndItsFirstEntryInColumnOrder) {
    const auto set = [](DistributedMatrix& G, Index i, Index j, double change) {
        if (G.row_layout().owner(i) == G.grid().row() && G.column_layout().owner(j) == G.grid().column())
            G.data()[G.row_layout().to_local(i) + G.column_layout().to_local(j) * G.lld()] += change;
    };
    const auto symmetric = [](Index i, Index j) { return static_cast<double>(std::min(i, j)); };
    on_every_grid([&](const ProcessGrid& grid) {
        for (const Index n : {1, 2, 7, 24})
            for (const Index block : blocks) {
                SCOPED_TRACE(::testing::Message() << n << " in blocks of " << block);
                DistributedMatrix matrix(grid, n, n, block);
                fill(matrix, symmetric);
                const Asymmetry none = asymmetry(matrix, 0);
                EXPECT_EQ(none.largest, 0);
                EXPECT_EQ(none.first, -1);
                for (Index at = 0; at < n * n; at += 1 + at % 5) {
                    const Index i = at % n, j = at / n, off_diagonal = i != j ? 1 : 0;
                    set(matrix, i, j, -1);
                    const Asymmetry found = asymmetry(matrix, 0.5);
                    EXPECT_EQ(found.largest, static_cast<double>(off_diagonal));
                    EXPECT_EQ(found.first, off_diagonal > 0 ? std::max(i, j) + std::min(i, j) * n : -1);
                    EXPECT_EQ(asymmetry(matrix, 1).first, -1);
                    set(matrix, i, j, 1);
                }
                if (n < 7) continue;
                set(matrix, 1, 5, 2);  // the first beyond what is allowed is not the largest
                set(matrix, 6, 2, 3);
                set(matrix, 3, 0, 1);
                const Asymmetry found = asymmetry(matrix, 1);
                EXPECT_EQ(found.largest, 3);
                EXPECT_EQ(found.first, 5 + 1 * n);
            }
    });
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    testing::expect_error_on_all_ranks([&] { asymmetry(DistributedMatrix(grid, 3, 4, 2), 0); },
                                       ExitStatus::study, ErrorKind::contradiction, "3 x 4");
}

// Lesson 10: buffers of large transfers are given back.
TEST(DistributedMatrix, ManyTransfersLeaveTheMemoryFlat) {
    const ProcessGrid from(MPI_COMM_WORLD, 1, world_size()), to(MPI_COMM_WORLD, world_size(), 1);
    DistributedMatrix matrix(from, 600, 600, 32);
    fill(matrix, entry);
    const auto move = [&](int count) {
        for (int i = 0; i < count; ++i) matrix = redistribute(redistribute(matrix, to, 16), from, 32);
    };
    move(20);
    const Index before = testing::resident_bytes();
    move(100);
    // 100 times 2.9 MB went through; a tenth of that is already a leak.
    EXPECT_LT(testing::resident_bytes() - before, Index{24} << 20);
    EXPECT_EQ(wrong(matrix, entry), 0);
}

}  // namespace
}  // namespace tangram
