#pragma once
#include <span>
#include <string>
#include <vector>

#include "tangram/index.hpp"

/// Early stopping of gradient descent by the kernel's spectrum. [RWY] = Raskutti, Wainwright, Yu, JMLR 15 (2014)
/// 335-366. Throughout: l are the eigenvalues of K = G/n (negative ones count as zero), n = l.size(), sigma the noise's
/// standard deviation divided by the target's RKHS radius (both in the labels' units). Everything here is local.
namespace tangram {

/// Local empirical Rademacher complexity R(eps) = [ (1/n) sum_i min(l_i, eps^2) ]^(1/2)  [RWY, eq. 4].
double rademacher_complexity(std::span<const double> l, double eps);

/// The smallest eps > 0 with R(eps) <= eps^2 / (2 e sigma)  [RWY, eq. 5]; 0 where sigma = 0 or every l is zero. Solved in
/// closed form between neighbouring eigenvalues, exact to rounding. @throws Error(numerical) where an l is not finite
double critical_radius(std::span<const double> l, double sigma);

/// T = min{ t >= 1 : R(eta_t^(-1/2)) > 1/(2 e sigma eta_t) } - 1 with eta_t = alpha t  [RWY, eq. 6]; the -1 stands outside
/// the minimum. 0 is legal; +inf where sigma = 0 or every l is zero. R(eps)/eps^2 falls with eps, so the condition, once
/// true, stays true, and T is found by bisection.
/// @param alpha  constant step size > 0
double stopping_step(std::span<const double> l, double sigma, double alpha);

/// The same for given step sizes alpha_0 >= alpha_1 >= ...: eta_t = sum_{tau < t} alpha_tau. +inf where the schedule ends
/// before the condition holds. @throws Error(numerical) where a step size is not positive or grows
double stopping_step(std::span<const double> l, double sigma, std::span<const double> step_sizes);

/// q = 1 - (1 - alpha l)^t, the part of an eigendirection that t steps have fitted; dimensionless. For 0 <= alpha l <= 2.
double gradient_descent_filter(double l, double alpha, double t);

/// The path of gradient descent; entry k belongs to step[k]. Errors are means over examples, in the labels' units squared.
struct StoppingPath {
    std::vector<double> step, eta;
    std::vector<double> rademacher;  ///< R(eta^(-1/2)); at step 0 its limit, (mean l)^(1/2)
    std::vector<double> bias2;       ///< max(0, (1/n) sum (1-q_i)^2 (z_i^2 - sigma^2))
    std::vector<double> variance;    ///< (sigma^2/n) sum q_i^2
    std::vector<double> bound;       ///< 4 radius^2/(e eta) up to T [RWY, Theorem 1]; NaN past it, +inf at step 0
    std::vector<double> train_mse;   ///< (1/n) sum (1-q_i)^2 z_i^2
};

/// Steps 0, then about twelve per factor of ten, T itself, to ten times T or, where T is infinite, until the smallest
/// eigenvalue above `floor` is fitted; at least 1000, at most 1e12 steps.
/// @param squares  n, z_i^2 = (u_i^T r)^2, mean over outputs
/// @param noise    sigma itself, not divided by the radius
StoppingPath stopping_path(std::span<const double> l, std::span<const double> squares, double noise, double radius,
                           double alpha, double stop, double floor);

}  // namespace tangram
