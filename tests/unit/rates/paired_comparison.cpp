#include "tangram/rates/paired_comparison.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "support/expect_error.hpp"
#include "unit/rates/normal.hpp"

namespace tangram {
namespace {

using testing::Normal;

Judgement named(const std::vector<bool>& right) { return {std::vector<double>(right.size(), 1.0), right}; }

TEST(PairedComparison, IsMcNemarsExactTest) {
    // 8 gained, 1 lost of 20: 2 (1 + 9)/2^9.
    std::vector<bool> before(20, false), after(20, false);
    for (std::size_t example = 0; example < 8; ++example) after[example] = true;
    before[19] = true;
    const PairedComparison found = compare_paired(named(before), named(after));
    EXPECT_EQ(found.gained, 8);
    EXPECT_EQ(found.lost, 1);
    EXPECT_NEAR(found.p_value, 20.0 / 512, 1e-12);
    EXPECT_TRUE(found.accuracy_rises());
    EXPECT_TRUE(compare_paired(named(after), named(before)).accuracy_falls());
    EXPECT_FALSE(found.error_falls() || found.error_rises());
    // 7 gained, 1 lost: 2 (1 + 8)/2^8 = 0.07 is no rise at 95 %.
    after[7] = false;
    const PairedComparison fewer = compare_paired(named(before), named(after));
    EXPECT_NEAR(fewer.p_value, 18.0 / 256, 1e-12);
    EXPECT_FALSE(fewer.accuracy_rises() || compare_paired(named(after), named(before)).accuracy_falls());
    // As many gained as lost, and none at all.
    EXPECT_EQ(compare_paired(named({true, false}), named({false, true})).p_value, 1);
    EXPECT_EQ(compare_paired(named(before), named(before)).p_value, 1);
}

TEST(PairedComparison, SeesASmallFallBelowALargeSharedSpread) {
    // Errors that spread by sqrt(2) among examples and fall by 0.05 +- 0.1 each: 400 examples show it, ten
    // standard errors; their own intervals, +- 0.14, would not.
    Normal normal(3);
    Judgement before, after;
    for (int example = 0; example < 400; ++example) {
        before.squared_errors.push_back(std::pow(normal(), 2));
        after.squared_errors.push_back(before.squared_errors.back() - 0.05 + 0.1 * normal());
    }
    const PairedComparison found = compare_paired(before, after);
    EXPECT_NEAR(found.error_fall, 0.05, 0.02);
    EXPECT_NEAR(found.standard_error, 0.005, 0.001);
    EXPECT_TRUE(found.error_falls());
    EXPECT_TRUE(compare_paired(after, before).error_rises());
    EXPECT_EQ(found.p_value, 1);  // no classes
}

TEST(PairedComparison, OfOneExampleShowsNothing) {
    Judgement before{{1.0}, {}}, after{{0.5}, {}};
    const PairedComparison found = compare_paired(before, after);
    EXPECT_EQ(found.error_fall, 0.5);
    EXPECT_FALSE(found.error_falls() || compare_paired(after, before).error_rises());
}

TEST(PairedComparison, OfFewExamplesTakesStudentsQuantile) {
    // Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), 3.46 of which are less than 4.30 (two degrees of
    // freedom); of 4 such threes 2, sd 0.85, 8.1 > 2.20, also among ten (3.5).
    Judgement before{{1.0, 2.0, 3.0}, {}}, after{{0.0, 0.0, 0.0}, {}};
    EXPECT_FALSE(compare_paired(before, after).error_falls());
    before.squared_errors = {1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3};
    after.squared_errors.assign(12, 0.0);
    const PairedComparison found = compare_paired(before, after);
    EXPECT_EQ(found.examples, 12);
    EXPECT_TRUE(found.error_falls() && found.error_falls(10));
    EXPECT_FALSE(PairedComparison({1, 0.4, 0, 0, 1, 12}).error_falls(10));  // 2.5
    EXPECT_TRUE(PairedComparison({1, 0.4, 0, 0, 1, 12}).error_falls());
}

TEST(PairedComparison, PureNoiseLearnsSeldom) {
    // Each of both tests errs in at most 5 % where nothing is learnt (the exact test in less): of 400 tries
    // 1.96 finds 2.5 % on either side, 10 +- 3; three deviations more are allowed.
    Normal normal(8);
    int falls = 0, rises = 0;
    for (int draw = 0; draw < 400; ++draw) {
        Judgement before, after;
        for (int example = 0; example < 100; ++example) {
            const double noise = normal();
            before.squared_errors.push_back(std::pow(noise, 2));
            after.squared_errors.push_back(std::pow(noise, 2) + 0.3 * normal());
            before.right.push_back(normal() > 0);
            after.right.push_back(example % 3 == 0 ? normal() > 0 : before.right.back());
        }
        const PairedComparison found = compare_paired(before, after);
        falls += found.error_falls() ? 1 : 0;
        rises += found.accuracy_rises() ? 1 : 0;
    }
    EXPECT_LE(falls, 20);
    EXPECT_LE(rises, 20);
}

TEST(PairedComparison, TheSameExamplesTwice) {
    const Judgement two{{1, 2}, {}}, three{{1, 2, 3}, {}};
    const PairedComparison same = compare_paired(two, two);
    EXPECT_EQ(same.error_fall, 0);
    EXPECT_FALSE(same.error_falls() || same.error_rises());
    testing::expect_error(ExitStatus::numerical, ErrorKind::contradiction, {},
                          [&] { compare_paired(two, three); });
    testing::expect_error(ExitStatus::numerical, ErrorKind::contradiction, {},
                          [&] { compare_paired({}, {}); });
}

}  // namespace
}  // namespace tangram
