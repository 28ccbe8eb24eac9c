#pragma once
#include <span>

#include "tangram/index.hpp"
#include "tangram/rates/step_sizes.hpp"

/// Estimates of the noise and of the target's size from the residual's eigenvector coefficients. l: n
/// eigenvalues of K = G/n, descending; squares: n, z_i^2 = (u_i^T r)^2, mean over outputs, in the labels'
/// units squared. Everything here is local; an input that is not finite throws Error(numerical).
namespace tangram {

/// What a file names an estimate by.
inline constexpr const char* noise_from_ridge = "residual at the GCV ridge";
inline constexpr const char* radius_from_ridge = "fitted part at the GCV ridge";

/// Kernel ridge regression with ridge rho on K, chosen by generalised cross-validation (Golub, Heath, Wahba
/// 1979): rho minimises (1/n) sum (1-A_i)^2 z_i^2 / (1 - sum A_i / n)^2, A_i = l_i/(l_i + rho), 0 under the
/// noise floor, over ridges that leave at least a tenth of the degrees of freedom. Directions under the floor
/// that hold none of the residual (z_i^2 below 1e-10 of the mean) are left out of n and of every sum: equal
/// texts with equal labels make them, and the score would vanish on them. Where such repeats share the space
/// under the floor with directions of an exactly singular kernel, eigenvectors may mix the two, and sigma
/// come out too small by up to the repeats' share of n.
struct CrossValidatedRidge {
    double ridge;       ///< rho, in the scale of l
    double noise;       ///< sigma = [ sum (1-A_i)^2 z_i^2 / sum (1-A_i) ]^(1/2)
    double complexity;  ///< sum A_i, the effective number of parameters
    double score;  ///< what rho minimises: GCV's estimate of the test error, in the labels' units squared
    /// The score is least at an end of the search: no ridge tells signal from noise (the residual is all
    /// noise, or the labels have none), and sigma and R are what the limit makes them.
    bool limited;
};
/// Searched over rho in [max(floor, 1e-14 l_1), 10 l_1] on a logarithmic grid and refined by golden section.
/// @throws Error(numerical) where no l is positive
CrossValidatedRidge cross_validated_ridge(std::span<const double> l, std::span<const double> squares,
                                          double floor);

/// RKHS norm of the learned part: R = [ sum A_i^2 z_i^2/(n l_i) ]^(1/2) over l_i > floor, at the ridge rho,
/// in one pass (docs/mathematics.md, Early stopping: iterating collapses to zero).
double target_radius(std::span<const double> l, std::span<const double> squares, double ridge, double floor);

/// T with one of the estimates halved or doubled. RWY's rule knows sigma/R only, so that half the radius and
/// double the noise give the same step; both are kept because readers look for either.
struct StoppingSensitivity {
    double half_radius, double_radius, half_noise, double_noise;
};
StoppingSensitivity stopping_sensitivity(std::span<const double> l, double noise, double radius,
                                         const StepSizes& steps, Index n = 0);

}  // namespace tangram
