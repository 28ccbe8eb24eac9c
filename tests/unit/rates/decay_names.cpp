#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <limits>
#include <string>

#include "tangram/rates/decay.hpp"
#include "unit/rates/gaussian_sample.hpp"
#include "unit/rates/normal.hpp"
#include "unit/rates/symmetric_eigenpairs.hpp"

/// Spectra that are no plain law, and exponents near 1: what they are named, and that intervals hold the
/// truth. Gaussian features, n = 600, windows of up to 30 ranks; modes past rank 600 on the diagonal.
namespace tangram {
namespace {

using testing::Normal;

struct Named {
    int polynomial = 0, shifted = 0, exponential = 0, finite_rank = 0, none = 0;
    int covered = 0;  ///< samples whose interval of the polynomial's exponent holds `exponent`
    double mean = 0, width = 0;
};

Named named(const std::string& words, const std::function<double(double)>& law, double exponent,
            int samples) {
    const Index n = 600;
    testing::Population truth;
    for (Index k = 1; k <= n; ++k) truth.leading.push_back(law(static_cast<double>(k)));
    for (Index k = 1'000'000; k > n; --k) truth.rest += law(static_cast<double>(k));
    Named result;
    Normal normal(static_cast<std::uint64_t>(1000 * law(7)) + 3);
    for (int sample = 0; sample < samples; ++sample) {
        const Eigen::MatrixXd G = testing::gaussian_gram(truth, n, normal);
        const std::vector<double> l = testing::spectrum(G);
        const DecayFit fit = fit_decay(l, 1e-12, n);
        std::vector<DecayFit> replicas;
        for (int r = 0; r < 5; ++r)
            replicas.push_back(
                fit_decay(testing::spectrum(testing::random_half(G, normal)), 1e-12, 0, fit.window));
        const Interval found = decay_intervals(l, 1e-12, n, fit, replicas).polynomial.exponent;
        const bool polynomial = fit.selected == DecayFamily::polynomial, onset = fit.power_law().onset > 0;
        result.polynomial += polynomial && !onset ? 1 : 0;
        result.shifted += polynomial && onset ? 1 : 0;
        result.exponential += fit.selected == DecayFamily::exponential ? 1 : 0;
        result.finite_rank += fit.selected == DecayFamily::finite_rank ? 1 : 0;
        result.none += fit.selected == DecayFamily::none ? 1 : 0;
        result.covered += found.low <= exponent && exponent <= found.high ? 1 : 0;
        result.mean += found.value / samples;
        result.width += (found.high - found.low) / samples;
        EXPECT_EQ(fit.reason.empty(), fit.selected != DecayFamily::none);
    }
    std::cout << words << ": polynomial " << result.polynomial << ", with onset " << result.shifted
              << ", exponential " << result.exponential << ", finite rank " << result.finite_rank << ", none "
              << result.none << " of " << samples << "; exponent " << result.mean << ", intervals "
              << result.width << " wide hold " << exponent << " in " << result.covered << std::endl;
    return result;
}

TEST(DecayNames, SlowPowers) {
    // Of 6, two intervals of 95 % miss together once in 30 tries, three once in 450.
    for (const double a : {1.05, 1.2}) {
        const Named found = named(
            "k^-" + std::to_string(a), [&](double k) { return std::pow(k, -a); }, a, 6);
        EXPECT_GE(found.covered, 4);
        EXPECT_GE(found.polynomial, 5);
        EXPECT_NEAR(found.mean, a, 0.03);
        EXPECT_LT(found.width, 0.2);  // 0.07 and 0.10 were seen: 1.05 is told from 1.2
    }
}

// The numbers of 40 samples each stand in docs/mathematics.md, Fitting the decay.
TEST(DecayNames, ALateOnsetIsNoExponential) {
    for (const double onset : {10.0, 20.0}) {
        const Named found = named(
            "(k + " + std::to_string(onset) + ")^-2", [&](double k) { return std::pow(k + onset, -2); }, 2,
            6);
        EXPECT_LE(found.exponential, 2);
        EXPECT_GE(found.covered, 4);
        EXPECT_LT(found.width, onset < 15 ? 1.5 : 4.0);  // 0.7 and 2.3 were seen
    }
}

TEST(DecayNames, ABreakFitsNoFamily) {
    const Named found = named(
        "k^-1, from rank 10 on k^-3", [](double k) { return k < 10 ? 1 / k : 100 / (k * k * k); }, 3, 6);
    EXPECT_GE(found.none, 4);
}

/// The table of docs/mathematics.md, Fitting the decay: TANGRAM_COVERAGE_RUNS samples of each law; not run
/// without.
TEST(DecayNames, Table) {
    const char* const given = std::getenv("TANGRAM_COVERAGE_RUNS");
    if (given == nullptr) GTEST_SKIP() << "a table of minutes; set TANGRAM_COVERAGE_RUNS";
    const int samples = std::max(1, std::atoi(given));
    for (const double a : {1.05, 1.1, 1.2, 1.5, 2.0, 3.0})
        named(
            "k^-" + std::to_string(a), [&](double k) { return std::pow(k, -a); }, a, samples);
    for (const double onset : {10.0, 20.0, 30.0})
        named(
            "(k + " + std::to_string(onset) + ")^-2", [&](double k) { return std::pow(k + onset, -2); }, 2,
            samples);
    named(
        "k^-1, from rank 10 on k^-3", [](double k) { return k < 10 ? 1 / k : 100 / (k * k * k); }, 3,
        samples);
    named(
        "exp(-k/5)", [](double k) { return std::exp(-k / 5); }, 0, samples);
    named(
        "exp(-sqrt(k))", [](double k) { return std::exp(-std::sqrt(k)); }, 0, samples);
    named(
        "25 equal", [](double k) { return k <= 25 ? 1.0 : 0.0; }, 0, samples);
}

}  // namespace
}  // namespace tangram
