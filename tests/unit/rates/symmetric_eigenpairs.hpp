#pragma once

#include <Eigen/Core>
#include <vector>

namespace tangram::testing {

/// Of a symmetric matrix, by LAPACK.
struct SymmetricEigenpairs {
    Eigen::VectorXd values;   ///< ascending
    Eigen::MatrixXd vectors;  ///< orthonormal columns in the order of the values
};

SymmetricEigenpairs symmetric_eigenpairs(Eigen::MatrixXd A);

/// Ascending.
Eigen::VectorXd symmetric_eigenvalues(Eigen::MatrixXd A);

/// Eigenvalues of G/n, descending, for a symmetric G of n rows.
std::vector<double> spectrum(const Eigen::MatrixXd& G);

}  // namespace tangram::testing
