#include "tangram/rates/functionals.hpp"

#include <gtest/gtest.h>

#include <Eigen/LU>
#include <cmath>
#include <vector>

#include "support/expect_error.hpp"
#include "unit/rates/normal.hpp"
#include "unit/rates/symmetric_eigenpairs.hpp"

namespace tangram {
namespace {

TEST(Functionals, AreThoseOfTheMatrix) {
    const Index n = 40;
    testing::Normal normal(3);
    Eigen::MatrixXd J(n, 25);
    Eigen::VectorXd y(n);
    for (Index i = 0; i < n; ++i) {
        y(i) = normal();
        for (Index k = 0; k < 25; ++k) J(i, k) = normal();
    }
    const Eigen::MatrixXd G = J * J.transpose(), K = G / static_cast<double>(n),
                          I = Eigen::MatrixXd::Identity(n, n);
    const testing::SymmetricEigenpairs eigen = testing::symmetric_eigenpairs(K);
    const std::vector<double> l(eigen.values.data(), eigen.values.data() + n);
    EXPECT_NEAR(effective_dimension(l, 0.3), (K * (K + 0.3 * I).inverse()).trace(), 1e-10);
    EXPECT_NEAR(information_gain(l, 0.7, n), 0.5 * std::log((I + G / 0.49).determinant()), 1e-9);
    const Eigen::VectorXd z = eigen.vectors.transpose() * y;
    EXPECT_NEAR(kernel_target_alignment(l, std::vector<double>(z.data(), z.data() + n), 1),
                y.dot(G * y) / G.norm() / y.squaredNorm(), 1e-12);
    // Of several outputs; a kernel that is made of them is aligned with them.
    for (const bool own : {false, true}) {
        Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> Y(n, 3);
        for (Index i = 0; i < n; ++i)
            for (Index o = 0; o < 3; ++o) Y(i, o) = normal();
        const Eigen::MatrixXd target = Y * Y.transpose(), kernel = own ? target : G;
        const testing::SymmetricEigenpairs pairs = testing::symmetric_eigenpairs(kernel);
        Y = (pairs.vectors.transpose() * Y).eval();
        const double found =
            kernel_target_alignment(std::vector<double>(pairs.values.data(), pairs.values.data() + n),
                                    std::vector<double>(Y.data(), Y.data() + Y.size()), 3);
        EXPECT_NEAR(found, kernel.cwiseProduct(target).sum() / kernel.norm() / target.norm(), 1e-12);
        EXPECT_EQ(std::abs(found - 1) < 1e-12, own);
    }
    EXPECT_NEAR(stable_rank(l), G.trace() / eigen.values.maxCoeff() / static_cast<double>(n), 1e-10);
    EXPECT_NEAR(participation_ratio(l), G.trace() * G.trace() / G.squaredNorm(), 1e-10);
}

TEST(Functionals, ClosedForms) {
    for (const double scale : {1e-200, 1.0, 1e200}) {
        std::vector<double> l(10, 0.0);
        for (int i = 0; i < 4; ++i) l[static_cast<std::size_t>(i)] = scale;
        l[9] = -1e-3 * scale;  // rounding's: counted as zero
        EXPECT_NEAR(effective_rank(l), 4, 1e-12);
        EXPECT_NEAR(stable_rank(l), 4, 1e-12);
        EXPECT_NEAR(participation_ratio(l), 4, 1e-12);
        EXPECT_NEAR(effective_dimension(l, scale), 2, 1e-12);
        std::vector<double> labels(10, 0.0);
        labels[2] = 7;
        EXPECT_NEAR(kernel_target_alignment(l, labels, 1), 0.5, 1e-12);
    }
    const std::vector<double> nothing(3, 0.0);
    EXPECT_EQ(effective_rank(nothing), 0);
    EXPECT_EQ(stable_rank(nothing), 0);
    EXPECT_EQ(participation_ratio(nothing), 0);
    EXPECT_EQ(kernel_target_alignment(nothing, nothing, 1), 0);
    EXPECT_EQ(cumulative_power(std::vector<double>{1, 3, 0, 4}), (std::vector<double>{0.125, 0.5, 0.5, 1.0}));
    EXPECT_EQ(cumulative_power(nothing), std::vector<double>(3, 1.0));
    // The entropy of halving shares 1/2, 1/4, ... is 2 log 2.
    std::vector<double> halves;
    for (int k = 1; k < 60; ++k) halves.push_back(std::pow(0.5, k));
    EXPECT_NEAR(effective_rank(halves), 4, 1e-12);
}

TEST(Functionals, SlopeOfTheResidualAgainstTheSpectrum) {
    std::vector<double> l, squares;
    for (int k = 1; k <= 50; ++k) {
        l.push_back(std::pow(k, -1.5));
        squares.push_back(3 * std::pow(l.back(), 0.7));
    }
    EXPECT_NEAR(alignment_slope(l, squares, 1, 50), 0.7, 1e-10);
    squares[10] = 0;  // left out
    squares[45] = 1e9;
    EXPECT_NEAR(alignment_slope(l, squares, 1, 40), 0.7, 1e-10);
    EXPECT_NEAR(alignment_slope(l, squares, 1, 5), 0.7, 1e-10);  // as many as a fit of the decay takes
    EXPECT_TRUE(std::isnan(alignment_slope(l, squares, 1, 4)));
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {},
                          [] { effective_rank(std::vector<double>{NAN}); });
    testing::expect_error(ExitStatus::numerical, ErrorKind::out_of_range, {},
                          [&] { effective_dimension(l, 0); });
    testing::expect_error(ExitStatus::numerical, ErrorKind::out_of_range, {},
                          [&] { information_gain(l, 0, 50); });
}

}  // namespace
}  // namespace tangram
