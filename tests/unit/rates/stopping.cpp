#include "tangram/rates/stopping.hpp"

#include <gtest/gtest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "support/expect_error.hpp"
#include "unit/rates/normal.hpp"
#include "unit/rates/symmetric_eigenpairs.hpp"

namespace tangram {
namespace {

using std::numbers::e;

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
        if (naive_complexity(l, std::sqrt(1 / eta)) > 1 / (2 * e * sigma * eta))
            return static_cast<double>(t - 1);
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
            const double stop = stopping_step(spectrum.l, sigma, alpha),
                         radius = critical_radius(spectrum.l, sigma);
            EXPECT_EQ(stop, naive_stop(spectrum.l, sigma, alpha));
            const double expected = naive_radius(spectrum.l, sigma);
            EXPECT_TRUE(std::abs(radius - expected) <= 1e-9 * expected) << radius << " " << expected;
            EXPECT_TRUE(std::abs(rademacher_complexity(spectrum.l, radius) -
                                 naive_complexity(spectrum.l, radius)) <= 1e-12 * radius);
            // eta_T eps_n^2 = 1 up to one step [docs/mathematics.md, derived].
            EXPECT_TRUE(std::abs(stop - 1 / (alpha * radius * radius)) <= 1.0 + 1e-9 * stop) << stop;
            // A schedule of equal steps is the constant step.
            if (stop < 1e5) {
                const std::vector<double> schedule(static_cast<std::size_t>(stop) + 2, alpha);
                EXPECT_NEAR(stopping_step(spectrum.l, sigma, StepSizes(schedule)), stop,
                            1.0);  // eta as a sum rounds
            }
        }
}

/// The same with the precision of long double and the condition multiplied out: eta R(eta^(-1/2)) > 1/(2 e
/// sigma).
bool naive_condition(const std::vector<double>& l, double sigma, double alpha, long double t) {
    const long double eta = static_cast<long double>(alpha) * t;
    long double sum = 0;
    for (const double value : l) sum += std::min(static_cast<long double>(std::max(value, 0.0)), 1 / eta);
    return eta * std::sqrt(sum / static_cast<long double>(l.size())) >
           1 / (2 * std::numbers::e_v<long double> * sigma);
}

TEST(Stopping, OfVeryLongPaths) {
    // T from 10^7 to 10^18: the definition holds at T + 1 and fails at T. The rounding of sums of 300 terms,
    // 1e-14 of T, is less than a step below 10^13; above, T is asked for to 1e-12 of itself.
    for (const Spectrum& spectrum : spectra())
        for (const double relative : {1e-4, 1e-7, 1e-9}) {
            SCOPED_TRACE(std::string(spectrum.name) + ", sigma " + std::to_string(relative * 1e9) + "e-9");
            const double sigma = relative * std::sqrt(spectrum.l.front()), alpha = 0.5 / spectrum.l.front();
            const double stop = stopping_step(spectrum.l, sigma, alpha);
            ASSERT_TRUE(stop >= 1e4 && stop <= 1e20) << stop;
            const long double slack = stop < 1e13 ? 0 : 1e-12L * stop;
            EXPECT_TRUE(naive_condition(spectrum.l, sigma, alpha, stop + 1 + slack)) << stop;
            EXPECT_FALSE(naive_condition(spectrum.l, sigma, alpha, stop - slack)) << stop;
            const double radius = critical_radius(spectrum.l, sigma);
            EXPECT_TRUE(std::abs(stop * alpha * radius * radius - 1) <= 1e-12 + 1 / stop) << stop;
            EXPECT_EQ(stop, std::floor(stop));
        }
}

TEST(Stopping, OfGivenStepSizes) {
    // alpha_t = 1/sqrt(t + 1), literally: the first t >= 1 with R(eta_t^(-1/2)) > 1/(2 e sigma eta_t), less
    // one.
    std::vector<double> sizes;
    for (int t = 0; t < 20000; ++t) sizes.push_back(1 / std::sqrt(t + 1.0));
    for (const Spectrum& spectrum : spectra()) {
        if (spectrum.l.front() > 1) continue;
        for (const double sigma : {0.1, 0.5, 10.0}) {
            double eta = 0, expected = std::numeric_limits<double>::infinity();
            for (std::size_t t = 1; t <= sizes.size() && std::isinf(expected); ++t) {
                eta += sizes[t - 1];
                if (naive_complexity(spectrum.l, std::sqrt(1 / eta)) > 1 / (2 * e * sigma * eta))
                    expected = static_cast<double>(t) - 1;
            }
            EXPECT_TRUE(std::isfinite(expected)) << spectrum.name << sigma;
            EXPECT_EQ(stopping_step(spectrum.l, sigma, StepSizes(sizes)), expected) << spectrum.name << sigma;
        }
    }
    // A list that ends before the stopping step goes on with its last size.
    EXPECT_EQ(stopping_step(std::vector<double>{1.0}, 1e-3, StepSizes({0.5, 0.5, 0.5})),
              stopping_step(std::vector<double>{1.0}, 1e-3, 0.5));
}

TEST(Stopping, OfAPopulationAreTheoryTables) {
    // A population of 10^6 modes, n examples: (1/n) sum over the modes (docs/mathematics.md, Rates in n).
    const double sigma = 0.01;
    for (const double a : {1.5, 2.0, 3.0}) {
        const std::vector<double> population = polynomial(1000000, a);
        std::vector<double> x, y, z;
        for (const Index n : {1000, 3000, 10000, 30000, 100000}) {
            const auto rows = static_cast<double>(n);
            const double radius = critical_radius(population, sigma, n);
            // The sum replaced by its integral errs by about one mode of eps^(-2/a) modes and, at a = 1.5, by
            // the tail past 10^6, 1 % of the sum.
            const double table = std::pow(4 * e * e * sigma * sigma * (a / (a - 1)) / rows, a / (a + 1));
            EXPECT_TRUE(std::abs(radius * radius / table - 1) <= 0.02 + 2 * std::pow(radius, 2 / a))
                << a << " " << n << " " << radius * radius / table;
            const double stop = stopping_step(population, sigma, 1.0, n);
            EXPECT_GE(stop, 100) << "a = " << a << ", n = " << n;
            EXPECT_TRUE(std::abs(stop - 1 / (radius * radius)) <= 1) << stop;
            x.push_back(std::log(rows));
            y.push_back(2 * std::log(radius));
            z.push_back(std::log(stop));
        }
        const auto slope = [&](const std::vector<double>& v) {
            double mx = 0, mv = 0, xx = 0, xv = 0;
            for (std::size_t i = 0; i < x.size(); ++i) mx += x[i] / 5, mv += v[i] / 5;
            for (std::size_t i = 0; i < x.size(); ++i)
                xx += (x[i] - mx) * (x[i] - mx), xv += (x[i] - mx) * (v[i] - mv);
            return xv / xx;
        };
        std::cout << "decay " << a << ": slope of eps_n^2 " << slope(y) << " (theory " << -a / (a + 1)
                  << ")\n";
        EXPECT_NEAR(slope(y), -a / (a + 1), 0.02) << a;
        EXPECT_NEAR(slope(z), a / (a + 1), 0.02) << a;
    }
}

TEST(Stopping, OfFiniteRankIsInClosedForm) {
    // m equal eigenvalues above eps^2: eps^2 = 4 e^2 sigma^2 m/n exactly, and T = floor(1/(alpha eps^2))
    // where that is not whole. Zeros may be left out where n is given.
    for (const Index m : {1, 7, 40}) {
        const Index n = 400;
        const double sigma = 0.05,
                     expected = 4 * e * e * sigma * sigma * static_cast<double>(m) / static_cast<double>(n);
        std::vector<double> l(static_cast<std::size_t>(n), 0.0);
        std::fill_n(l.begin(), m, 1.0);
        EXPECT_NEAR(critical_radius(l, sigma), std::sqrt(expected), 1e-14);
        EXPECT_EQ(stopping_step(l, sigma, 0x1p-7), std::floor(128 / expected));
        const std::vector<double> known(static_cast<std::size_t>(m), 1.0);
        EXPECT_EQ(critical_radius(known, sigma, n), critical_radius(l, sigma));
        EXPECT_EQ(stopping_step(known, sigma, 0x1p-7, n), stopping_step(l, sigma, 0x1p-7));
        EXPECT_EQ(stopping_step(known, sigma, StepSizes(std::vector<double>(1000000, 0x1p-7)), n),
                  std::floor(128 / expected));
        EXPECT_EQ(rademacher_complexity(known, 0.3, n), rademacher_complexity(l, 0.3));
    }
}

TEST(Stopping, RescalingTheKernelOrTheLabelsChangesNothing) {
    // By powers of four and two, so that every product rounds alike and equality is exact.
    const std::vector<double> l = polynomial(200, 1.7);
    std::vector<double> squares;
    for (const double value : l) squares.push_back(3 * value + 0.04);
    const double noise = 0.2, radius = 1.5, alpha = 1.0, stop = stopping_step(l, noise / radius, alpha);
    const StoppingPath path = stopping_path(l, squares, {noise, radius, stop, 1e-13}, alpha);
    for (const double s : {0x1p-20, 4.0, 0x1p30}) {
        std::vector<double> scaled = l;
        for (double& value : scaled) value *= s;
        const double smaller = radius / std::sqrt(s);
        EXPECT_EQ(stopping_step(scaled, noise / smaller, alpha / s), stop);
        EXPECT_EQ(critical_radius(scaled, noise / smaller),
                  critical_radius(l, noise / radius) * std::sqrt(s));
        const StoppingPath other =
            stopping_path(scaled, squares, {noise, smaller, stop, 1e-13 * s}, alpha / s);
        ASSERT_EQ(other.step, path.step);
        EXPECT_EQ(other.train_mse, path.train_mse);
        EXPECT_EQ(other.variance, path.variance);
        EXPECT_EQ(other.bias2, path.bias2);
        for (std::size_t k = 0; k < path.step.size() && path.step[k] <= stop; ++k) {
            EXPECT_EQ(other.eta[k], path.eta[k] / s);
            EXPECT_EQ(other.bound[k], path.bound[k]);
        }
    }
    // Labels times two: sigma and R both double, errors are four times as large, the step stays.
    EXPECT_EQ(stopping_step(l, 2 * noise / (2 * radius), alpha), stop);
    for (double& value : squares) value *= 4;
    const StoppingPath doubled = stopping_path(l, squares, {2 * noise, 2 * radius, stop, 1e-13}, alpha);
    for (std::size_t k = 0; k < path.step.size(); ++k)
        EXPECT_DOUBLE_EQ(doubled.train_mse[k], 4 * path.train_mse[k]);
    for (std::size_t k = 0; path.step[k] <= stop; ++k) EXPECT_DOUBLE_EQ(doubled.bound[k], 4 * path.bound[k]);
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
    EXPECT_EQ(stopping_step(l, 0.3, 1.0),
              stopping_step(std::vector<double>{0.0, 1.0, 0.5}, 0.3, 1.0));  // any order
    const std::vector<double> one{1.0};                                      // n = 1: R(eps) = min(1, eps)
    EXPECT_NEAR(critical_radius(one, 0.1), 0.2 * e, 1e-15);
    EXPECT_NEAR(critical_radius(one, 0.5), std::sqrt(e), 1e-15);
    EXPECT_EQ(stopping_step(one, 0.1, 1.0), naive_stop(one, 0.1, 1.0));
    EXPECT_EQ(critical_radius({}, 1.0), 0.0);
    EXPECT_EQ(stopping_step({}, 1.0, 1.0), infinity);
    EXPECT_EQ(rademacher_complexity({}, 1.0), 0.0);
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {},
                          [] { critical_radius(std::vector<double>{NAN}, 1.0); });
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {},
                          [&] { stopping_step(std::vector<double>{infinity}, 1.0, 1.0); });
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {},
                          [&] { rademacher_complexity(l, NAN); });
    for (const double sigma : {double{NAN}, infinity, -1.0}) {
        testing::expect_error(ExitStatus::numerical, ErrorKind::out_of_range, {},
                              [&] { critical_radius(l, sigma); });
        testing::expect_error(ExitStatus::numerical, ErrorKind::out_of_range, {},
                              [&] { stopping_step(l, sigma, 1.0); });
        testing::expect_error(ExitStatus::numerical, ErrorKind::out_of_range, {}, [&] {
            stopping_step(l, sigma, StepSizes({1.0, 0.5}));
        });
    }
    for (const double alpha : {double{NAN}, infinity, -1.0, 0.0})
        testing::expect_error(ExitStatus::study, ErrorKind::out_of_range, {},
                              [&] { stopping_step(l, 1.0, alpha); });
    testing::expect_error(ExitStatus::study, ErrorKind::out_of_range, {}, [&] {
        stopping_step(l, 1e-9, StepSizes({1.0, NAN}));
    });
    testing::expect_error(ExitStatus::study, ErrorKind::out_of_range, {}, [&] {
        stopping_step(l, 1e-9, StepSizes({1.0, 2.0}));
    });
}

TEST(Stopping, FilterIsStableAtBothEnds) {
    EXPECT_EQ(StepSizes(1.0).filter(0.0, 10), 0.0);
    EXPECT_EQ(StepSizes(1.0).filter(1.0, 1), 1.0);
    EXPECT_EQ(StepSizes(1.0).filter(-1.0, 5), 0.0);
    EXPECT_NEAR(StepSizes(1.0).filter(1e-15, 10) / 1e-14, 1.0, 1e-12);  // 1 - (1 - x)^t would lose it
    EXPECT_NEAR(StepSizes(1.0).filter(0.3, 7), 1 - std::pow(0.7, 7), 1e-15);
    EXPECT_NEAR(StepSizes(1.0).filter(1.5, 3), 1 - std::pow(-0.5, 3), 1e-15);
}

TEST(StoppingPath, IsGradientDescentOfAKernel) {
    // The outputs of 12 examples under a kernel matrix, every step multiplied out; variance by the matrix
    // that takes labels to outputs, H_{t+1} = H_t + alpha K (I - H_t), of which sigma^2 |H|_F^2/n is the
    // noise's share.
    const Index n = 12;
    testing::Normal normal(21);
    Eigen::MatrixXd J(n, 9);  // rank 9: three directions are never learned
    Eigen::VectorXd y(n), start(n);
    for (Index i = 0; i < n; ++i) {
        for (Index p = 0; p < 9; ++p) J(i, p) = normal() / static_cast<double>(p + 1);
        y(i) = normal();
        start(i) = 0.5 * normal();
    }
    const Eigen::MatrixXd K = J * J.transpose() / static_cast<double>(n);
    const testing::SymmetricEigenpairs eigen = testing::symmetric_eigenpairs(K);
    std::vector<double> l, squares;
    for (Index i = n; i-- > 0;) {
        l.push_back(eigen.values(i));
        squares.push_back(std::pow(eigen.vectors.col(i).dot(y - start), 2));
    }
    // 1.6/l_1: the leading direction overshoots and swings, as 1 < alpha l < 2 allows.
    for (const double factor : {1.0, 1.6}) {
        const double noise = 0.3, alpha = factor / l.front();
        const StoppingPath path = stopping_path(l, squares, {noise, 2.0, 5, 1e-12}, alpha);
        Eigen::VectorXd f = start;
        Eigen::MatrixXd H = Eigen::MatrixXd::Zero(n, n);
        const Eigen::MatrixXd I = Eigen::MatrixXd::Identity(n, n);
        double t = 0;
        for (std::size_t k = 0; k < path.step.size(); ++k) {
            for (; t < path.step[k]; ++t) {
                f += alpha * K * (y - f);
                H += alpha * K * (I - H);
            }
            const auto rows = static_cast<double>(n);
            EXPECT_NEAR(path.train_mse[k], (y - f).squaredNorm() / rows, 1e-12) << t;
            EXPECT_NEAR(path.variance[k], noise * noise * H.squaredNorm() / rows, 1e-12) << t;
            const double bias = ((y - f).squaredNorm() - noise * noise * (I - H).squaredNorm()) / rows;
            EXPECT_NEAR(path.bias2[k], std::max(0.0, bias), 1e-12) << t;
            EXPECT_EQ(path.eta[k], alpha * path.step[k]);
        }
        EXPECT_GE(t, 900);
        EXPECT_EQ(path.step.front(), 0.0);
        EXPECT_TRUE(std::is_sorted(path.step.begin(), path.step.end()));
        // The bound, to T = 5 with R = 2.
        const auto at = std::find(path.step.begin(), path.step.end(), 5.0);
        ASSERT_NE(at, path.step.end());
        const auto k = static_cast<std::size_t>(at - path.step.begin());
        EXPECT_NEAR(path.bound[k], 4 * 4.0 / (e * alpha * 5), 1e-12);
        EXPECT_TRUE(std::isnan(path.bound[k + 1]));
    }
}

TEST(StoppingPath, EndsSensibly) {
    const double infinity = std::numeric_limits<double>::infinity();
    const std::vector<double> l{1.0, 1e-3, 1e-5, 1e-14}, squares{1.0, 1.0, 1.0, 1.0};
    const auto last = [&](double stop, double floor) {
        return stopping_path(l, squares, {0.1, 1.0, stop, floor}, 1.0).step.back();
    };
    // To ten times T, in steps of 10^(1/12), and at least 1000; where T is infinite to ten times 1/(alpha l)
    // of the smallest l above the floor; at most 10^12.
    EXPECT_TRUE(last(1e6, 1e-12) > 1e7 / 1.3 && last(1e6, 1e-12) <= 1e7);
    EXPECT_EQ(last(0, 1e-12), 1000);
    EXPECT_TRUE(last(infinity, 1e-12) > 1e6 / 1.3 && last(infinity, 1e-12) <= 1e6);
    EXPECT_TRUE(last(infinity, 1e-16) > 1e12 / 1.3 && last(infinity, 1e-16) <= 1e12);
    EXPECT_EQ(last(3e17, 1e-12), 3e17);  // T itself is always on the path
    EXPECT_TRUE(last(infinity, 2.0) <= 1000);
    const StoppingPath at_once = stopping_path(l, squares, {0.1, 0.0, 0, 1e-12}, 1.0);
    EXPECT_EQ(at_once.step[0], 0.0);
    EXPECT_EQ(at_once.eta[0], 0.0);
    EXPECT_EQ(at_once.bound[0], infinity);
    EXPECT_TRUE(std::isnan(at_once.bound[1]));
    EXPECT_EQ(at_once.train_mse[0], 1.0);
    EXPECT_EQ(at_once.variance[0], 0.0);
    EXPECT_NEAR(at_once.rademacher[0], std::sqrt((1.0 + 1e-3 + 1e-5) / 4), 1e-12);
    EXPECT_TRUE(std::adjacent_find(at_once.step.begin(), at_once.step.end(), std::greater_equal<>()) ==
                at_once.step.end());
    // Zero kernel: nothing moves. One row. Eigenvalues alone: no errors of the residual, the rest is there.
    const StoppingPath still = stopping_path(std::vector<double>{0.0, -1.0}, std::vector<double>{1.0, 3.0},
                                             {0.0, 1.0, infinity, 0.0}, 1.0);
    EXPECT_EQ(still.train_mse.front(), 2.0);
    EXPECT_EQ(still.train_mse.back(), 2.0);
    EXPECT_EQ(
        stopping_path(std::vector<double>{1.0}, std::vector<double>{4.0}, {0.0, 1.0, infinity, 0.0}, 1.0)
            .train_mse.back(),
        0.0);
    const StoppingPath alone = stopping_path(l, {}, {0.1, 1.0, 40, 1e-12, 8}, 1.0);
    const StoppingPath padded = stopping_path(std::vector<double>{1.0, 1e-3, 1e-5, 1e-14, 0, 0, 0, 0},
                                              std::vector<double>(8, 1.0), {0.1, 1.0, 40, 1e-12}, 1.0);
    EXPECT_TRUE(alone.bias2.empty() && alone.train_mse.empty());
    EXPECT_EQ(alone.step, padded.step);
    EXPECT_EQ(alone.rademacher, padded.rademacher);
    EXPECT_EQ(alone.variance, padded.variance);
    for (std::size_t k = 0; k < alone.step.size(); ++k)
        EXPECT_TRUE(std::isfinite(alone.variance[k]) && std::isfinite(alone.rademacher[k]));
}

TEST(StoppingPath, CrossValidationLeavesOutWhatStandsAtTheFloorAndIsEmpty) {
    const std::vector<double> l{1.0, 0.1, 1e-13}, squares{4.0, 1.0, 0.0};
    const StoppingPath path = stopping_path(l, squares, {0.1, 1.0, 3, 1e-9}, 0.5);
    const auto at = std::find(path.step.begin(), path.step.end(), 3.0);
    ASSERT_NE(at, path.step.end());
    const double rest0 = std::pow(0.5, 3), rest1 = std::pow(0.95, 3);  // of two directions, not of three
    EXPECT_NEAR(path.gcv[static_cast<std::size_t>(at - path.step.begin())],
                (4 * rest0 * rest0 + rest1 * rest1) / 2 / std::pow((rest0 + rest1) / 2, 2), 1e-12);
}

TEST(StoppingPath, RefusesWhatCannotBe) {
    const std::vector<double> l{1.0, 0.5}, squares{1.0, 1.0};
    testing::expect_error(ExitStatus::study, ErrorKind::out_of_range, {"2.1", "l_1 = 1.0"}, [&] {
        stopping_path(l, squares, {0.1, 1.0, 5, 0}, 2.1);
    });
    EXPECT_NO_THROW(stopping_path(l, squares, {0.1, 1.0, 5, 0}, 2.0));
    testing::expect_error(ExitStatus::numerical, ErrorKind::contradiction, {}, [&] {
        stopping_path(l, std::vector<double>{1.0}, {0.1, 1.0, 5, 0}, 1.0);
    });
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {}, [&] {
        stopping_path(l, std::vector<double>{1.0, NAN}, {0.1, 1.0, 5, 0}, 1.0);
    });
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {}, [&] {
        stopping_path(std::vector<double>{1.0, NAN}, squares, {0.1, 1.0, 5, 0}, 1.0);
    });
    testing::expect_error(ExitStatus::numerical, ErrorKind::out_of_range, {}, [&] {
        stopping_path(l, squares, {NAN, 1.0, 5, 0}, 1.0);
    });
    testing::expect_error(ExitStatus::numerical, ErrorKind::out_of_range, {}, [&] {
        stopping_path(l, squares, {0.1, INFINITY, 5, 0}, 1.0);
    });
    testing::expect_error(ExitStatus::numerical, ErrorKind::out_of_range, {}, [&] {
        stopping_path(l, squares, {0.1, 1.0, NAN, 0}, 1.0);
    });
    testing::expect_error(ExitStatus::study, ErrorKind::out_of_range, {}, [&] {
        stopping_path(l, squares, {0.1, 1.0, 5, 0}, 0.0);
    });
}

}  // namespace
}  // namespace tangram
