#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "tangram/learning/kernel_rates.hpp"
#include "tangram/not_known.hpp"
#include "tangram/rates/falling_error.hpp"

namespace tangram {
namespace {

RateExponent row_of(const RatesResult& r, const std::string& source) {
    return *std::ranges::find(r.exponents, source, &RateExponent::source);
}

std::vector<double> power_of_rank(Index n, double a) {
    std::vector<double> l;
    for (Index k = 1; k <= n; ++k) l.push_back(std::pow(static_cast<double>(k), -a));
    return l;
}

/// What the decay alone says, from eigenvalues without targets.
RateExponent rate_of_decay(DecayFamily family, const Interval& exponent, double power = 1) {
    RatesResult r;
    r.rows = r.examples = 1000;
    r.noise = not_known;
    r.decay.selected = family;
    r.decay.polynomial = PolynomialDecay{exponent.value, 1, 0, true, 0};
    r.intervals.polynomial.exponent = exponent;
    r.intervals.exponential_power = {power, power, power};
    tabulate_exponents(r, power_of_rank(1000, 1.2), {}, {});
    return row_of(r, "decay");
}

TEST(ExponentTable, NoRateFollowsFromADecayThatIsSurelyAtMostOne) {
    const auto polynomial = [](const Interval& a) { return rate_of_decay(DecayFamily::polynomial, a); };
    EXPECT_FALSE(polynomial({1.0, 0.97, 1.04}).known());
    // One that holds more than 1.05 leaves it open; below 1 the rate may be any.
    const RateExponent open = polynomial({1.02, 0.98, 1.06});
    EXPECT_DOUBLE_EQ(open.exponent.value, 1.02 / 2.02);
    EXPECT_EQ(open.exponent.low, 0);
    EXPECT_DOUBLE_EQ(open.exponent.high, 1.06 / 2.06);
    EXPECT_DOUBLE_EQ(polynomial({1.2, 1.1, 1.5}).exponent.low, 1.1 / 2.1);
}

TEST(ExponentTable, AnExponentialsLowerEndIsTheSlopeHere) {
    // Of n^-1 (log n)^(1/g) at n = 1000, by central differences.
    for (const double g : {0.5, 1.0, 2.0}) {
        const auto logarithm = [&](double log_n) { return -log_n + std::log(log_n) / g; };
        const double at = std::log(1000.0), slope = (logarithm(at + 1e-4) - logarithm(at - 1e-4)) / 2e-4;
        const RateExponent found = rate_of_decay(DecayFamily::exponential, {1, 1, 1}, g);
        EXPECT_NEAR(found.exponent.low, -slope, 1e-6) << g;
        EXPECT_EQ(found.exponent.value, 1);
    }
}

/// 200 examples of two rows each, l_k = k^-1.5, and of the target v_k^2 = k^-2.5 above a noise of 0.01: power
/// and noise cross at (1/(1.5 sigma^2))^(1/1.5) = 354 rows, which are 177 examples.
RatesResult of_two_rows(std::vector<Index> sizes, const std::vector<double>& l) {
    RatesResult r;
    r.rows = 400;
    r.examples = 200;
    r.noise = 0.01;
    r.radius = 1;
    r.noise_source = "given";
    r.decay = fit_decay(l, 1e-12, 1'000'000'000, DecayWindow{1, 20}, 20);
    r.intervals.polynomial.exponent = {1.5, 1.4, 1.6};
    r.curve.sizes = std::move(sizes);
    return r;
}
std::vector<double> squares_above_noise() {
    std::vector<double> squares;
    for (int k = 1; k <= 400; ++k) squares.push_back(400 * std::pow(k, -2.5) + 1e-4);
    return squares;
}

TEST(ExponentTable, WhereNoiseBeginsToDominateIsSaidInExamples) {
    const std::vector<double> l = power_of_rank(400, 1.5), squares = squares_above_noise();
    for (const Index smallest : {50, 190}) {
        RatesResult r = of_two_rows({smallest, 200}, l);
        for (int size = 0; size < 2; ++size) r.curve.results.push_back({SubsetResult{}});
        tabulate_exponents(r, l, squares, {});
        ASSERT_TRUE(r.source) << r.source_reason;
        EXPECT_NEAR(r.source->crossover, 177, 5);
        const RateExponent found = row_of(r, "source_capacity");
        EXPECT_NEAR(found.exponent.value, 1.5 / 2.5, 0.01);
        // Where it begins among the sizes the noiseless rate bounds what is seen.
        EXPECT_EQ(found.exponent.high, smallest < 177 ? r.source->noiseless.high : r.source->noisy.high);
        EXPECT_EQ(found.note.find("above n = 17") != std::string::npos, smallest < 177) << found.note;
    }
    // With fewer examples than that it does not dominate at any size.
    RatesResult few = of_two_rows({50, 100}, l);
    few.examples = 100;
    few.rows = 200;
    for (int size = 0; size < 2; ++size) few.curve.results.push_back({SubsetResult{}});
    tabulate_exponents(few, l, squares, {});
    EXPECT_NEAR(row_of(few, "source_capacity").exponent.value, 1.5, 0.02);
}

TEST(ExponentTable, WhereNoLawFitsBothSlopesAreTheWindowsOwn) {
    const std::vector<double> l = power_of_rank(400, 1.5);
    RatesResult r = of_two_rows({200}, l);
    r.curve.results.push_back({SubsetResult{}});
    r.decay.selected = DecayFamily::none;
    r.decay.polynomial->criterion = 0;
    r.decay.polynomial->exponent = 1.5;
    r.decay.shifted = PolynomialDecay{2.5, 1, -100, true, 12};
    r.intervals.polynomial.exponent = {2.5, 2.3, 2.8};
    tabulate_exponents(r, l, squares_above_noise(), {});
    ASSERT_TRUE(r.source) << r.source_reason;
    EXPECT_DOUBLE_EQ(r.source->capacity.value, 1.5);
    EXPECT_DOUBLE_EQ(r.source->capacity.low, 1.3);
    EXPECT_DOUBLE_EQ(r.source->capacity.high, 1.8);
}

/// Errors at T of three repeats over four sizes, `spread` apart.
RatesResult with_errors(const std::vector<double>& means, double spread, double noise = 0.01) {
    const std::vector<double> l = power_of_rank(400, 1.5);
    RatesResult r = of_two_rows({50, 75, 100, 150}, l);
    r.rows = 200;
    r.noise = noise;
    r.stop = 10;
    r.has_matrix = true;
    r.curve.observed_on = on_test_set;
    r.curve.test_examples = 200;
    for (const double mean : means) {
        auto& results = r.curve.results.emplace_back();
        for (const double k : {-1.0, 0.0, 1.0}) {
            SubsetResult& one = results.emplace_back();
            one.at_stop.mse = one.at_best.mse = mean + k * spread;
            one.critical_radius = 0.1;
        }
    }
    tabulate_exponents(r, l, squares_above_noise(), {});
    return r;
}

TEST(ExponentTable, AWholeErrorFallsWhereItDoesByMoreThanItsSpread) {
    // 4.303 (0.1^2/3 + 0.1^2)^(1/2) = 0.497.
    EXPECT_FALSE(row_of(with_errors({1.45, 1.3, 1.1, 1.0}, 0.1), "observed_mse").known());
    EXPECT_TRUE(row_of(with_errors({1.55, 1.3, 1.1, 1.0}, 0.1), "observed_mse").known());
}

TEST(ExponentTable, TheLimitHasTheTestExamplesErrorToo) {
    const std::vector<double> sizes{50, 75, 100, 150};
    std::vector<double> means, values;
    for (const double n : sizes) means.push_back(0.5 + 20 / n);
    for (const double mean : means)
        for (const double k : {-1.0, 0.0, 1.0}) values.push_back(mean + k * 0.001);
    const RateExponent found = row_of(with_errors(means, 0.001), "observed");
    ASSERT_TRUE(found.known()) << found.note;
    double limit = 0, low = 0, high = 0;
    ASSERT_EQ(std::sscanf(found.note.c_str(), "A + B n^-x with A = %lf [%lf, %lf]", &limit, &low, &high), 3);
    // Of 200 test examples a mean square varies by (2/200)^(1/2) of itself.
    const FallingError alone = falling_error({sizes, values, 3, 200});
    EXPECT_NEAR(alone.limit.low - low, 1.96 * 0.1 * values.back(), 2e-4);
    EXPECT_NEAR(high - alone.limit.high, 1.96 * 0.1 * values.back(), 2e-4);
}

TEST(ExponentTable, TheLimitIsNotBelowAGivenNoise) {
    // sigma^2 = 0.36 as 200 test examples may show it, less what they err by; with less anything fits up to
    // 0.47, and that is no rate.
    const std::vector<double> means{0.95, 0.8, 0.7, 0.6};
    const auto low_of = [&](double noise) {
        const RateExponent found = row_of(with_errors(means, 0.02, noise), "observed");
        double limit = 0, low = 0;
        EXPECT_EQ(std::sscanf(found.note.c_str(), "A + B n^-x with A = %lf [%lf", &limit, &low), 2)
            << found.note;
        return low;
    };
    EXPECT_NEAR(low_of(0.6), 0.36 * (1 - 0.196), 1e-3);
    for (const double small : {0.01, 0.3}) {
        const std::string open = row_of(with_errors(means, 0.02, small), "observed").note;
        EXPECT_NE(open.find(small < 0.1 ? "every A from 8.04e-05 to 0.47" : "every A from 0.0724 to 0.47"),
                  std::string::npos)
            << open;
    }
    // Errors below 0.9^2 by more than these: test labels without that noise, of which nothing is said.
    const std::string above = row_of(with_errors(means, 0.02, 0.9), "observed").note;
    EXPECT_NE(above.find("every A from 0 to"), std::string::npos) << above;
    EXPECT_NE(above.find("0.81 as given"), std::string::npos) << above;
    EXPECT_EQ(row_of(with_errors(means, 0.02, 0.6), "observed").note.find("as given"), std::string::npos);
}

TEST(ExponentTable, TheSentenceLeavesOutBoundsOverNoBall) {
    RatesResult r;
    r.rows = r.examples = 1000;
    r.noise = 0.1;
    r.stop = 10;
    r.exponents = {{"decay", {0.6, 0.5, 0.7}, ""}, {"critical_radius", {0.6, 0.5, 0.7}, ""}};
    EXPECT_EQ(rates_sentence(r).find("decay"), std::string::npos) << rates_sentence(r);
    r.radius_source = "given";
    EXPECT_NE(rates_sentence(r).find("0.60 [0.50, 0.70] (decay, a bound)"), std::string::npos)
        << rates_sentence(r);
}

}  // namespace
}  // namespace tangram
