#include "tangram/rates/decay.hpp"

#include <gtest/gtest.h>

#include <Eigen/Eigenvalues>
#include <cmath>
#include <random>

#include "support/expect_error.hpp"
#include "tangram/rates/noise.hpp"

namespace tangram {
namespace {

/// Standard normal draws that are the same with every library: Box-Muller on std::mt19937_64.
class Normal {
  public:
    explicit Normal(std::uint64_t seed) : generator_(seed) {}
    double operator()() {
        const double u = uniform(), v = uniform();
        return std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979323846 * v);
    }

  private:
    double uniform() { return (static_cast<double>(generator_() >> 11) + 0.5) * 0x1p-53; }
    std::mt19937_64 generator_;
};

/// Eigenvalues of G/n for n Gaussian examples of a kernel with eigenvalues k^-a, descending.
std::vector<double> sample_spectrum(Index n, Index modes, double a, std::uint64_t seed) {
    Normal normal(seed);
    Eigen::MatrixXd features(n, modes);
    for (Index k = 0; k < modes; ++k)
        for (Index i = 0; i < n; ++i) features(i, k) = normal() * std::pow(static_cast<double>(k + 1), -a / 2);
    const Eigen::MatrixXd K = features * features.transpose() / static_cast<double>(n);
    const Eigen::VectorXd w = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(K, Eigen::EigenvaluesOnly).eigenvalues().reverse();
    return {w.data(), w.data() + n};
}

TEST(Decay, FitsAnExactPowerLaw) {
    std::vector<double> l;
    for (int k = 1; k <= 4000; ++k) l.push_back(3.5 * std::pow(k, -2.0));
    const PolynomialDecay fit = fit_polynomial(l, 4000, {2, 200});
    // At a = 2 the correction's cotangent vanishes, so the plain law is a fixed point.
    EXPECT_NEAR(fit.exponent, 2.0, 1e-9);
    EXPECT_NEAR(fit.constant, 3.5, 1e-7);
    EXPECT_NEAR(fit.density_exponent(), 1.5, 1e-9);
    EXPECT_TRUE(fit.corrected);
}

TEST(Decay, DividesOutTheFirstOrderBias) {
    // Eigenvalues made with exactly the bias of theory.md come back; the plain fit is off by more than ten times as much.
    for (const double a : {1.5, 3.0}) {
        std::vector<double> l;
        const double x = 3.14159265358979323846 / a;
        for (int k = 1; k <= 1000; ++k) l.push_back(std::pow(k, -a) * (1 - k / 1000.0 * x / std::tan(x)));
        const PolynomialDecay fit = fit_polynomial(l, 1000, {1, 50});
        EXPECT_NEAR(fit.exponent, a, 1e-9);
        EXPECT_TRUE(fit.corrected);
        double plain = 0;  // two-point slope of the raw values
        plain = -std::log(l[49] / l[0]) / std::log(50.0);
        EXPECT_GT(std::abs(plain - a), 0.002);
    }
}

TEST(Decay, FindsTheExponentOfSampledKernels) {
    // Population modes to 4000; n = 400 examples, window to n/20 = 20 ranks. The spread of a over draws is about 0.1 here,
    // so the mean of 6 draws lies within 0.15 of the truth.
    for (const double a : {1.5, 2.0, 3.0}) {
        double mean = 0;
        for (std::uint64_t seed = 1; seed <= 6; ++seed) {
            const std::vector<double> l = sample_spectrum(400, 2000, a, seed);
            const DecayWindow window = decay_window(l, 1e-12);
            EXPECT_LE(window.last, 20);
            mean += fit_polynomial(l, 400, window).exponent / 6;
        }
        EXPECT_NEAR(mean, a, 0.15);
    }
}

TEST(Decay, WindowSkipsTheCommonDirectionAndTheNoise) {
    std::vector<double> l;
    for (int k = 1; k <= 1000; ++k) l.push_back(std::pow(k, -1.2));
    EXPECT_EQ(decay_window(l, 0.0).first, 1);
    EXPECT_EQ(decay_window(l, 0.0).last, 50);
    l[0] = 100;  // most of the trace
    EXPECT_EQ(decay_window(l, 0.0).first, 2);
    l[1] = 50;
    EXPECT_EQ(decay_window(l, 0.0).first, 3);
    // Ten times the floor reaches to rank 30.
    EXPECT_EQ(decay_window(l, 0.0999 * std::pow(30, -1.2)).last, 30);
    EXPECT_EQ(decay_window(l, 1e9).size(), 0);
    testing::expect_error(ExitStatus::numerical, {"too few"}, [&] { fit_polynomial(l, 1000, {1, 4}); });
}

TEST(Decay, CorrectionIsLeftOutNearOne) {
    std::vector<double> l;
    for (int k = 1; k <= 1000; ++k) l.push_back(std::pow(k, -1.01));
    const PolynomialDecay fit = fit_polynomial(l, 1000, {1, 50});
    EXPECT_FALSE(fit.corrected);
    EXPECT_NEAR(fit.exponent, 1.01, 1e-9);
    EXPECT_FALSE(rate_exponent(0.99).has_value());
    EXPECT_DOUBLE_EQ(*rate_exponent(2.0), 2.0 / 3.0);
}

TEST(Decay, IntervalJoinsSpreadAndDrift) {
    std::vector<double> l;
    for (int k = 1; k <= 1000; ++k) l.push_back(std::pow(k, -2.0));
    const DecayWindow window{1, 50};
    const PolynomialDecay fit = fit_polynomial(l, 1000, window);
    std::vector<PolynomialDecay> replicas(3, fit);
    replicas[0].exponent = 1.9;
    replicas[2].exponent = 2.1;
    const PolynomialIntervals intervals = polynomial_intervals(l, 1000, window, fit, replicas);
    EXPECT_NEAR(intervals.exponent.high - 2.0, 1.96 * 0.1, 1e-6);  // standard deviation 0.1, no drift
    EXPECT_NEAR(intervals.exponent.low - 2.0, -1.96 * 0.1, 1e-6);
    EXPECT_NEAR(intervals.density_exponent.low, 1 + 1 / intervals.exponent.high, 1e-12);
    // A bend between the halves widens it without any replica.
    for (std::size_t k = 25; k < 50; ++k) l[k] *= 0.8;
    const PolynomialDecay bent = fit_polynomial(l, 1000, window);
    const PolynomialIntervals wide = polynomial_intervals(l, 1000, window, bent, {});
    EXPECT_GT(wide.exponent.high - bent.exponent, 0.1);
}

TEST(Noise, FindsTheSigmaOfASimulation) {
    // z_i = signal_i + sigma sqrt-free noise: coefficients of r = f + noise have z_i ~ f_i + N(0, sigma^2).
    for (const double sigma : {0.1, 0.5, 2.0}) {
        Normal normal(3);
        std::vector<double> l, squares;
        for (int k = 1; k <= 1500; ++k) {
            l.push_back(std::pow(k, -2.0));
            const double signal = std::sqrt(1500.0) * std::pow(k, -2.0);
            squares.push_back(std::pow(signal + sigma * normal(), 2));
        }
        const CrossValidatedRidge ridge = cross_validated_ridge(l, squares, 0.0);
        // The estimate averages about 1500 squares: a relative spread of 1/sqrt(2 * 1500) = 2 %; three of them.
        EXPECT_NEAR(ridge.noise / sigma, 1.0, 0.06) << sigma;
        EXPECT_GT(ridge.complexity, 0);
        EXPECT_LT(ridge.complexity, 150);
        const double radius = target_radius(l, squares, ridge.ridge, 0.0);
        // ||f||_H^2 = sum f_i^2/(n l_i) = sum k^-2 = pi^2/6, shrunk by the ridge.
        EXPECT_GT(radius, 0.5);
        EXPECT_LT(radius, 1.6);
    }
}

TEST(Noise, IsNotFooledByRepeatedTexts) {
    // Modes without residual near l = 0, as equal texts with equal labels make them.
    Normal normal(5);
    std::vector<double> l, squares;
    for (int k = 1; k <= 500; ++k) {
        l.push_back(std::pow(k, -1.5));
        squares.push_back(std::pow(normal(), 2));
    }
    for (int k = 0; k < 5; ++k) {
        l.push_back(1e-18);
        squares.push_back(0);
    }
    EXPECT_NEAR(cross_validated_ridge(l, squares, 1e-12).noise, 1.0, 0.15);
    testing::expect_error(ExitStatus::numerical, {"zero"}, [] { cross_validated_ridge(std::vector<double>{0.0}, std::vector<double>{1.0}, 0.0); });
    testing::expect_error(ExitStatus::numerical, {"not finite"}, [] { cross_validated_ridge(std::vector<double>{NAN}, std::vector<double>{1.0}, 0.0); });
}

}  // namespace
}  // namespace tangram
