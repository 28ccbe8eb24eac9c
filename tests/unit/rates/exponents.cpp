#include "tangram/rates/exponents.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/expect_error.hpp"
#include "tangram/rates/falling_error.hpp"
#include "tangram/rates/student.hpp"
#include "unit/rates/normal.hpp"

namespace tangram {
namespace {

using testing::Normal;

TEST(Exponents, OfAnExactPowerLaw) {
    const std::vector<double> sizes{100, 200, 400, 800};
    std::vector<double> values;
    for (const double n : sizes)
        for (const double factor : {1.0, 2.0, 0.5}) values.push_back(factor * std::pow(n, -0.6));
    const Interval found = power_law(sizes, values, 3);
    EXPECT_NEAR(found.value, 0.6, 1e-12);
    EXPECT_NEAR(found.high - found.low, 0, 1e-10);  // every repeat has the same slope
    EXPECT_NEAR(power_law(sizes, std::vector<double>{1, 0.5, 0.25, 0.125}, 1).value, 1.0, 1e-12);
    // A bend shows in the straight line's own error.
    const Interval bent = power_law(sizes, std::vector<double>{1, 0.5, 0.4, 0.39}, 1);
    EXPECT_GT(bent.high - bent.low, 0.3);
    // One repeat of two sizes shows neither spread nor bend.
    const Interval bare = power_law(std::vector<double>{10, 20}, std::vector<double>{1, 0.5}, 1);
    EXPECT_TRUE(std::abs(bare.value - 1) < 1e-12 && std::isnan(bare.low) && std::isnan(bare.high));
    testing::expect_error(ExitStatus::numerical, ErrorKind::out_of_range, {}, [&] {
        power_law(sizes, std::vector<double>{1, 0.5, 0, 0.1}, 1);
    });
    testing::expect_error(ExitStatus::numerical, ErrorKind::too_few, {},
                          [&] { power_law(sizes, values, 2); });
}

TEST(Exponents, IntervalsHoldTheTruth) {
    // Independent noise of 5 % at six sizes, five repeats: the spread of one repeat's slope is wider than the
    // mean's error by sqrt(5), so the interval covers nearly always, and never misses by more than it says in
    // one of 20.
    Normal normal(9);
    const std::vector<double> sizes{64, 128, 256, 512, 1024, 2048};
    int covered = 0;
    for (int draw = 0; draw < 200; ++draw) {
        std::vector<double> values;
        for (const double n : sizes)
            for (int k = 0; k < 5; ++k) values.push_back(std::pow(n, -0.5) * std::exp(0.05 * normal()));
        const Interval found = power_law(sizes, values, 5);
        covered += found.low <= 0.5 && 0.5 <= found.high ? 1 : 0;
        EXPECT_LT(found.high - found.low, 0.25);
    }
    EXPECT_GE(covered, 190);
}

/// v_k^2 = ((k + onset)/(1 + onset))^-(1+tail) of n rows with noise; `exact`: every coefficient its own mean.
std::vector<double> squares_of(Index n, double tail, double onset, double sigma, Normal* normal) {
    std::vector<double> squares;
    for (Index k = 1; k <= n; ++k) {
        const double rank = (static_cast<double>(k) + onset) / (1 + onset),
                     mean = static_cast<double>(n) * std::pow(rank, -(1 + tail)) + sigma * sigma;
        squares.push_back(normal != nullptr ? mean * std::pow((*normal)(), 2) : mean);
    }
    return squares;
}

TEST(Exponents, TheTargetsPowerIsRead) {
    const Index n = 600;
    for (const double tail : {0.3, 1.5, 3.0})
        for (const double onset : {0.0, 20.0})
            for (const double sigma : {0.0, 0.3}) {
                std::string why;
                const auto found =
                    fit_target_power(squares_of(n, tail, onset, sigma, nullptr), {onset, 0, {1, n}}, why);
                ASSERT_TRUE(found) << why;
                // Means in place of draws are the likelihood's own; what is left is the search's resolution.
                EXPECT_NEAR(found->tail_exponent.value, tail, 4e-3) << onset << " " << sigma;
                EXPECT_NEAR(found->noise.value, sigma, 1e-2) << tail << " " << onset;
                const double constant = std::pow(1 + onset, 1 + tail);
                EXPECT_NEAR(found->constant / constant, 1, 0.05) << tail << " " << onset;
                const SourceCapacity source = source_and_capacity(*found, {1.5, 1.4, 1.6}, onset, true);
                EXPECT_NEAR(source.source.value, tail / 3, 2e-3);
                EXPECT_NEAR(source.noisy.high, found->tail_exponent.high / (1 + found->tail_exponent.high),
                            1e-12);
                if (sigma > 0) {  // constant/tail (k + 1/2 + onset)^-tail = sigma^2
                    const double at = std::pow(constant / (tail * sigma * sigma), 1 / tail) - 0.5 - onset;
                    EXPECT_NEAR(source.crossover, std::max(0.0, at), 0.1 * std::max(1.0, at));
                }
            }
}

TEST(Exponents, NothingBoundsASourceWithoutALaw) {
    const TargetPower power{{0.4, 0.2, 0.6}, 1, {0.1, 0.05, 0.2}}, at_limit{{0, 0, 0.1}, 1, {0.1, 0.05, 0.2}};
    EXPECT_TRUE(source_and_capacity(power, {2, 1.9, 2.1}, 0, true).outside());  // s = 0.1
    for (const SourceCapacity& found : {source_and_capacity(power, {2, 1.9, 2.1}, 0, false),
                                        source_and_capacity(at_limit, {2, 1.9, 2.1}, 0, true)}) {
        EXPECT_FALSE(found.outside());
        EXPECT_FALSE(found.inside());
    }
}

TEST(Exponents, IntervalsOfTheTargetsPowerHoldIt) {
    // 24 draws of chi-squared coefficients, the likelihood's own law: fewer than 20 covered once in 160
    // tries.
    const Index n = 300;
    for (const double given : {0.0, 0.3}) {
        Normal normal(21);
        int tail = 0, noise = 0;
        for (int draw = 0; draw < 24; ++draw) {
            std::string why;
            const auto found = fit_target_power(squares_of(n, 1.2, 0, 0.3, &normal), {0, given, {1, n}}, why);
            ASSERT_TRUE(found) << why;
            const auto &t = found->tail_exponent, &s = found->noise;
            tail += t.low <= 1.2 && 1.2 <= t.high ? 1 : 0;
            noise += s.low <= 0.3 && 0.3 <= s.high ? 1 : 0;
            EXPECT_GE(s.value, given - 1e-12);
        }
        EXPECT_GE(tail, 20) << given;
        EXPECT_GE(noise, 20) << given;
    }
}

TEST(Exponents, TheTargetsPowerSaysWhyThereIsNone) {
    Normal normal(4);
    std::vector<double> noise, rising;
    for (int k = 1; k <= 1000; ++k) {
        noise.push_back(std::pow(normal(), 2));
        rising.push_back(k);
    }
    std::string why;
    EXPECT_FALSE(fit_target_power(noise, {0, 0, {2, 1000}}, why));
    EXPECT_NE(why.find("sigma = 1"), std::string::npos) << why;
    for (const auto& squares : {rising, std::vector<double>(1000, 0.0), std::vector<double>(1000, 1.0)})
        EXPECT_FALSE(fit_target_power(squares, {0, 0, {2, 1000}}, why));
    EXPECT_FALSE(fit_target_power(squares_of(20, 1, 0, 0, nullptr), {0, 0, {1, 20}}, why));
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {}, [&] {
        fit_target_power(std::vector<double>{1, NAN}, {0, 0, {1, 2}}, why);
    });
    const RateExponent none = unknown_rate("observed", "nothing was seen");
    EXPECT_FALSE(none.known());
    EXPECT_EQ(none.note, "nothing was seen");
}

TEST(Exponents, AFallingErrorHasALimit) {
    const std::vector<double> sizes{128, 256, 512, 1024, 2048};
    const auto errors = [&](double limit, double exponent, double spread, std::uint64_t seed) {
        Normal normal(seed);
        std::vector<double> values;
        for (const double n : sizes)
            for (int k = 0; k < 5; ++k)
                values.push_back(limit + 10 * std::pow(n, -exponent) + spread * normal());
        return values;
    };
    // Without spread only the search's resolution is left.
    const FallingError exact = falling_error({sizes, errors(0.3, 0.7, 0, 1), 5});
    EXPECT_EQ(exact.none, "");
    EXPECT_NEAR(exact.exponent.value, 0.7, 1e-4);
    EXPECT_NEAR(exact.limit.value, 0.3, 1e-4);
    // Limit and exponent are told together: where the limit is known from below, so is the exponent.
    const auto values = errors(0.3, 0.7, 0.003, 2);
    const FallingError free = falling_error({sizes, values, 5}),
                       held = falling_error({sizes, values, 5, INFINITY, 0.2999});
    EXPECT_LT(held.exponent.high - held.exponent.low, free.exponent.high - free.exponent.low);
    EXPECT_GE(held.limit.low, 0.2999);
    // No fall; a fall that is over after one size; five sizes of one run each, of which six have a rate.
    const std::vector<double> doubled{1, 2, 4, 8, 16, 32}, falling{1.3, 1, 0.8, 0.65, 0.55, 0.48};
    EXPECT_EQ(falling_error({doubled, falling, 1}).none, "");
    for (const auto& none : {falling_error({sizes, errors(0.3, 30, 0.003, 3), 5}),
                             falling_error({std::vector<double>{1, 100, 200, 400, 800, 1600},
                                            std::vector<double>{10.3, 0.3, 0.3, 0.3, 0.3, 0.3}, 1}),
                             falling_error({std::vector(doubled.begin(), doubled.end() - 1),
                                            std::vector(falling.begin(), falling.end() - 1), 1})}) {
        EXPECT_NE(none.none, "");
        EXPECT_TRUE(std::isnan(none.exponent.value));
    }
    testing::expect_error(ExitStatus::numerical, ErrorKind::too_few, {}, [&] {
        falling_error({std::vector<double>{1, 2}, std::vector<double>{1, 0.5}, 1});
    });
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {}, [&] {
        falling_error({std::vector<double>{1, 2, 4}, std::vector<double>{1, 0.5, NAN}, 1});
    });
}

TEST(Exponents, StudentsQuantiles) {
    // Tables of the t distribution, two-sided 95 %.
    for (const auto& [freedom, quantile] : {std::pair<Index, double>{1, 12.706},
                                            {4, 2.776},
                                            {5, 2.571},
                                            {10, 2.228},
                                            {30, 2.042},
                                            {1000, 1.962}})
        EXPECT_NEAR(student_quantile(freedom), quantile, 0.002);
    // scipy.stats.t.ppf(1 - 0.025 / comparisons, freedom); the expansion's error grows with the quantile.
    EXPECT_NEAR(student_quantile(20, 2), 2.4231, 0.002);
    EXPECT_NEAR(student_quantile(500, 4), 2.5068, 0.002);
    EXPECT_NEAR(student_quantile(8, 7), 3.5844, 0.01 * 3.5844);
    EXPECT_EQ(student_quantile(7, 2), HUGE_VAL);
    const Interval found = *with_spread(1, std::vector<double>{0.9, 1.1, 1.0, 0.8, 1.2});
    EXPECT_NEAR(found.high, 1 + 2.776 * std::sqrt(0.025), 1e-3);
    EXPECT_FALSE(with_spread(1, std::vector<double>{1}));
}

}  // namespace
}  // namespace tangram
