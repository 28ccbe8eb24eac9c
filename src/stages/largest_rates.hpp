#pragma once
#include <optional>
#include <vector>

#include "tangram/learning/kernel_rates.hpp"

namespace tangram {

/// The k largest eigenvalues of K = G/n, and what is known of the n - k others: each between -rounding and
/// the last of these, and their sum.
struct LargestEigenvalues {
    std::vector<double> l;  ///< descending
    Index rows;             ///< n
    double trace;           ///< of K
    double rounding = 0;    ///< scale of K
};

/// Between what every spectrum of them lies.
struct StoppingBounds {
    Interval critical, stop;  ///< value: NaN where low and high differ by more than rounding
};

/// Bounds on the critical radius and T. R(eps)^2 = (1/n) sum min(l_i, eps^2) is concave in the unknown l_i,
/// whose sum is known: greatest where all are equal, least where as many as the sum allows are l_k and the
/// others zero. The critical radius rises and T falls with R. Local.
/// @param noise  sigma over the radius, above 0
StoppingBounds stopping_bounds(const LargestEigenvalues& known, double noise, const StepSizes& steps);

/// The rates of a kernel whose k largest eigenvalues alone are known: the decay, and the stopping step where
/// the others cannot matter. What needs all eigenvalues or their vectors is NaN, unknown or absent.
/// Collective as compute_rates.
/// @param bounds  receives the bounds where rates.noise and rates.radius are given
/// @throws Error(study) where rates.neighbours asks for more
RatesResult rates_of_largest(const RatesInput& input, const LargestEigenvalues& known,
                             const RatesOptions& options, const Listener& listener,
                             std::optional<StoppingBounds>& bounds);

}  // namespace tangram
