#include "tangram/rates/noise.hpp"

#include <gtest/gtest.h>

#include <Eigen/Cholesky>
#include <cmath>
#include <string>
#include <vector>

#include "support/expect_error.hpp"
#include "tangram/rates/eigenlearning.hpp"
#include "tangram/rates/error_bound.hpp"
#include "tangram/rates/stopping.hpp"
#include "tangram/rates/stopping_rules.hpp"
#include "unit/rates/normal.hpp"
#include "unit/rates/symmetric_eigenpairs.hpp"

namespace tangram {
namespace {

using testing::Normal;

TEST(Noise, FindsTheSigmaOfASimulation) {
    // z_i = f_i + N(0, sigma^2), the coefficients of r = f + noise.
    for (const double sigma : {0.1, 0.5, 2.0}) {
        Normal normal(3);
        std::vector<double> l, squares;
        for (int k = 1; k <= 1500; ++k) {
            l.push_back(std::pow(k, -2.0));
            const double signal = std::sqrt(1500.0) * std::pow(k, -2.0);
            squares.push_back(std::pow(signal + sigma * normal(), 2));
        }
        const CrossValidatedRidge ridge = cross_validated_ridge(l, squares, 0.0);
        // The estimate averages about 1500 squares: a relative spread of 1/sqrt(2 * 1500) = 2 %; three of
        // them.
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
    // Half of all texts repeated changes nothing: the estimate is that without them.
    const std::vector<double> distinct(l.begin(), l.begin() + 500),
        their_squares(squares.begin(), squares.begin() + 500);
    l.insert(l.end(), 495, 0.0);
    squares.insert(squares.end(), 495, 1e-28);
    EXPECT_EQ(cross_validated_ridge(l, squares, 1e-12).noise,
              cross_validated_ridge(distinct, their_squares, 1e-12).noise);
}

TEST(Noise, OfKernelsThatFallUnderTheFloor) {
    // Most of the noise lies where the kernel cannot reach. Each estimate averages 800 or more squares: a
    // relative deviation of at most 1/sqrt(2 * 800) = 2.5 %, three of them; the fitted part's remains add
    // less.
    const Index n = 1000;
    for (const double sigma : {0.1, 0.5})
        for (const double rank : {7.0, 30.0, 200.0, 0.0}) {
            SCOPED_TRACE("sigma " + std::to_string(sigma) + ", rank " + std::to_string(rank));
            Normal normal(11);
            std::vector<double> l, squares;
            for (Index i = 1; i <= n; ++i) {
                const auto k = static_cast<double>(i);
                const double value = rank > 0 ? (k <= rank ? 1 / k : 0.0) : std::exp(-0.5 * k);
                l.push_back(value);
                squares.push_back(std::pow(std::sqrt(1000.0) * value + sigma * normal(), 2));
            }
            EXPECT_NEAR(cross_validated_ridge(l, squares, 2.2e-13).noise / sigma, 1.0, 0.075);
        }
}

TEST(Noise, IsGeneralisedCrossValidationWithMatrices) {
    // Rough data on the line: A = K (K + rho)^-1 multiplied out, GCV on a grid, sigma and R^2 = |A r|_H^2 by
    // matrices.
    const Index n = 60;
    Normal normal(8);
    Eigen::MatrixXd K(n, n);
    Eigen::VectorXd r(n);
    for (Index i = 0; i < n; ++i) {
        const double x = (static_cast<double>(i) + 0.5) / static_cast<double>(n);
        for (Index j = 0; j < n; ++j)
            K(i, j) = std::exp(-8 * std::abs(static_cast<double>(i - j)) / static_cast<double>(n)) /
                      static_cast<double>(n);
        r(i) = 2 * std::sin(5 * x) + 0.4 * normal();
    }
    const testing::SymmetricEigenpairs eigen = testing::symmetric_eigenpairs(K);
    std::vector<double> l, squares;
    for (Index i = n; i-- > 0;) {
        l.push_back(eigen.values(i));
        squares.push_back(std::pow(eigen.vectors.col(i).dot(r), 2));
    }
    const CrossValidatedRidge ridge = cross_validated_ridge(l, squares, 1e-15);
    const Eigen::MatrixXd I = Eigen::MatrixXd::Identity(n, n);
    const auto smoother = [&](double rho) -> Eigen::MatrixXd { return (K + rho * I).ldlt().solve(K); };
    const auto gcv = [&](double rho) {
        const Eigen::MatrixXd rest = I - smoother(rho);
        return (rest * r).squaredNorm() / static_cast<double>(n) /
               std::pow(rest.trace() / static_cast<double>(n), 2);
    };
    EXPECT_FALSE(ridge.limited);
    const double least = gcv(ridge.ridge);
    for (double rho = 1e-5; rho < 10; rho *= 1.1) {
        const bool allowed = (I - smoother(rho)).trace() >= 0.1 * static_cast<double>(n);
        EXPECT_TRUE(!allowed || least <= gcv(rho) * (1 + 1e-10)) << rho;
    }
    const Eigen::MatrixXd A = smoother(ridge.ridge), rest = I - A;
    EXPECT_NEAR(ridge.noise, std::sqrt((rest * r).squaredNorm() / rest.trace()), 1e-10);
    EXPECT_NEAR(ridge.complexity, A.trace(), 1e-8);
    EXPECT_NEAR(ridge.score, gcv(ridge.ridge), 1e-10);
    // The fitted function has the coefficients c = (G + n rho)^-1 r, and its norm squared is c^T G c, G = n
    // K.
    const auto rows = static_cast<double>(n);
    const Eigen::VectorXd c = (rows * K + rows * ridge.ridge * I).ldlt().solve(r);
    EXPECT_NEAR(target_radius(l, squares, ridge.ridge, 1e-15), std::sqrt(c.dot(rows * K * c)), 1e-8);
}

TEST(Noise, SaysWhereTheSearchEnded) {
    std::vector<double> l, noise, smooth, mixed;
    for (int k = 1; k <= 400; ++k) {
        l.push_back(std::pow(k, -2.0));
        noise.push_back(1.0);                 // the same in every direction: the score is least at infinity
        smooth.push_back(std::pow(k, -4.0));  // no noise: it falls with the ridge
        mixed.push_back(100 * std::pow(k, -4.0) + 0.01);
    }
    const CrossValidatedRidge all_noise = cross_validated_ridge(l, noise, 0.0),
                              no_noise = cross_validated_ridge(l, smooth, 0.0);
    EXPECT_TRUE(all_noise.limited);
    EXPECT_NEAR(all_noise.noise, 1.0, 0.01);
    EXPECT_TRUE(no_noise.limited);
    EXPECT_NEAR(no_noise.complexity, 360, 1);                     // nine tenths of the freedom
    EXPECT_TRUE(cross_validated_ridge(l, smooth, 1e-4).limited);  // a floor above that limit
    const CrossValidatedRidge both = cross_validated_ridge(l, mixed, 0.0);
    EXPECT_FALSE(both.limited);
    EXPECT_NEAR(both.noise, 0.1, 0.005);
}

TEST(Noise, RadiusRescalesAndKeepsToTheFloor) {
    const std::vector<double> l{1.0, 0.25, 1e-3, 1e-20, -1e-9}, squares{4.0, 1.0, 0.5, 3.0, 3.0};
    std::vector<double> scaled = l;
    for (double& value : scaled) value *= 16;
    const double radius = target_radius(l, squares, 0.1, 1e-12);
    EXPECT_NEAR(target_radius(scaled, squares, 1.6, 1.6e-11), radius / 4, 1e-14);
    double sum = 0;  // the three above the floor
    for (std::size_t i = 0; i < 3; ++i) sum += squares[i] * l[i] / std::pow(l[i] + 0.1, 2) / 5;
    EXPECT_NEAR(radius, std::sqrt(sum), 1e-14);
    EXPECT_EQ(target_radius(l, squares, 0.1, 2.0), 0.0);
    // GCV picks the same ridge in other units.
    const CrossValidatedRidge ridge = cross_validated_ridge(l, squares, 1e-12),
                              other = cross_validated_ridge(scaled, squares, 1.6e-11);
    EXPECT_NEAR(other.ridge / ridge.ridge, 16, 1e-6);
    EXPECT_NEAR(other.noise, ridge.noise, 1e-8);
}

TEST(Noise, MovesTheStoppingStep) {
    std::vector<double> l;
    for (int k = 1; k <= 300; ++k) l.push_back(std::pow(k, -2.0));
    const StoppingSensitivity moved = stopping_sensitivity(l, 0.2, 3.0, 1.0);
    EXPECT_EQ(moved.half_radius, stopping_step(l, 0.2 / 1.5, 1.0));
    EXPECT_EQ(moved.half_radius, moved.double_noise);
    EXPECT_EQ(moved.half_noise, stopping_step(l, 0.1 / 3.0, 1.0));
    EXPECT_EQ(moved.half_noise, moved.double_radius);
    EXPECT_LT(moved.half_radius, stopping_step(l, 0.2 / 3.0, 1.0));
    EXPECT_GT(moved.half_noise, stopping_step(l, 0.2 / 3.0, 1.0));
}

TEST(Noise, LegalCornersAndRefusals) {
    const std::vector<double> one{1.0}, none{0.0};
    EXPECT_GE(cross_validated_ridge(one, one, 0.0).noise, 0.0);  // n = 1
    EXPECT_EQ(cross_validated_ridge(one, none, 0.0).noise, 0.0);
    EXPECT_EQ(cross_validated_ridge(one, none, 2.0).noise, 0.0);
    EXPECT_EQ(cross_validated_ridge(one, one, 2.0).noise,
              1.0);  // everything under the floor: all of the residual
    const std::vector<double> negative{1.0, -0.5}, zero{1.0, 0.0}, squares{0.0, 4.0};
    EXPECT_EQ(cross_validated_ridge(negative, squares, 0.6).noise,
              cross_validated_ridge(zero, squares, 0.6).noise);
    testing::expect_error(ExitStatus::numerical, ErrorKind::degenerate, {},
                          [&] { cross_validated_ridge(none, one, 0.0); });
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {},
                          [&] { cross_validated_ridge(std::vector<double>{NAN}, one, 0.0); });
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {},
                          [&] { cross_validated_ridge(one, std::vector<double>{INFINITY}, 0.0); });
    testing::expect_error(ExitStatus::numerical, ErrorKind::contradiction, {},
                          [&] { cross_validated_ridge(one, std::vector<double>{}, 0.0); });
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {},
                          [&] { target_radius(one, std::vector<double>{NAN}, 0.1, 0.0); });
}

// Every row twice, with its label: G/n keeps its eigenvalues and gains as many zeros, the squares double. The
// estimated variance doubles with them, as it is of the directions that are left; what it is held against
// must not.
TEST(Noise, OfRowsThatStandTwiceIsHeldAgainstTheirShare) {
    Normal normal(5);
    std::vector<double> l, squares;
    for (int k = 1; k <= 400; ++k) {
        l.push_back(std::pow(k, -1.5));
        squares.push_back(std::pow(20 * std::pow(k, -1.0) + normal(), 2));
    }
    std::vector<double> l_twice = l, squares_twice = squares;
    for (double& square : squares_twice) square *= 2;
    l_twice.resize(800, 0.0);
    squares_twice.resize(800, 0.0);
    const double floor = 1e-9;
    const CrossValidatedRidge once = cross_validated_ridge(l, squares, floor),
                              twice = cross_validated_ridge(l_twice, squares_twice, floor);
    EXPECT_NEAR(twice.noise * twice.noise, 2 * once.noise * once.noise, 1e-9);
    EXPECT_EQ(empty_directions(l_twice, squares_twice, floor), 400);
    const StepSizes steps({1.0});
    const StoppingPath path = stopping_path(l, squares, {once.noise, 1, 100, floor}, steps),
                       path_twice =
                           stopping_path(l_twice, squares_twice, {twice.noise, 1, 100, floor}, steps);
    ASSERT_EQ(path.step, path_twice.step);
    EXPECT_GT(path.bias2.front(), 0.1);
    for (std::size_t k = 0; k < path.step.size(); ++k)
        EXPECT_NEAR(path_twice.bias2[k], path.bias2[k], 1e-9) << path.step[k];
    // A sigma that is given is of every row: mean r^2 less all of its square.
    PathInputs given{once.noise, 1, 100, floor};
    given.noise_of_all_rows = true;
    EXPECT_NEAR(stopping_path(l_twice, squares_twice, given, steps).bias2.front(),
                path.train_mse.front() - once.noise * once.noise, 1e-9);
    const double share = 0.5;
    EXPECT_GT(discrepancy_step(l, squares, once.noise, steps), 0);
    EXPECT_EQ(discrepancy_step(l_twice, squares_twice, twice.noise * std::sqrt(1 - share), steps),
              discrepancy_step(l, squares, once.noise, steps));
    BoundPremises premises{0.1, 1.2, 1, 100};
    premises.radius_given = true;
    premises.residual_mean_square = 1;
    EXPECT_TRUE(error_bound(premises).vacuous);
    premises.empty_share = share;
    EXPECT_FALSE(error_bound(premises).vacuous);
}

}  // namespace
}  // namespace tangram
