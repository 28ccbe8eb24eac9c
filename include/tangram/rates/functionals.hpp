#pragma once
#include <span>
#include <vector>

#include "tangram/index.hpp"

/// Single numbers that a spectrum is summed up by. l: eigenvalues of K = G/n in any order, negative ones
/// counted as zero. Everything here is local; an input that is not finite throws Error(numerical).
namespace tangram {

/// d(t) = sum l_i / (l_i + t), dimensionless; t > 0 in the scale of l.
double effective_dimension(std::span<const double> l, double t);

/// (1/2) sum log(1 + n l_i / rho^2) [KV, arXiv 2502.07715], in nats; n l_i are the eigenvalues of G, rho > 0
/// in the labels' units for a prior f ~ GP(0, k): sigma, or sigma/R where the prior is R^2 k, which no
/// rescaling of the kernel moves (k -> s k takes R -> R/sqrt(s)).
/// @param n  rows of the kernel
double information_gain(std::span<const double> l, double rho, Index n);

/// exp(entropy of l / sum l), between 1 and the number of positive l; 0 where none is positive.
double effective_rank(std::span<const double> l);
/// sum l_i / l_1.
double stable_rank(std::span<const double> l);
/// (sum l_i)^2 / sum l_i^2.
double participation_ratio(std::span<const double> l);

/// Kernel-target alignment <G, Y Y^T> / (||G||_F ||Y Y^T||_F) (Cristianini et al. 2001), of one output
/// y^T G y / (||G||_F ||y||^2), in [0, 1]; 0 where Y or the kernel is zero.
/// @param coefficients  U^T Y, one row of `outputs` per l
double kernel_target_alignment(std::span<const double> l, std::span<const double> coefficients,
                               Index outputs);

/// Share of y in the leading k eigenvectors, k = 1 .. n: sum_{i<=k} squares_i / sum squares; all 1 where the
/// sum is zero.
std::vector<double> cumulative_power(std::span<const double> squares);

/// Slope of log (u_i^T r)^2 against log l_i by least squares over ranks [first, last] (1-based, inclusive;
/// l descending), leaving out zeros; NaN with fewer than five.
double alignment_slope(std::span<const double> l, std::span<const double> squares, Index first, Index last);

}  // namespace tangram
