#pragma once
#include <optional>

#include "tangram/spectrum/eigenpairs.hpp"

namespace tangram {

/// How good a decomposition is; computed, never assumed. Dimensionless unless said otherwise.
struct Quality {
    std::optional<double> residual_max;       ///< max_j ||G v_j - w_j v_j|| / |w|_max; needs vectors
    std::optional<double> orthogonality_max;  ///< max_ij |V^T V - I|_ij; needs vectors
    double trace_error;                       ///< |sum w - trace G| / sum |G_ii|
    double frobenius_error;                   ///< |sum w^2 - ||G||_F^2| / ||G||_F^2
    double noise_floor;                       ///< in the scale of G, see noise_floor()
    Index negative;                           ///< number of eigenvalues below zero
};

/// Below this an eigenvalue of G says nothing (theory.md, Fitting the decay): the largest of n 2^-52 w_1; in mixed
/// precision sqrt(n) 2^-24 trace/n; and |w_n| where w_n is negative. In the scale of G. Local.
double noise_floor(const std::vector<double>& descending, double trace, bool mixed_precision);

/// Collective over G's grid. Memory: three matrices like G, one after the other two at a time.
Quality quality(const DistributedMatrix& G, const Eigenpairs& pairs, bool mixed_precision);

}  // namespace tangram
