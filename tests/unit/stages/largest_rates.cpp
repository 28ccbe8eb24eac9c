#include "../src/stages/largest_rates.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tangram {
namespace {

/// The k largest of n eigenvalues, with the sum of all.
LargestEigenvalues largest_of(const std::vector<double>& l, Index k) {
    return {{l.begin(), l.begin() + k}, std::ssize(l), std::accumulate(l.begin(), l.end(), 0.0)};
}
std::vector<double> power_law(Index n) {
    std::vector<double> l;
    for (Index i = 1; i <= n; ++i) l.push_back(std::pow(static_cast<double>(i), -1.5));
    return l;
}
std::vector<double> equal(Index n) { return std::vector<double>(static_cast<std::size_t>(n), 0.25); }
std::vector<double> finite_rank(Index n) {
    std::vector<double> l(static_cast<std::size_t>(n), 0.0);
    for (std::size_t i = 0; i < 7; ++i) l[i] = 1 / static_cast<double>(i + 1);
    return l;
}

TEST(StoppingBounds, HoldWhatAllEigenvaluesGive) {
    for (const auto& l : {power_law(200), equal(200), finite_rank(200)})
        for (const double noise : {0.01, 0.3, 5.0}) {
            const StepSizes steps({1 / l.front()});
            const double critical = critical_radius(l, noise), stop = stopping_step(l, noise, steps);
            double width = 1e300;
            for (const Index k : {1, 5, 20, 100, 199}) {
                const StoppingBounds bounds = stopping_bounds(largest_of(l, k), noise, steps);
                EXPECT_LE(bounds.critical.low, critical * (1 + 1e-12)) << k;
                EXPECT_GE(bounds.critical.high, critical * (1 - 1e-12)) << k;
                EXPECT_LE(bounds.stop.low, stop) << k;
                EXPECT_GE(bounds.stop.high, stop) << k;
                // More is known, the interval is not wider.
                EXPECT_LE(bounds.critical.high - bounds.critical.low, width + 1e-12) << k;
                width = bounds.critical.high - bounds.critical.low;
            }
        }
}

// Where nothing is missing, all that is missing is equal, or what is missing cannot matter at a large sigma.
TEST(StoppingBounds, AreExactWhereTheOthersCannotMatter) {
    const auto exact = [](const std::vector<double>& l, Index k, double noise) {
        const StepSizes steps({1 / l.front()});
        const StoppingBounds bounds = stopping_bounds(largest_of(l, k), noise, steps);
        EXPECT_DOUBLE_EQ(bounds.critical.value, critical_radius(l, noise));
        EXPECT_EQ(bounds.stop.value, stopping_step(l, noise, steps));
    };
    exact(power_law(50), 50, 0.3);
    exact(equal(50), 3, 0.3);
    exact(finite_rank(50), 7, 0.01);
    // eps_n^2 above l_5: the others are added whole, and their sum is known.
    const std::vector<double> l = power_law(50);
    ASSERT_GT(std::pow(critical_radius(l, 3), 2), l[4]);
    exact(l, 5, 3);
}

// By hand, n = 4, l = 1, 1/2 and a rest of 1/2: least 1/2 + 0, greatest 1/4 + 1/4. At eps^2 = x between 1/4
// and 1/2 the sums of minima are x + x + x and x + x + 1/2; sigma is such that x = 0.3 is critical in either.
TEST(StoppingBounds, ByHand) {
    const LargestEigenvalues known{{1, 0.5}, 4, 2};
    const double x = 0.3;
    const auto sigma_of = [&](double sum) { return x / (2 * std::exp(1.0) * std::sqrt(sum / 4)); };
    EXPECT_NEAR(std::pow(stopping_bounds(known, sigma_of(3 * x), StepSizes({1})).critical.low, 2), x, 1e-12);
    EXPECT_NEAR(std::pow(stopping_bounds(known, sigma_of(2 * x + 0.5), StepSizes({1})).critical.high, 2), x,
                1e-12);
    EXPECT_TRUE(std::isnan(stopping_bounds(known, sigma_of(3 * x), StepSizes({1})).critical.value));
}

// What follows from T says why it is not there: for want of sigma, or of eigenvalues, with what T is between.
TEST(RatesOfLargest, SayWhatIsMissing) {
    const std::vector<double> l = power_law(400);
    RatesInput input;
    input.eigenvalues.assign(l.begin(), l.begin() + 30);
    for (double& value : input.eigenvalues) value *= 400;
    input.rows = 400;
    const auto rates = [&](std::optional<double> noise, std::optional<StoppingBounds>& bounds) {
        RatesOptions options;
        options.noise = noise;
        options.radius = 1;
        return rates_of_largest(input, largest_of(l, 30), options, {}, bounds);
    };
    const auto note = [](const RatesResult& result, const std::string& source) {
        return std::ranges::find(result.exponents, source, &RateExponent::source)->note;
    };
    std::optional<StoppingBounds> bounds;
    const RatesResult without = rates({}, bounds);
    EXPECT_FALSE(bounds);
    EXPECT_NE(note(without, "critical_radius").find("sigma"), std::string::npos);
    EXPECT_NE(without.bound.none.find("sigma"), std::string::npos);

    const RatesResult given = rates(1e-3, bounds);
    ASSERT_TRUE(bounds && std::isnan(bounds->stop.value));
    const std::string between = std::to_string(std::llround(bounds->stop.low)) + " and " +
                                std::to_string(std::llround(bounds->stop.high));
    for (const std::string& text : {note(given, "critical_radius"), given.bound.none})
        for (const std::string& words : {std::string("30 of 400"), between})
            EXPECT_NE(text.find(words), std::string::npos) << text;
    // Of others nothing is missing but eigenvectors.
    EXPECT_EQ(note(given, "observed"), note(without, "observed"));
    EXPECT_EQ(note(given, "decay"), note(without, "decay"));

    const RatesResult known = rates(30, bounds);
    ASSERT_TRUE(bounds);
    EXPECT_EQ(known.stop, bounds->stop.value);
    EXPECT_NE(note(known, "critical_radius").find("30 of 400"), std::string::npos);
    EXPECT_EQ(note(known, "critical_radius").find("between"), std::string::npos);
}

}  // namespace
}  // namespace tangram
