#include "tangram/learning/targets.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace tangram {
namespace {

TEST(Targets, SharesHaveWilsonsInterval) {
    // Its ends are the shares p that lie 1.96 of their own deviations from what was seen.
    for (const auto& [share, count] :
         {std::pair{0.8, Index{50}}, {0.5, 400}, {0.99, 100}, {1.0, 20}, {0.0, 7}}) {
        const auto [low, high] = share_interval(share, count);
        for (const double p : {low, high})
            EXPECT_NEAR(std::pow(share - p, 2), 1.96 * 1.96 * p * (1 - p) / static_cast<double>(count),
                        1e-12);
        EXPECT_LE(low, share + 1e-12);
        EXPECT_GE(high, share - 1e-12);
        EXPECT_GT(high - low, 0.01);
    }
}

TEST(Targets, TheBaseRateIsOfTheMostFrequentLabelOfEveryTask) {
    // 3 of 4 margins are of label 0; of the other task's three labels the last stands three times in five.
    const std::vector<std::int32_t> task_of{0, 0, 0, 0, 1, 1, 1, 1, 1}, labels{0, 0, 1, 0, 2, 0, 2, 1, 2};
    const Targets both = task_targets({{"a", "b"}, {"margin", "logits"}, {2, 3}}, task_of, labels,
                                      std::vector<double>(9 * 5, 0.0));
    EXPECT_EQ(both.examples(), 9);
    EXPECT_DOUBLE_EQ(base_rate(both), (3 + 3) / 9.0);
    // Two tasks of margins, whose most frequent labels are different ones.
    const Targets margins = task_targets({{"a", "b"}, {"margin", "margin"}, {2, 2}}, {0, 0, 0, 1, 1, 1},
                                         {0, 0, 1, 1, 1, 0}, std::vector<double>(6 * 4, 0.0));
    EXPECT_DOUBLE_EQ(base_rate(margins), 4 / 6.0);
}

}  // namespace
}  // namespace tangram
