#pragma once
#include <span>
#include <string>

#include "tangram/index.hpp"

/// Estimates of the noise and of the target's size from the residual's eigenvector coefficients. l: n eigenvalues of
/// K = G/n; squares: n, z_i^2 = (u_i^T r)^2, mean over outputs, in the labels' units squared. Everything here is local.
namespace tangram {

/// Kernel ridge regression with ridge rho on K, chosen by generalised cross-validation (Golub, Heath, Wahba 1979):
/// rho minimises (1/n) sum (1-A_i)^2 z_i^2 / (1 - sum A_i / n)^2, A_i = l_i/(l_i + rho), over eigenvalues above the noise
/// floor (n of them) and ridges that leave at least a tenth of the degrees of freedom: repeated texts with the same label
/// make modes without residual near l = 0, on which the score would otherwise vanish.
struct CrossValidatedRidge {
    double ridge;       ///< rho, in the scale of l
    double noise;       ///< sigma = [ sum (1-A_i)^2 z_i^2 / sum (1-A_i) ]^(1/2)
    double complexity;  ///< sum A_i, the effective number of parameters
};
/// Searched over rho in [max(floor, 1e-14 l_1), 10 l_1] on a logarithmic grid and refined by golden section.
/// @throws Error(numerical) where an input is not finite or no l is positive
CrossValidatedRidge cross_validated_ridge(std::span<const double> l, std::span<const double> squares, double floor);

/// RKHS norm of the learned part: R = [ sum A_i^2 z_i^2/(n l_i) ]^(1/2) over l_i > floor, at the ridge rho, in one pass
/// (theory.md: iterating collapses to zero).
double target_radius(std::span<const double> l, std::span<const double> squares, double ridge, double floor);

}  // namespace tangram
