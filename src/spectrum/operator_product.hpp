#pragma once
// GCC 12 takes its own AVX-512 intrinsics for uninitialised (bug 105593); where Eigen's templates are
// instantiated counts, hence until the end of the file that includes this.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#define EIGEN_DONT_PARALLELIZE  // the same bits on any number of threads
#include <Eigen/Dense>
#include <vector>

#include "tangram/parallel/collective_error.hpp"
#include "tangram/spectrum/leading_pairs.hpp"

namespace tangram {

/// G X, N x vectors. Collective over G.comm. @throws Error(numerical) on every rank where it is not finite
inline Eigen::MatrixXd product(const SymmetricOperator& G, const Eigen::MatrixXd& X) {
    using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Index vectors = X.cols();
    const std::vector<double> x = collectively(G.comm, [&] {
        std::vector<double> entries(static_cast<std::size_t>(X.size()));
        Eigen::Map<RowMajor>(entries.data(), X.rows(), vectors) = X;
        return entries;
    });
    const std::vector<double> y = G.product(x, vectors);
    return collectively(G.comm, [&] {
        Eigen::MatrixXd Y = Eigen::Map<const RowMajor>(y.data(), X.rows(), vectors);
        if (!Y.allFinite())
            throw Error(
                ExitStatus::numerical, ErrorKind::non_finite,
                "a product with the Gram matrix is not finite; use kernel.precision = \"double\", or leave "
                "tensors out with kernel.parameters");
        return Y;
    });
}

}  // namespace tangram
