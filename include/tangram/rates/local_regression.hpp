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

/// The K nearest training rows of a test example, nearest first.
struct Neighbourhood {
    std::span<const double> gram;      ///< K x K, symmetric
    std::span<const double> cross;     ///< test rows x K, column-major
    std::span<const double> residual;  ///< K x outputs, row-major
    Index size;                        ///< K
    Index test_rows, outputs;
};

/// @param rows   the leading rows that are S, 1 <= rows <= K
/// @param ridge  > 0, on G
/// @throws Error(numerical) where G_SS + ridge I is not positive definite
LocalRegression local_regression(const Neighbourhood& neighbourhood, Index rows, double ridge);

}  // namespace tangram
