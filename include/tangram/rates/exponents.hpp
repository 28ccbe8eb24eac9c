#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tangram/index.hpp"
#include "tangram/rates/decay.hpp"
#include "tangram/rates/target_power.hpp"

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
    Interval capacity;   ///< a, of the decay
    Interval source;     ///< s = 2as/(2a); the logarithms' half-widths of both, added in squares
    Interval noisy;      ///< 2as/(1+2as)
    Interval noiseless;  ///< 2as
    Interval noise;      ///< of fit_target_power, labels' units
    /// Rows n at which the power beyond rank n equals noise^2: above it the noise dominates.
    double crossover;

    bool inside() const { return source.low >= 0.5; }   ///< the target lies in the kernel's space
    bool outside() const { return source.high < 0.5; }  ///< it does not; else it is undecided
};

/// @param decay_exponent  a, its value positive
/// @param onset           of the decay
/// @param law_holds       the eigenvalues fall like this power. Where they do not, or 2as stands at its limit
///                        0, nothing bounds s from above
SourceCapacity source_and_capacity(const TargetPower& power, const Interval& decay_exponent, double onset,
                                   bool law_holds);

/// A value with Student's quantile times the replicas' standard deviation, not below zero: halves of a sample
/// spread as the sample itself does (polynomial_intervals). Nothing with fewer than two replicas.
std::optional<Interval> with_spread(double value, std::span<const double> replicas);

/// Slope of log value on log n with its 95 % interval, as the exponent x of n^-x. values: sizes x repeats,
/// row-major. The value is the slope of the mean logarithm over repeats; half-width
/// [(t sd)^2 + (t' se)^2]^(1/2), sd the standard deviation of the single repeats' slopes, se the standard
/// error of the straight line through the means, which holds the curve's bend, t and t' Student's quantiles;
/// bounds of NaN where one repeat of two sizes shows neither.
/// @param sizes  at least two, rising; every value positive and finite
Interval power_law(std::span<const double> sizes, std::span<const double> values, Index repeats);

}  // namespace tangram
