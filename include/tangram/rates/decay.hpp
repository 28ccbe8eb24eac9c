#pragma once
#include <limits>
#include <optional>
#include <span>
#include <string>

#include "tangram/index.hpp"

/// How fast the eigenvalues l of K = G/n decay with their rank. Everything here is local; l is descending; an
/// l that is not finite throws Error(numerical). n: rows of the kernel (0: as many as l).
namespace tangram {

/// Ranks first .. last, 1-based, inclusive, that a fit uses; empty where last < first.
struct DecayWindow {
    Index first, last;
    Index size() const { return last >= first ? last - first + 1 : 0; }
};

/// Fewest eigenvalues that a fit takes; with fewer the decay is "none".
inline constexpr Index smallest_window = 5;

/// theory.md, Fitting the decay: above ten times the noise floor, past the leading eigenvalue or two that
/// each hold more than half of the trace that is left, last <= n/20.
/// @param floor  noise floor in the scale of l
DecayWindow decay_window(std::span<const double> l, double floor, Index n = 0);

/// Why this window allows no fit (selected = "none"), as a sentence for the reader; empty where it allows
/// one.
std::string no_decay_reason(std::span<const double> l, double floor, DecayWindow window, Index n = 0);

/// l_k = constant * k^(-exponent).
struct PolynomialDecay {
    double exponent;
    double constant;   ///< in the scale of l
    double criterion;  ///< BIC of the log-eigenvalues: m log(RSS/m) + 2 log m over the m of the window
    bool corrected;    ///< the finite-sample correction was applied

    /// Exponent of the spectral density, 1 + 1/exponent, which other tools also call alpha.
    double density_exponent() const { return 1 + 1 / exponent; }
};

/// Least squares of log l on log rank in the window. Empirical eigenvalues are biased, to first order in k/n,
/// l_k = lam_k (1 - (k/n)(pi/a) cot(pi/a)) [theory.md, derived]; this is divided out and the fit repeated to
/// convergence. The sum behind it converges for a > 1 only: where a <= 1, where the correction is not small
/// (above 1/2 in the window, as it is up to a = 1.1) or where it does not converge, the plain fit stands and
/// `corrected` is false. The plain fit is then too low: by 0.05 at a = 1.1 to 0.1 at 0.8 with last = n/20
/// (Gaussian features, n = 400 and 800).
/// @param n  rows of the kernel that l came from
/// @throws Error(numerical) where the window is shorter than smallest_window or holds an l that is not
/// positive
PolynomialDecay fit_polynomial(std::span<const double> l, Index n, DecayWindow window);

/// A value with its 95 % interval.
struct Interval {
    double value, low, high;
};

struct PolynomialIntervals {
    Interval exponent, constant, density_exponent;
};

/// What stands for a decay that was not fitted: every value is possible, and no number is NaN.
inline constexpr PolynomialIntervals unknown_polynomial{
    {0, 0, std::numeric_limits<double>::infinity()},
    {0, 0, std::numeric_limits<double>::infinity()},
    {std::numeric_limits<double>::infinity(), 1, std::numeric_limits<double>::infinity()}};

/// Half-width 1.96 [se^2 + (a(last) - a(last/2))^2]^(1/2), the second term the drift of the exponent between
/// the whole window and its first half. se: standard deviation of the exponent over principal sub-matrices of
/// half the examples; subsets of m of n without replacement vary by (1/m - 1/n), which for m = n/2 is the
/// variance 1/n of the whole [derived: delete-half jackknife]. Simulated with Gaussian features, n = 240 and
/// 400, a = 1.5, 2, 3, the root mean square of se is 0.92 to 1.01 (+- 0.04) of the spread over fresh samples,
/// and the interval covers in 94 to 98 %. A plain fit's bias it does not hold: 40 % at a = 1.05, less below.
/// The constant's interval is made in the same way for its logarithm.
/// @param replicas  fits of the sub-matrices; fewer than two leave the drift alone
PolynomialIntervals polynomial_intervals(std::span<const double> l, Index n, DecayWindow window,
                                         const PolynomialDecay& fit,
                                         std::span<const PolynomialDecay> replicas);

/// Exponent x of the rate n^-x that a polynomial decay gives, a/(a+1); none where a <= 1 (theory.md, Rates in
/// n).
std::optional<double> rate_exponent(double decay_exponent);

}  // namespace tangram
