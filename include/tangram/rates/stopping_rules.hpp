#pragma once
#include <optional>
#include <span>

#include "tangram/index.hpp"
#include "tangram/rates/step_sizes.hpp"

/// Stopping steps beside RWY's, for gradient descent on the same eigenvalues. l: n eigenvalues of K = G/n;
/// squares: n, z_i^2 = (u_i^T r)^2, mean over outputs. Everything here is local; an input that is not finite
/// throws Error(numerical).
namespace tangram {

/// (1/n) sum (1 - q_i)^2 z_i^2: the mean squared training residual after t steps, in the labels' units
/// squared.
double training_error(std::span<const double> l, std::span<const double> squares, const StepSizes& steps,
                      double t);

/// Minimum discrepancy [AC: Averyanov, Celisse, arXiv 2007.06827]: the first t >= 0 at which the mean squared
/// training residual is at most noise^2; +inf where no number of steps up to 1e15 reaches it (the part of the
/// residual that the kernel cannot fit exceeds the noise). The training residual falls with t for
/// alpha_0 l_1 <= 1, and t is found by bisection.
double discrepancy_step(std::span<const double> l, std::span<const double> squares, double noise,
                        const StepSizes& steps);

/// Generalised cross-validation along the path [W: Wei, Hu, Steinhardt, arXiv 2203.06176, for ridge; here
/// with the filter's trace]: V(t) = (1/n) sum (1-q_i)^2 z_i^2 / (1 - sum q_i/n)^2, an estimate of the test
/// error. Directions with l_i <= floor that hold none of the residual (z_i^2 below 1e-10 of the mean) are
/// left out of n and of the sums, as in cross_validated_ridge (noise.hpp); +inf where less than a tenth of
/// the degrees of freedom is left.
double cross_validation_score(std::span<const double> l, std::span<const double> squares, double floor,
                              const StepSizes& steps, double t);
/// The step among `candidates` with the least score; the first of equals.
double cross_validated_step(std::span<const double> l, std::span<const double> squares, double floor,
                            const StepSizes& steps, std::span<const double> candidates);

/// Full-batch steps as passes over the data: T steps are T epochs; minibatches of B at the same learning rate
/// take T B / n epochs (docs/mathematics.md, Early stopping).
double epochs(double steps, Index batch, Index examples);

}  // namespace tangram
