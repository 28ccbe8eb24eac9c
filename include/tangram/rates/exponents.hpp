#pragma once
#include <span>
#include <string>
#include <vector>

#include "tangram/index.hpp"
#include "tangram/rates/decay.hpp"

/// Exponents x of rates n^-x and their intervals. Everything here is local.
namespace tangram {

/// A row of the table of rates: the error falls like n^-value. Where nothing can be said, the three numbers
/// are NaN and `note` says why; else `note` may add a condition.
struct RateExponent {
    std::string source;  ///< decay, critical_radius, source_capacity, eigenlearning, observed
    Interval exponent;
    std::string note;
    bool known() const { return exponent.value == exponent.value; }
};
RateExponent unknown_rate(std::string source, std::string why);

/// Source and capacity [C: Cui, Loureiro, Krzakala, Zdeborova, arXiv 2105.15004]: with the target's power
/// beyond rank k, sum_{i>k} v_i^2, falling like k^(-2 a s), the error of an optimally regularised learner
/// falls like n^(-2as/(1+2as)) where the noise dominates and like n^(-2as) where it does not. Ridge
/// regression saturates at s = 1, gradient descent does not; s = 1/2 is the unit ball of [RWY].
struct SourceCapacity {
    double tail_exponent;  ///< 2 a s
    double capacity;       ///< a, of the decay
    double source;         ///< s
    double noisy;          ///< 2as/(1+2as)
    double noiseless;      ///< 2as
    /// Size at which c n^(-2as), the power beyond rank n, equals sigma^2: above it the noise dominates.
    double crossover;
};

/// 2 a s by least squares of the logarithm of the target's power beyond rank k on log(k + 1/2 + onset), over
/// the window: as for a power law that is summed from k + 1 on, and on the abscissa of the decay's own. The
/// noise's share, sigma^2/n per direction, is taken out of every squared coefficient.
/// @param squares  n, z_i^2 = (u_i^T r)^2 in order of descending eigenvalue, mean over outputs
/// @param noise    sigma, in the labels' units
/// @param decay_exponent  a > 0
/// @param onset    of the decay: l_k falls like (k + onset)^-a
/// @return nothing, with the reason in `why`, where the power beyond some rank of the window is not positive
///         or does not fall
std::optional<SourceCapacity> fit_source(std::span<const double> squares, double noise, double decay_exponent,
                                         double onset, DecayWindow window, std::string& why);

/// Slope of log value on log n with its 95 % interval, as the exponent x of n^-x. values: sizes x repeats,
/// row-major. The value is the slope of the mean logarithm over repeats; half-width
/// 1.96 [sd^2 + se^2]^(1/2), sd the standard deviation of the single repeats' slopes, se the standard error
/// of the straight line through the means, which holds the curve's bend.
/// @param sizes  at least two, rising; every value positive and finite
Interval power_law(std::span<const double> sizes, std::span<const double> values, Index repeats);

}  // namespace tangram
