#include "tangram/parallel/tree_sum.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "support/mpi_test.hpp"

namespace tangram {
namespace {

double entry_of_leaf(Index leaf, Index i) {
    return std::sin(static_cast<double>(leaf * 1009 + i)) * std::exp2(leaf % 7);
}

/// Leaves [first, last) in the order of the tree: halves at the largest power of two below their number.
double sum_of(Index first, Index last, Index i) {
    if (last - first == 1) return entry_of_leaf(first, i);
    Index half = 1;
    while (2 * half < last - first) half *= 2;
    return sum_of(first, first + half, i) + sum_of(first + half, last, i);
}

TEST(TreeSum, AddsInTheOrderOfOneTree) {
    // Of more than one piece too.
    for (const Index size : {1, 70001})
        for (const Index leaves : {1, 2, 3, 5, 6, 8, 13}) {
            SCOPED_TRACE(leaves);
            TreeSum sums(MPI_COMM_WORLD, leaves, size);
            std::vector<double> sum(static_cast<std::size_t>(size), std::nan(""));
            for (const double divisor : {1.0, 3.0}) {  // and again, two leaves at a time, in pieces
                for (Index leaf = sums.first(); leaf < sums.last();) {
                    const Index count = divisor != 1 && leaf % 2 == 0 && leaf + 1 < sums.last() ? 2 : 1;
                    std::vector<double> values = sums.memory();
                    for (Index i = 0; i < size; ++i)
                        values[static_cast<std::size_t>(i)] = sum_of(leaf, leaf + count, i);
                    sums.add(values, count);
                    leaf += count;
                }
                Index next = 0;
                if (divisor == 1)
                    sums.finish(sum);
                else
                    sums.finish(divisor, [&](Index first, std::span<const double> piece) {
                        EXPECT_EQ(first, std::exchange(next, first + std::ssize(piece)));
                        std::ranges::copy(piece, sum.begin() + first);
                    });
                Index others = 0;
                for (Index i = 0; i<size; i += size> 1 ? 977 : 1)
                    others += sum[static_cast<std::size_t>(i)] == sum_of(0, leaves, i) / divisor ? 0 : 1;
                EXPECT_ON_ALL_RANKS(others == 0 && sum.back() == sum_of(0, leaves, size - 1) / divisor);
            }
        }
}

}  // namespace
}  // namespace tangram
