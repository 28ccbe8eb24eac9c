#include "tangram/rates/tasks.hpp"

#include <gtest/gtest.h>

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <cmath>

#include "support/expect_error.hpp"
#include "tangram/rates/local_regression.hpp"
#include "unit/rates/normal.hpp"
#include "unit/rates/symmetric_eigenpairs.hpp"

namespace tangram {
namespace {

Eigen::MatrixXd random_matrix(Index rows, Index columns, std::uint64_t seed) {
    testing::Normal normal(seed);
    Eigen::MatrixXd A(rows, columns);
    for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < columns; ++j) A(i, j) = normal();
    return A;
}

TEST(Tasks, SolutionsAreGradientDescentOnTheParameters) {
    // Two tasks on one linear model of 30 parameters, trained by literal gradient descent on theta.
    const Eigen::MatrixXd J[] = {random_matrix(12, 30, 1), random_matrix(9, 30, 2)};
    const Eigen::VectorXd r[] = {random_matrix(12, 1, 3), random_matrix(9, 1, 4)};
    Eigen::VectorXd theta[2], c[2];
    const int t = 37;
    for (int a = 0; a < 2; ++a) {
        const auto n = static_cast<double>(J[a].rows());
        const Eigen::MatrixXd G = J[a] * J[a].transpose();
        const testing::SymmetricEigenpairs eigen = testing::symmetric_eigenpairs(G);
        const double alpha = n / eigen.values.maxCoeff();
        theta[a] = Eigen::VectorXd::Zero(30);
        for (int step = 0; step < t; ++step)
            theta[a] += alpha / n * J[a].transpose() * (r[a] - J[a] * theta[a]);
        Eigen::VectorXd weights(G.rows());
        for (Index i = 0; i < G.rows(); ++i) weights(i) = solution_weight(eigen.values(i) / n, n, alpha, t);
        c[a] = eigen.vectors * weights.cwiseProduct(eigen.vectors.transpose() * r[a]);
        EXPECT_LE((J[a].transpose() * c[a] - theta[a]).norm(), 1e-12 * theta[a].norm());
    }
    TaskVectors tasks{Eigen::MatrixXd(2, 2)};
    for (int a = 0; a < 2; ++a)
        for (int b = 0; b < 2; ++b) tasks.inner(a, b) = c[a].dot(J[a] * J[b].transpose() * c[b]);
    EXPECT_NEAR(tasks.norms()(0), theta[0].norm(), 1e-12);
    EXPECT_NEAR(tasks.cosines()(0, 1), theta[0].dot(theta[1]) / theta[0].norm() / theta[1].norm(), 1e-12);
    EXPECT_NEAR(tasks.cosines()(1, 1), 1, 1e-12);
    // The limit l -> 0 is eta/n.
    EXPECT_DOUBLE_EQ(solution_weight(0, 10, 0.5, 20), 1.0);
    EXPECT_NEAR(solution_weight(1e-14, 10, 0.5, 20), 1.0, 1e-12);
    tasks.inner.setZero();
    EXPECT_EQ(tasks.cosines().norm(), 0);
}

TEST(LocalRegression, SolvesTheLeadingBlock) {
    const Eigen::MatrixXd J = random_matrix(8, 20, 5), G = J * J.transpose(), k = random_matrix(3, 8, 6);
    Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> r = random_matrix(8, 2, 7);
    for (const Index rows : {1, 5, 8}) {
        const LocalRegression found =
            local_regression({{G.data(), 64}, {k.data(), 24}, {r.data(), 16}, 8, 3, 2}, rows, 0.7);
        const Eigen::MatrixXd A = G.topLeftCorner(rows, rows),
                              inverse = (A + 0.7 * Eigen::MatrixXd::Identity(rows, rows)).inverse();
        const Eigen::MatrixXd expected = k.leftCols(rows) * inverse * r.topRows(rows);
        for (Index i = 0; i < 3; ++i)
            for (Index o = 0; o < 2; ++o)
                EXPECT_NEAR(found.changes[static_cast<std::size_t>(2 * i + o)], expected(i, o), 1e-11);
        EXPECT_NEAR(found.effective_dimension, (A * inverse).trace(), 1e-11);
    }
    const Eigen::MatrixXd negative = -G;
    testing::expect_error(ExitStatus::numerical, ErrorKind::failed_check, {}, [&] {
        local_regression({{negative.data(), 64}, {k.data(), 24}, {r.data(), 16}, 8, 3, 2}, 8, 0.1);
    });
}

}  // namespace
}  // namespace tangram
