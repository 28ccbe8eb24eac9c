#include "tangram/drawing.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>

#include "support/expect_error.hpp"

namespace tangram {
namespace {

using testing::expect_error;

TEST(Drawing, FewerSamplesAreAPrefixOfMore) {
    const auto all = draw_rows(1000, 0, 7, "file");
    EXPECT_EQ(std::set<Index>(all.begin(), all.end()).size(), 1000U);
    EXPECT_EQ(*std::min_element(all.begin(), all.end()), 0);
    EXPECT_EQ(*std::max_element(all.begin(), all.end()), 999);
    for (const Index samples : {1, 2, 500, 999, 1000}) {
        const auto some = draw_rows(1000, samples, 7, "file");
        ASSERT_EQ(std::ssize(some), samples);
        EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin()));
    }
    EXPECT_NE(draw_rows(1000, 10, 8, "file"), draw_rows(1000, 10, 7, "file"));
}

TEST(Drawing, IsTheSameOnEveryMachine) {
    // From an implementation of the generator and of Fisher and Yates in Python.
    EXPECT_EQ(draw_rows(10, 0, 5489, "file"), (std::vector<Index>{0, 1, 2, 4, 6, 8, 7, 3, 5, 9}));
    EXPECT_EQ(draw_rows(10, 0, 1, "file"), (std::vector<Index>{8, 7, 4, 0, 2, 9, 6, 1, 3, 5}));
    EXPECT_EQ(draw_rows(1'000'000, 5, 42, "file"),
              (std::vector<Index>{120406, 860388, 289018, 737432, 852105}));
}

TEST(Drawing, EveryOrderIsAsLikely) {
    // 6 orders of 3 rows, 6000 seeds: 1000 each with a standard deviation of 29; the draws are fixed, so is
    // this test.
    std::array<int, 6> counts{};
    for (std::uint64_t seed = 0; seed < 6000; ++seed) {
        const auto rows = draw_rows(3, 0, seed, "file");
        ++counts[static_cast<std::size_t>(2 * rows[0] + (rows[1] > rows[2] ? 1 : 0))];
    }
    for (const int count : counts) {
        EXPECT_GT(count, 880);
        EXPECT_LT(count, 1120);
    }
}

TEST(Drawing, RefusesMoreSamplesThanRows) {
    expect_error(ExitStatus::study, ErrorKind::too_few, {"1001", "1000", "train.tsv"},
                 [] { draw_rows(1000, 1001, 1, "train.tsv"); });
    expect_error(ExitStatus::study, ErrorKind::out_of_range, {"-1"},
                 [] { draw_rows(1000, -1, 1, "train.tsv"); });
    EXPECT_EQ(draw_rows(1, 1, 1, "file"), std::vector<Index>{0});
    EXPECT_TRUE(draw_rows(0, 0, 1, "file").empty());
}

}  // namespace
}  // namespace tangram
