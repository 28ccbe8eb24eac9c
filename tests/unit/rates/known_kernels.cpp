#include <gtest/gtest.h>
#include <cstdio>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <numbers>

#include "tangram/rates/stopping.hpp"
#include "tangram/rates/stopping_rules.hpp"
#include "unit/rates/normal.hpp"
#include "unit/rates/symmetric_eigenpairs.hpp"

/// The stopping rule on a kernel whose spectrum is known: k(x, x') = min(x, x') on [0, 1], the first-order
/// Sobolev kernel of functions with f(0) = 0 and norm^2 = integral of f'^2; its operator has the eigenvalues
/// (2/((2j-1) pi))^2.
namespace tangram {
namespace {

using std::numbers::e;
using std::numbers::pi;
using testing::Normal;

/// Eigenvalues of K = G/n, G_ij = min(i, j)/n, descending. The inverse of (min(i, j)) is the second
/// difference, whose eigenvalues are 4 sin^2((2j-1) pi / (2 (2n+1))), with the eigenvectors
/// sin((2j-1) i pi / (2n+1)).
std::vector<double> grid_eigenvalues(Index n) {
    std::vector<double> l;
    for (Index j = 1; j <= n; ++j) {
        const double sine =
            std::sin(static_cast<double>(2 * j - 1) * pi / static_cast<double>(2 * (2 * n + 1)));
        l.push_back(1 / (4 * sine * sine) / static_cast<double>(n) / static_cast<double>(n));
    }
    return l;
}

/// In the eigenvalues' order, of unit length.
Eigen::MatrixXd grid_eigenvectors(Index n) {
    Eigen::MatrixXd U(n, n);
    const auto whole = static_cast<double>(2 * n + 1);
    for (Index j = 0; j < n; ++j)
        for (Index i = 0; i < n; ++i)
            U(i, j) =
                2 / std::sqrt(whole) * std::sin(static_cast<double>((2 * j + 1) * (i + 1)) * pi / whole);
    return U;
}

Eigen::MatrixXd grid_kernel(Index n) {
    Eigen::MatrixXd K(n, n);
    for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < n; ++j)
            K(i, j) =
                static_cast<double>(std::min(i, j) + 1) / static_cast<double>(n) / static_cast<double>(n);
    return K;
}

/// RWY's condition, written out in long double.
bool stops(const std::vector<double>& l, long double sigma, long double eta) {
    long double sum = 0;
    for (const double value : l) sum += std::min(static_cast<long double>(value), 1 / eta);
    return std::sqrt(sum / static_cast<long double>(l.size())) >
           1 / (2 * std::numbers::e_v<long double> * sigma * eta);
}

TEST(KnownKernel, MinimumOnAGridOf4000) {
    const Index n = 4000;
    // The closed form against a numerical decomposition, at a size that is cheap: eigenvalues to n 2^-52 of
    // the largest.
    const std::vector<double> small = grid_eigenvalues(600);
    const Eigen::VectorXd numerical = testing::symmetric_eigenvalues(grid_kernel(600)).reverse();
    for (Index j = 0; j < 600; ++j)
        EXPECT_NEAR(numerical(j), small[static_cast<std::size_t>(j)], 600 * 0x1p-52 * small[0]);

    // The eigenvectors too: to the rounding of their sine's argument, 600 pi 2^-53.
    const Eigen::MatrixXd U = grid_eigenvectors(600);
    EXPECT_LE((U.transpose() * U - Eigen::MatrixXd::Identity(600, 600)).cwiseAbs().maxCoeff(), 1e-11);
    EXPECT_LE((grid_kernel(600) * U - U * Eigen::Map<const Eigen::VectorXd>(small.data(), 600).asDiagonal())
                  .cwiseAbs()
                  .maxCoeff(),
              1e-11 * small[0]);

    const std::vector<double> l = grid_eigenvalues(n);
    double furthest = 0;
    for (Index j = 1; j <= 100; ++j) {
        const double expected = std::pow(2 / (static_cast<double>(2 * j - 1) * pi), 2);
        furthest = std::max(furthest, std::abs(l[static_cast<std::size_t>(j - 1)] / expected - 1));
    }
    EXPECT_LE(furthest, 0.01);
    std::cout << "min(x,x'), n = 4000: leading 100 eigenvalues within " << furthest
              << " of the closed form\n";
    for (const double sigma : {0.01, 0.1, 1.0}) {
        const double alpha = 1 / l.front(), radius = critical_radius(l, sigma),
                     stop = stopping_step(l, sigma, alpha);
        EXPECT_LE(std::abs(stop - 1 / (alpha * radius * radius)), 1);  // eta_T eps_n^2 = 1 within one step
        // l_j = c j^-2 to leading order, c = 1/pi^2 (ranks move by one half, of 1/(pi eps) that count): the
        // table of docs/mathematics.md with a = 2.
        const double table = std::pow(8 * e * e * sigma * sigma / pi / static_cast<double>(n), 2.0 / 3.0);
        EXPECT_LE(std::abs(radius * radius / table - 1), 2 * radius * pi) << sigma;
        // T by bisection on the definition; eps_n by bisection on R(eps) = eps^2 / (2 e sigma).
        long double low = 0, high = 1e12L;
        while (high - low > 1) {
            const long double middle = std::floor((low + high) / 2);
            (stops(l, sigma, alpha * middle) ? high : low) = middle;
        }
        EXPECT_LE(std::abs(static_cast<double>(high) - 1 - stop), 1e-9 * stop) << sigma;
        long double inside = 0, outside = 10;
        for (int k = 0; k < 200; ++k) {
            const long double middle = (inside + outside) / 2;
            (stops(l, sigma, 1 / (middle * middle)) ? inside : outside) = middle;
        }
        EXPECT_LE(std::abs(static_cast<double>(outside) / radius - 1), 1e-9) << sigma;
        std::cout << "  sigma = " << sigma << ": T = " << stop << ", eps_n = " << radius
                  << ", eta_T eps_n^2 = " << stop * alpha * radius * radius << "\n";
    }
}

/// One sample size of the simulation: errors to the truth, mean over draws.
struct Errors {
    double at_stop = 0, oracle = 0, holdout = 0, discrepancy = 0, cross_validation = 0;
    double bound = 0, below = 0;  ///< 12 eps_n^2, and in how many draws the error at T lies below
    double stop = 0;
};

/// min(x, x') and its fixed design x_i = i/n; descent in the eigenvectors.
struct Design {
    std::vector<double> l;  ///< of K, descending
    Eigen::MatrixXd U;
    explicit Design(Index n) : l(grid_eigenvalues(n)), U(grid_eigenvectors(n)) {}
    Eigen::ArrayXd filter(double alpha, double t) const {
        const Eigen::Map<const Eigen::ArrayXd> w(l.data(), std::ssize(l));
        return 1 - (1 - (alpha * w).min(1.0)).pow(t);
    }
    /// Filters of all steps, one behind the other.
    Eigen::ArrayXXd filters(double alpha, const std::vector<double>& steps) const {
        Eigen::ArrayXXd q(std::ssize(l), std::ssize(steps));
        for (std::size_t s = 0; s < steps.size(); ++s) q.col(static_cast<Index>(s)) = filter(alpha, steps[s]);
        return q;
    }
};

/// @param n  even
Errors simulate(Index n, int draws) {
    const double sigma = 0.1;
    const Design design(n);
    Eigen::VectorXd truth(n);
    for (Index i = 0; i < n; ++i)
        truth(i) = std::abs(static_cast<double>(i + 1) / static_cast<double>(n) - 0.5) - 0.5;
    const Eigen::VectorXd target = design.U.transpose() * truth;
    const std::vector<double>& l = design.l;
    const double alpha = 1 / l.front(), rows = static_cast<double>(n);
    const double radius = critical_radius(l, sigma);  // the target's norm^2 is the integral of 1
    Errors mean;
    mean.stop = stopping_step(l, sigma, alpha);
    mean.bound = 12 * radius * radius;

    // Hold-out: descent on every second point, a grid of its own, judged on the others.
    const Index half = n / 2;
    const auto second = Eigen::seqN(1, half, 2), others = Eigen::seqN(0, half, 2);
    const Design part(half);
    const Eigen::Map<const Eigen::VectorXd> part_w(part.l.data(), half);
    const Eigen::MatrixXd between = grid_kernel(n)(Eigen::all, second) * rows / static_cast<double>(half);
    const Eigen::MatrixXd carry = between * part.U * part_w.cwiseInverse().asDiagonal();

    std::vector<double> steps;
    for (double t = 1; t < 30 * std::max(10.0, mean.stop); t = std::ceil(t * 1.15)) steps.push_back(t);
    const Eigen::ArrayXXd filters = design.filters(alpha, steps), part_filters = part.filters(alpha, steps);
    const Eigen::ArrayXd at_stop_filter = design.filter(alpha, mean.stop);
    Normal normal(static_cast<std::uint64_t>(n));
    for (int draw = 0; draw < draws; ++draw) {
        Eigen::VectorXd y = truth;
        for (Index i = 0; i < n; ++i) y(i) += sigma * normal();
        const Eigen::VectorXd z = design.U.transpose() * y;
        const auto error = [&](const Eigen::ArrayXd& filter) {
            return (filter * z.array() - target.array()).matrix().squaredNorm() / rows;
        };
        const Eigen::VectorXd squares_of = z.cwiseAbs2();
        const std::vector<double> squares(squares_of.data(), squares_of.data() + n);
        const double at_stop = error(at_stop_filter);
        mean.at_stop += at_stop / draws;
        mean.below += at_stop <= mean.bound ? 1 : 0;
        double oracle = at_stop, least_held = INFINITY, held_error = 0;
        const Eigen::VectorXd learned = y(second), judged = y(others);
        const Eigen::ArrayXd part_z = (part.U.transpose() * learned).array();
        const Eigen::MatrixXd outputs = carry * (part_filters.colwise() * part_z).matrix();
        for (Index s = 0; s < std::ssize(steps); ++s) {
            oracle = std::min(oracle, error(filters.col(s)));
            const Eigen::VectorXd f = outputs.col(s);
            const double held = (f(others) - judged).squaredNorm();
            if (held < least_held) {
                least_held = held;
                held_error = (f - truth).squaredNorm() / rows;
            }
        }
        mean.oracle += oracle / draws;
        mean.holdout += held_error / draws;
        const double discrepancy = std::min(discrepancy_step(l, squares, sigma, alpha), 1e7);
        mean.discrepancy += error(design.filter(alpha, discrepancy)) / draws;
        const double cross_validated = cross_validated_step(l, squares, 0.0, alpha, steps);
        mean.cross_validation += error(design.filter(alpha, cross_validated)) / draws;
    }
    return mean;
}

TEST(KnownKernel, SimulationInTheMannerOfRWY) {
    const int draws = 100;
    std::vector<double> sizes, errors;
    std::cout << "mean squared error to |x - 1/2| - 1/2, sigma = 0.1, mean of " << draws << " draws\n"
              << "n     T     at T      oracle    hold-out  discrepancy  GCV       12 eps^2  below\n";
    for (const Index n : {50, 100, 200, 400, 800, 1600}) {
        const Errors found = simulate(n, draws);
        sizes.push_back(std::log(static_cast<double>(n)));
        errors.push_back(std::log(found.at_stop));
        std::printf("%-5ld %-5.0f %.2e  %.2e  %.2e  %.2e     %.2e  %.2e  %.0f\n", static_cast<long>(n),
                    found.stop, found.at_stop, found.oracle, found.holdout, found.discrepancy,
                    found.cross_validation, found.bound, found.below);
        EXPECT_GE(found.below, 95) << n;
        EXPECT_GE(found.at_stop, found.oracle);
        // The rule stops early by its constants (2 e): the bias^2 it leaves is a constant factor, not a rate.
        EXPECT_LE(found.at_stop, 10 * found.oracle) << n;
        EXPECT_LE(found.cross_validation, 3 * found.oracle) << n;
    }
    double mx = 0, my = 0, xx = 0, xy = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) mx += sizes[i] / 6, my += errors[i] / 6;
    for (std::size_t i = 0; i < sizes.size(); ++i)
        xx += (sizes[i] - mx) * (sizes[i] - mx), xy += (sizes[i] - mx) * (errors[i] - my);
    const double slope = -xy / xx;
    std::cout << "error at T falls like n^-" << slope << "; the bound like n^-" << 2.0 / 3
              << ", source and capacity (a = 2, s = 3/4) like n^-" << 3.0 / 4 << "\n";
    // An upper bound over the unit ball: the error may fall faster than n^-2/3, and no faster than n^-1.
    EXPECT_GE(slope, 2.0 / 3 - 0.1);
    EXPECT_LE(slope, 1.0);
}

}  // namespace
}  // namespace tangram
