#include "tangram/rates/local_regression.hpp"

#include <Eigen/Cholesky>

#include "tangram/error.hpp"

namespace tangram {

LocalRegression local_regression(const Neighbourhood& neighbourhood, Index rows, double ridge) {
    const auto& [gram, cross, residual, size, test_rows, outputs] = neighbourhood;
    using Matrix = Eigen::MatrixXd;
    using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const auto G = Eigen::Map<const Matrix>(gram.data(), size, size).topLeftCorner(rows, rows);
    const auto k = Eigen::Map<const Matrix>(cross.data(), test_rows, size).leftCols(rows);
    const auto r = Eigen::Map<const RowMajor>(residual.data(), size, outputs).topRows(rows);
    const Eigen::LLT<Matrix> factor(G + ridge * Matrix::Identity(rows, rows));
    if (factor.info() != Eigen::Success)
        throw Error(ExitStatus::numerical, ErrorKind::failed_check,
                    "the kernel of a neighbourhood is not positive definite; look at the kernel");
    LocalRegression result;
    const RowMajor changes = k * factor.solve(r);
    result.changes.assign(changes.data(), changes.data() + changes.size());
    result.effective_dimension = factor.solve(Matrix(G)).trace();
    return result;
}

}  // namespace tangram
