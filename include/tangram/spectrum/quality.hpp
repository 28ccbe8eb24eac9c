#pragma once
#include <optional>
#include <string>

#include "tangram/spectrum/eigenpairs.hpp"

namespace tangram {

/// How good a decomposition is; computed, never assumed. Dimensionless unless said otherwise. Where only the
/// k largest of N eigenvalues are there, the sums are bounds: the rest of the trace is at most (N - k) w_k,
/// the rest of ||G||_F^2 not negative.
struct Quality {
    std::optional<double> residual_max;       ///< max_j ||G v_j - w_j v_j|| / |w|_max; needs vectors
    std::optional<double> orthogonality_max;  ///< max_ij |V^T V - I|_ij; needs vectors
    double trace_error;      ///< |sum w - trace G| / sum |G_ii|; of k, by how much w falls short
    double frobenius_error;  ///< |sum w^2 - ||G||_F^2| / ||G||_F^2; of k, the excess
    double noise_floor;      ///< in the scale of G, see noise_floor()
    Index negative;          ///< number of eigenvalues below zero, rounding's included
    double rounding;         ///< in the scale of G, see gram_rounding()
    /// max_j b_j / |w|_max, b_j being a bound on the error of w_j: the smaller of ||r|| and |v^T r| +
    /// ||r||^2/gap, r = G v_j - w_j v_j for v_j of length one, gap the distance to the neighbouring
    /// eigenvalues less their own
    /// ||r|| (Parlett, The Symmetric Eigenvalue Problem, 11.7). Needs vectors.
    std::optional<double> error_bound_max;
    Index rows;                      ///< N
    double trace;                    ///< of G
    std::optional<Index> resolved;   ///< number of eigenvalues with b_j < |w_j|; needs vectors
    std::string left_to_ranks = {};  ///< as VectorChecks'
};

/// The most that rounding puts an eigenvalue of G = J J^T below zero, in the scale of G: 10 n 2^-52 |w|_max
/// of the solver and, in mixed precision, 8 2^-24 (max G_ii trace G)^(1/2): errors of 2^-24 (G_ii G_jj)^(1/2)
/// in the entries, independent of each other, have a norm of 2 2^-24 (max G_ii trace G)^(1/2) (Bandeira, van
/// Handel 2016); four times that, because float32 products of some hundred terms err by more than one unit.
/// Local.
double gram_rounding(const std::vector<double>& descending, double largest_diagonal, double trace,
                     bool mixed_precision, Index rows = 0);

/// What a backward stable solver leaves of residual and orthogonality, as Quality has them: 10 n 2^-52.
/// Local.
double solver_tolerance(Index rows);

/// What says that G is not J J^T: eigenvalues further below zero than rounding explains. Empty where it does.
/// Local.
std::string beyond_rounding(const std::vector<double>& descending, double rounding);

/// max_ij |V^T V - I|_ij. Collective over V's grid; memory: a panel of columns.
double largest_overlap(const DistributedMatrix& V);

/// Below this an eigenvalue of G says nothing (docs/mathematics.md, Noise floor): the largest of n 2^-52 w_1;
/// in mixed precision sqrt(n) 2^-24 trace/n; and |w_n| where w_n is negative. In the scale of G. Local.
/// @param rows  n; 0: as many as eigenvalues
double noise_floor(const std::vector<double>& descending, double trace, bool mixed_precision, Index rows = 0);

/// Of all eigenvalues of G or its largest, and of the vectors where `pairs` has them. Collective over G's
/// grid. Whatever is not a number comes out as NaN, never as small. @throws Error(input) on every rank if the
/// sizes or blocks of G and the eigenpairs differ, Error(numerical) where the device that has found the pairs
/// fails; where it lacks memory the ranks check. Memory: beside G and V one panel of N x 256 (or one turn of
/// blocks round the grid, if wider); of such a device's pairs, on the first rank, one of N x 512 and, of
/// several ranks, a whole matrix.
Quality quality(const DistributedMatrix& G, const Eigenpairs& pairs, bool mixed_precision);

}  // namespace tangram
