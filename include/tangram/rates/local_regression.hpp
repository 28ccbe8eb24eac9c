#pragma once
#include <span>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// Kernel ridge regression on the nearest training rows of one test example: what test-time training on them
/// does in the linearised model [KV, arXiv 2502.07715]. Local.
struct LocalRegression {
    std::vector<double> changes;  ///< test rows x outputs, row-major: k(x, S) (G_SS + ridge I)^-1 r_S
    double effective_dimension;   ///< tr G_SS (G_SS + ridge I)^-1, dimensionless
};

/// @param gram    K x K, symmetric; its leading `rows` rows and columns are S, 1 <= rows <= K
/// @param cross   test rows x K, column-major
/// @param residual  K x outputs, row-major
/// @param ridge   > 0, on G
/// @throws Error(numerical) where G_SS + ridge I is not positive definite
LocalRegression local_regression(std::span<const double> gram, Index size, std::span<const double> cross,
                                 Index test_rows, std::span<const double> residual, Index outputs, Index rows,
                                 double ridge);

}  // namespace tangram
