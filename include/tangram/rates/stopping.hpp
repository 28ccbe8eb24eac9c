#pragma once
#include <span>
#include <vector>

#include "tangram/index.hpp"
#include "tangram/rates/step_sizes.hpp"

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

/// T = min{ t >= 1 : R(eta_t^(-1/2)) > 1/(2 e sigma eta_t) } - 1 with eta_t the sum of the first t steps
/// [RWY, eq. 6]; the -1 stands outside the minimum. 0 is legal; +inf where sigma = 0 or every l is zero. With
/// eps = eta^(-1/2) the condition is (R(eps)/eps^2)^2 = (1/n) sum min(l_i/eps^4, 1/eps^2) > 1/(2 e sigma)^2;
/// every term falls with eps, so it rises with t, the condition, once true, stays true, and T is found by
/// bisection: exact to 2^53, to a double's spacing beyond.
/// @param steps  only eta enters the rule, RWY's theorem asks for steps of at most 1/l_1
double stopping_step(std::span<const double> l, double sigma, const StepSizes& steps, Index n = 0);

/// The path of gradient descent; entry k belongs to step[k]. Errors are means over examples, in the labels'
/// units squared.
struct StoppingPath {
    std::vector<double> step, eta;
    std::vector<double> rademacher;  ///< R(eta^(-1/2)); at step 0 its limit, (mean l)^(1/2)
    std::vector<double> bias2;       ///< max(0, (1/n) sum (1-q_i)^2 (z_i^2 - sigma^2))
    std::vector<double> variance;    ///< (sigma^2/n) sum q_i^2
    std::vector<double> bound;  ///< 4 radius^2/(e eta) up to T [RWY, Theorem 1]; NaN past it, +inf at step 0
    std::vector<double> train_mse;        ///< (1/n) sum (1-q_i)^2 z_i^2, the training error itself
    std::vector<double> ridge_train_mse;  ///< the same for the kernel ridge twin, ridge 1/eta on K
    std::vector<double> gcv;              ///< cross_validation_score (stopping_rules.hpp)
};

/// What a path is drawn from beside its spectrum.
struct PathInputs {
    double noise;   ///< sigma itself, not divided by the radius
    double radius;  ///< of the target, RKHS norm
    double stop;    ///< T
    double floor;   ///< noise floor, scale of l
    Index n = 0;    ///< rows of the kernel; 0: as many as l
    /// sigma is of every row, as one that is given; else of the directions that hold something.
    bool noise_of_all_rows = false;
};

/// Steps 0, then about twelve per factor of ten, T itself, to ten times T or, where T is infinite, until the
/// smallest eigenvalue above `floor` is fitted; at least 1000, at most 1e12 steps.
/// @param squares  one per l: z_i^2 = (u_i^T r)^2, mean over outputs; empty where only eigenvalues are known,
///                 and then what is made from them is empty too
/// @throws Error(study) where the first step exceeds 2/l_1, which diverges
StoppingPath stopping_path(std::span<const double> l, std::span<const double> squares,
                           const PathInputs& inputs, const StepSizes& steps);

}  // namespace tangram
