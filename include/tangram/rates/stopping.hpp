#pragma once
#include <span>
#include <vector>

#include "tangram/index.hpp"

/// Early stopping of gradient descent by the kernel's spectrum. [RWY] = Raskutti, Wainwright, Yu, JMLR 15
/// (2014) 335-366. Throughout: l are eigenvalues of K = G/n in any order (negative ones count as zero), n the
/// rows of the kernel (0: as many as l; fewer l than rows stand for zeros, more for a population), sigma the
/// noise's standard deviation divided by the target's RKHS radius (both in the labels' units). Everything
/// here is local; an input that is not finite throws Error(numerical).
///
/// Units: rescaling the kernel by s takes l -> s l, alpha -> alpha/s, radius -> radius/sqrt(s), eps -> eps
/// sqrt(s), and leaves T, R(eps)/eps and the path as they are.
namespace tangram {

/// Local empirical Rademacher complexity R(eps) = [ (1/n) sum_i min(l_i, eps^2) ]^(1/2)  [RWY, eq. 4].
double rademacher_complexity(std::span<const double> l, double eps, Index n = 0);

/// The smallest eps > 0 with R(eps) <= eps^2 / (2 e sigma)  [RWY, eq. 5]; 0 where sigma = 0 or every l is
/// zero. Solved in closed form between neighbouring eigenvalues, exact to rounding.
double critical_radius(std::span<const double> l, double sigma, Index n = 0);

/// T = min{ t >= 1 : R(eta_t^(-1/2)) > 1/(2 e sigma eta_t) } - 1 with eta_t = alpha t  [RWY, eq. 6]; the -1
/// stands outside the minimum. 0 is legal; +inf where sigma = 0 or every l is zero. With eps = eta^(-1/2) the
/// condition is (R(eps)/eps^2)^2 = (1/n) sum min(l_i/eps^4, 1/eps^2) > 1/(2 e sigma)^2; every term falls with
/// eps, so it rises with t, the condition, once true, stays true, and T is found by bisection: exact to 2^53,
/// to a double's spacing beyond.
/// @param alpha  constant step size > 0; only eta enters the rule, RWY's theorem asks for alpha <= 1/l_1
double stopping_step(std::span<const double> l, double sigma, double alpha, Index n = 0);

/// The same for given step sizes alpha_0 >= alpha_1 >= ...: eta_t = sum_{tau < t} alpha_tau. +inf where the
/// schedule ends before the condition holds. @throws Error(numerical) where a step size is not positive or
/// grows
double stopping_step(std::span<const double> l, double sigma, std::span<const double> step_sizes,
                     Index n = 0);

/// q = 1 - (1 - alpha l)^t, the part of an eigendirection that t steps have fitted; dimensionless. Rises from
/// 0 to 1 for alpha l <= 1; swings around 1 with falling width for 1 < alpha l < 2; descent diverges beyond.
/// t a whole number >= 0.
double gradient_descent_filter(double l, double alpha, double t);

/// The path of gradient descent; entry k belongs to step[k]. Errors are means over examples, in the labels'
/// units squared.
struct StoppingPath {
    std::vector<double> step, eta;
    std::vector<double> rademacher;  ///< R(eta^(-1/2)); at step 0 its limit, (mean l)^(1/2)
    std::vector<double> bias2;       ///< max(0, (1/n) sum (1-q_i)^2 (z_i^2 - sigma^2))
    std::vector<double> variance;    ///< (sigma^2/n) sum q_i^2
    std::vector<double> bound;  ///< 4 radius^2/(e eta) up to T [RWY, Theorem 1]; NaN past it, +inf at step 0
    std::vector<double> train_mse;  ///< (1/n) sum (1-q_i)^2 z_i^2, the training error itself
};

/// Steps 0, then about twelve per factor of ten, T itself, to ten times T or, where T is infinite, until the
/// smallest eigenvalue above `floor` is fitted; at least 1000, at most 1e12 steps.
/// @param squares  one per l: z_i^2 = (u_i^T r)^2, mean over outputs; empty where only eigenvalues are known,
///                 and then bias2 and train_mse are empty too
/// @param noise    sigma itself, not divided by the radius
/// @throws Error(study) where alpha l_1 > 2, which diverges
StoppingPath stopping_path(std::span<const double> l, std::span<const double> squares, double noise,
                           double radius, double alpha, double stop, double floor, Index n = 0);

}  // namespace tangram
