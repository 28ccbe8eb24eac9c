#include "tangram/learning/nested_subsets.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace tangram {
namespace {

TEST(RanksOfSubset, AreThoseThatItsMatricesNeedOnASquareGrid) {
    EXPECT_EQ(ranks_of_subset(500, 1000, 0, 1), 1);
    EXPECT_EQ(ranks_of_subset(500, 1000, 0, 4), 1);
    EXPECT_EQ(ranks_of_subset(1000, 1000, 0, 7), 7);
    EXPECT_EQ(ranks_of_subset(1, 100000, 10000, 1000), 1);
    // 1000 * 65536 (65536 + 20000) / (100000 * 120000) = 467.1..., of which two find room.
    EXPECT_EQ(ranks_of_subset(65536, 100000, 10000, 1000), 468);
    EXPECT_EQ(ranks_of_subset(32768, 100000, 10000, 1000), 150);
    // Three groups of 333 of 1000 ranks are more than two of 336.
    EXPECT_EQ(ranks_of_subset(333, 1000, 1e9, 1000), 333);
}

TEST(RanksOfSubset, HoldNoMoreThanOfTheWholeAndWorkInAsManyGroups) {
    for (const int ranks : {1, 2, 3, 6, 16, 97, 128, 1000})
        for (double rows = 50; rows <= 4000; rows *= 1.3) {
            const double needed = ranks * rows * (rows + 2000) / (4000.0 * 6000.0);
            const int found = ranks_of_subset(rows, 4000, 1000, ranks);
            EXPECT_GE(found, needed);
            EXPECT_LE(found, ranks);
            EXPECT_EQ(ranks / found, ranks / std::max(1, static_cast<int>(std::ceil(needed))));
        }
}

}  // namespace
}  // namespace tangram
