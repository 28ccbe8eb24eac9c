#include "tangram/rates/stopping.hpp"

#include <gtest/gtest.h>

#include <Eigen/Eigenvalues>
#include <cmath>
#include <limits>
#include <numbers>

#include "support/expect_error.hpp"

namespace tangram {
namespace {

constexpr double e = std::numbers::e;

/// The definition, summed naively.
double naive_complexity(const std::vector<double>& l, double eps) {
    long double sum = 0;
    for (const double value : l) sum += std::min(std::max(value, 0.0), eps * eps);
    return static_cast<double>(std::sqrt(sum / static_cast<long double>(l.size())));
}
/// T by walking through the steps.
double naive_stop(const std::vector<double>& l, double sigma, double alpha) {
    for (Index t = 1;; ++t) {
        const double eta = alpha * static_cast<double>(t);
        if (naive_complexity(l, std::sqrt(1 / eta)) > 1 / (2 * e * sigma * eta)) return static_cast<double>(t - 1);
    }
}
/// eps_n by bisection on the definition.
double naive_radius(const std::vector<double>& l, double sigma) {
    double low = 1e-12, high = 1e6;
    for (int k = 0; k < 200; ++k) {
        const double middle = std::sqrt(low * high);
        (naive_complexity(l, middle) <= middle * middle / (2 * e * sigma) ? high : low) = middle;
    }
    return high;
}

std::vector<double> polynomial(Index n, double a) {
    std::vector<double> l;
    for (Index k = 1; k <= n; ++k) l.push_back(std::pow(static_cast<double>(k), -a));
    return l;
}

struct Spectrum {
    const char* name;
    std::vector<double> l;
};
std::vector<Spectrum> spectra() {
    std::vector<Spectrum> all{{"a = 1.5", polynomial(300, 1.5)}, {"a = 3", polynomial(200, 3)}};
    std::vector<double> exponential, rank(150, 0.0), scaled = polynomial(100, 2);
    for (int k = 0; k < 120; ++k) exponential.push_back(std::exp(-0.3 * k));
    for (std::size_t k = 0; k < 7; ++k) rank[k] = 1.0 / static_cast<double>(k + 1);
    for (double& value : scaled) value *= 1e9;
    all.push_back({"exponential", exponential});
    all.push_back({"rank 7", rank});
    all.push_back({"a = 2 at scale 1e9", scaled});
    return all;
}

TEST(Stopping, AgreesWithTheDefinitionsWalkedThrough) {
    for (const Spectrum& spectrum : spectra())
        for (const double relative : {0.02, 0.1, 1.0, 10.0}) {
            SCOPED_TRACE(std::string(spectrum.name) + ", sigma " + std::to_string(relative));
            const double sigma = relative * std::sqrt(spectrum.l.front()), alpha = 1 / spectrum.l.front();
            const double stop = stopping_step(spectrum.l, sigma, alpha), radius = critical_radius(spectrum.l, sigma);
            EXPECT_EQ(stop, naive_stop(spectrum.l, sigma, alpha));
            const double expected = naive_radius(spectrum.l, sigma);
            EXPECT_TRUE(std::abs(radius - expected) <= 1e-9 * expected) << radius << " " << expected;
            EXPECT_TRUE(std::abs(rademacher_complexity(spectrum.l, radius) - naive_complexity(spectrum.l, radius)) <= 1e-12 * radius);
            // eta_T eps_n^2 = 1 up to one step [theory.md, derived].
            EXPECT_TRUE(std::abs(stop - 1 / (alpha * radius * radius)) <= 1.0 + 1e-9 * stop) << stop;
            // A schedule of equal steps is the constant step.
            if (stop < 1e5) {
                const std::vector<double> schedule(static_cast<std::size_t>(stop) + 2, alpha);
                EXPECT_NEAR(stopping_step(spectrum.l, sigma, schedule), stop, 1.0);  // eta as a sum rounds
            }
        }
}

TEST(Stopping, SlopesInNAreTheoryTables) {
    // A population spectrum of 10^6 modes, each n using its own noise level through 1/n (theory.md, Checks): the sum runs
    // over the population and is divided by n, so l is scaled by the modes per example.
    for (const double a : {1.5, 2.0, 3.0}) {
        const Index modes = 1000000;
        const std::vector<double> population = polynomial(modes, a);
        std::vector<double> x, y, z;
        for (const double n : {1e3, 3e3, 1e4, 3e4, 1e5}) {
            // (1/n) sum over the modes = (1/modes) sum of minima of l and eps^2 times modes/n: sigma^2 carries the factor.
            const double sigma = 0.01 * std::sqrt(static_cast<double>(modes) / n);
            x.push_back(std::log(n));
            y.push_back(2 * std::log(critical_radius(population, sigma)));
            const double stop = stopping_step(population, sigma, 1.0);
            EXPECT_GE(stop, 100) << "a = " << a << ", n = " << n;
            z.push_back(std::log(stop));
        }
        const auto slope = [&](const std::vector<double>& v) {
            double mx = 0, mv = 0, xx = 0, xv = 0;
            for (std::size_t i = 0; i < x.size(); ++i) mx += x[i] / 5, mv += v[i] / 5;
            for (std::size_t i = 0; i < x.size(); ++i) xx += (x[i] - mx) * (x[i] - mx), xv += (x[i] - mx) * (v[i] - mv);
            return xv / xx;
        };
        EXPECT_NEAR(slope(y), -a / (a + 1), 0.02) << a;
        EXPECT_NEAR(slope(z), a / (a + 1), 0.02) << a;
    }
}

TEST(Stopping, OfTheFirstOrderSobolevKernel) {
    // k(x, x') = min(x, x') on the grid i/n: eigenvalues of G/n near (2/((2j-1) pi))^2.
    const Index n = 600;
    Eigen::MatrixXd G(n, n);
    for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < n; ++j) G(i, j) = static_cast<double>(std::min(i, j) + 1) / static_cast<double>(n);
    const Eigen::VectorXd w = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(G, Eigen::EigenvaluesOnly).eigenvalues().reverse();
    std::vector<double> l;
    for (Index i = 0; i < n; ++i) l.push_back(w(i) / static_cast<double>(n));
    for (int j = 1; j <= 15; ++j) EXPECT_NEAR(l[static_cast<std::size_t>(j - 1)] / std::pow(2 / ((2 * j - 1) * std::numbers::pi), 2), 1, 0.01);
    const double alpha = 1 / l.front(), stop = stopping_step(l, 0.1, alpha), radius = critical_radius(l, 0.1);
    EXPECT_TRUE(std::abs(stop - 1 / (alpha * radius * radius)) <= 1) << stop;
}

TEST(Stopping, LegalCorners) {
    const double infinity = std::numeric_limits<double>::infinity();
    const std::vector<double> l{1.0, 0.5, -0.1}, zero{0.0, 0.0};
    EXPECT_EQ(stopping_step(l, 0.0, 1.0), infinity);
    EXPECT_EQ(critical_radius(l, 0.0), 0.0);
    EXPECT_EQ(stopping_step(zero, 1.0, 1.0), infinity);
    EXPECT_EQ(critical_radius(zero, 1.0), 0.0);
    EXPECT_EQ(stopping_step(l, 100.0, 1.0), 0.0);  // T = 0 is legal
    // Negative eigenvalues count as zero.
    EXPECT_EQ(critical_radius(l, 0.3), critical_radius(std::vector<double>{1.0, 0.5, 0.0}, 0.3));
    // Rescaling the kernel by s: eta -> eta/s, eps -> eps sqrt(s) at sigma sqrt(s)... in the units of sigma/R.
    std::vector<double> scaled = l;
    for (double& value : scaled) value *= 1e6;
    EXPECT_NEAR(critical_radius(scaled, 0.3e3) / critical_radius(l, 0.3), 1e3, 1e-9);
    testing::expect_error(ExitStatus::numerical, {"not finite"}, [] { critical_radius(std::vector<double>{NAN}, 1.0); });
    testing::expect_error(ExitStatus::numerical, {"step size"}, [&] { stopping_step(l, 1.0, -1.0); });
    testing::expect_error(ExitStatus::numerical, {"grow"}, [&] { stopping_step(l, 1e-9, std::vector<double>{1.0, 2.0}); });
}

TEST(Stopping, FilterIsStableAtBothEnds) {
    EXPECT_EQ(gradient_descent_filter(0.0, 1.0, 10), 0.0);
    EXPECT_EQ(gradient_descent_filter(1.0, 1.0, 1), 1.0);
    EXPECT_EQ(gradient_descent_filter(-1.0, 1.0, 5), 0.0);
    EXPECT_NEAR(gradient_descent_filter(1e-15, 1.0, 10) / 1e-14, 1.0, 1e-12);  // 1 - (1 - x)^t would lose it
    EXPECT_NEAR(gradient_descent_filter(0.3, 1.0, 7), 1 - std::pow(0.7, 7), 1e-15);
    EXPECT_NEAR(gradient_descent_filter(1.5, 1.0, 3), 1 - std::pow(-0.5, 3), 1e-15);
}

TEST(StoppingPath, IsGradientDescentStepByStep) {
    // f_{t+1} = f_t + alpha K (y - f_t) in the eigenbasis, iterated.
    const std::vector<double> l{0.9, 0.4, 0.1, 0.01, 0.0}, z{2.0, -1.0, 0.5, 0.3, 0.2};
    std::vector<double> squares;
    for (const double value : z) squares.push_back(value * value);
    const double noise = 0.2, alpha = 1.0;
    const StoppingPath path = stopping_path(l, squares, noise, 2.0, alpha, 37, 1e-6);
    std::vector<double> f(5, 0.0), weight(5, 0.0);
    Index t = 0;
    std::size_t compared = 0;
    for (std::size_t k = 0; k < path.step.size() && path.step[k] <= 1000; ++k) {
        for (; static_cast<double>(t) < path.step[k]; ++t)
            for (std::size_t i = 0; i < 5; ++i) {
                f[i] += alpha * l[i] * (z[i] - f[i]);
                weight[i] += alpha * l[i] * (1 - weight[i]);  // the same descent on ones: q
            }
        double error = 0, variance = 0, bias = 0;
        for (std::size_t i = 0; i < 5; ++i) {
            error += std::pow(z[i] - f[i], 2) / 5;
            variance += noise * noise * weight[i] * weight[i] / 5;
            bias += std::pow(1 - weight[i], 2) * (squares[i] - noise * noise) / 5;
        }
        EXPECT_NEAR(path.train_mse[k], error, 1e-12);
        EXPECT_NEAR(path.variance[k], variance, 1e-12);
        EXPECT_NEAR(path.bias2[k], std::max(0.0, bias), 1e-12);
        EXPECT_EQ(path.eta[k], alpha * path.step[k]);
        ++compared;
    }
    EXPECT_GT(compared, 20U);
    EXPECT_EQ(path.step.front(), 0.0);
    const auto at = std::find(path.step.begin(), path.step.end(), 37.0);
    ASSERT_NE(at, path.step.end());
    const auto k = static_cast<std::size_t>(at - path.step.begin());
    EXPECT_NEAR(path.bound[k], 4 * 4.0 / (e * 37), 1e-12);
    EXPECT_TRUE(std::isnan(path.bound[k + 1]));
    EXPECT_TRUE(std::is_sorted(path.step.begin(), path.step.end()));
}

}  // namespace
}  // namespace tangram
