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

/// No limit to the ranks that are trusted.
inline constexpr Index every_rank = std::numeric_limits<Index>::max();

/// docs/mathematics.md, Fitting the decay: above ten times the noise floor, past the leading eigenvalue or
/// two that each hold more than half of the trace that is left, last <= n/20. Of several outputs past as many
/// at a time, which do so together: each output has a common direction.
/// @param floor    noise floor in the scale of l
/// @param trusted  the last rank that may be fitted: of a kernel sketched to k dimensions k/10
/// (docs/mathematics.md, Sketches)
/// @param outputs  rows of an example
DecayWindow decay_window(std::span<const double> l, double floor, Index n = 0, Index trusted = every_rank,
                         Index outputs = 1);

/// A window without the ranks at its end that are not above ten times the floor, or past the last that is
/// trusted; last <= l.size().
DecayWindow above_floor(std::span<const double> l, double floor, DecayWindow window,
                        Index trusted = every_rank);

/// Why this window allows no fit (selected = "none"), as a sentence for the reader; empty where it allows
/// one.
std::string no_decay_reason(std::span<const double> l, double floor, DecayWindow window, Index n = 0,
                            Index trusted = every_rank);

/// l_k = constant * (k + onset)^(-exponent); onset 0 but where DecayFit::shifted says so.
struct PolynomialDecay {
    double exponent;
    double constant;   ///< in the scale of l
    double criterion;  ///< BIC of the log-eigenvalues, see fit_decay; here over the m ranks of the window
    bool corrected;    ///< the sample's bias was divided out
    double onset = 0;  ///< rank behind which the power shows; below it the spectrum is flat

    /// Exponent of the spectral density, 1 + 1/exponent, which other tools also call alpha.
    double density_exponent() const { return 1 + 1 / exponent; }
};

/// l_k = constant * exp(-rate * k^power), power from 1/2 (a smaller one takes polynomial data for
/// exponential) to 4 (a larger one cannot be told from a drop at a finite rank).
struct ExponentialDecay {
    double constant;  ///< in the scale of l
    double rate, power;
    double criterion;  ///< BIC of the log-eigenvalues, as PolynomialDecay's
};

/// `rank` eigenvalues, of any size, stand above ten times the noise floor, the rest below.
struct FiniteRankDecay {
    Index rank;
    double criterion;
};

/// Least squares of log l on log rank in the window, what a sample makes of the law (sample_bias.hpp) divided
/// out and the fit repeated to convergence. Where all n eigenvalues are known their trace stands for the
/// law's tail, and exponents of 0.6 to 3 come out to 0.01 (Gaussian features, n = 600, last = n/20; the plain
/// fit reads 0.87 for 1 and 0.5 for 0.8). Where fewer are known and the law has no sum (a near 1 and below)
/// or the law does not fall the plain fit stands and `corrected` is false.
/// @param n  rows of the kernel that l came from
/// @throws Error(numerical) where the window is shorter than smallest_window or holds an l that is not
/// positive
PolynomialDecay fit_polynomial(std::span<const double> l, Index n, DecayWindow window);

/// Least squares of log l on rank^power in the window, the power chosen for the smallest residual, the
/// sample's bias divided out as fit_polynomial does.
/// @param n  rows of the kernel that l came from
/// @throws Error(numerical) as fit_polynomial
ExponentialDecay fit_exponential(std::span<const double> l, Index n, DecayWindow window);

/// A difference of criteria that decides between laws which are hard to tell apart.
inline constexpr double strong_evidence = 6;

enum class DecayFamily { none, polynomial, exponential, finite_rank };

/// "none", "polynomial", "exponential", "finite_rank": as /rates/decay has them.
const char* name(DecayFamily family);

/// A later onset than two windows shows no power.
inline double latest_onset(DecayWindow window) { return 2 * static_cast<double>(window.last); }

struct DecayFit {
    DecayFamily selected;
    std::string reason;  ///< why `selected` is none, a sentence for the reader; empty otherwise
    DecayWindow window;  ///< the parameters of the two laws are those of this window
    std::optional<PolynomialDecay> polynomial;  ///< without onset
    std::optional<PolynomialDecay> shifted;     ///< with an onset, where the window shows it
    std::optional<ExponentialDecay> exponential;
    std::optional<FiniteRankDecay> finite_rank;

    /// A power with an onset was selected, and an exponential is not told from it.
    bool exponential_fits_too() const {
        return selected == DecayFamily::polynomial && power_law().onset > 0 && exponential &&
               exponential->criterion < power_law().criterion + strong_evidence;
    }

    /// The onset of power_law() is the latest that is looked for: an exponential in disguise.
    bool onset_is_at_its_limit() const {
        return polynomial && power_law().onset > 0.999 * latest_onset(window);
    }

    /// Of the two polynomials the one with an onset where its criterion is lower by strong_evidence: of 40
    /// samples of k^-1.05 a quarter would have one otherwise. `polynomial` was fitted.
    const PolynomialDecay& power_law() const {
        return shifted && shifted->criterion < polynomial->criterion - strong_evidence ? *shifted
                                                                                       : *polynomial;
    }
};

/// Fewest ranks of a window that show a law of three parameters (an exponential, an onset) or a trend.
inline constexpr Index smallest_window_of_three = 12;

/// Fits every family and selects the smallest BIC, N log(RSS/N) + p log N, over the same N ranks for all:
/// the window's or, where the floor is reached within n/2 ranks, after rank m, `first` .. m + 1 (past n/20 a
/// rank shows no exponent, but it shows a drop). A finite rank is the better law cut after rank m, p one
/// more: chosen for the drop, whatever its sizes. With too few ranks for a law it is still selected if the
/// drop is clear, l_m^2/l_1 above a hundred floors: the descent from l_1 to l_m, once more, would not reach
/// the floor. Absent: laws in a window too short, finite_rank where the floor is not reached or the rank is
/// past `trusted`: a sketched kernel's rank is the sketch's (docs/mathematics.md, Sketches). A law is named
/// only if what it leaves, with and without the first rank, shows no trend: "none" where neighbouring ranks'
/// residuals are alike, their squared differences over their squares (Durbin, Watson 1950) below 1.6 -
/// 4/sqrt(m), two deviations under what Gaussian samples of m ranks leave, and their root mean square above
/// 0.03 (a smaller one moves no
/// conclusion); the reason then has the local slopes. Throws as decay_window; a window given must start at 1
/// or later.
/// @param floor   noise floor in the scale of l; at least 2^-52 l_1 is taken
/// @param window  decay_window's where not given (replicas are fitted in the whole sample's window); cut as
/// above_floor cuts it
/// @param trusted the last rank that may be fitted, as decay_window's; also of a window given
/// @param outputs decay_window's
DecayFit fit_decay(std::span<const double> l, double floor, Index n = 0,
                   std::optional<DecayWindow> window = {}, Index trusted = every_rank, Index outputs = 1);

/// A value with its 95 % interval; bounds that are NaN where it is not known.
struct Interval {
    double value, low, high;
    bool known() const { return low == low && high == high; }
};

/// "[1.200, 1.512]", or "(interval not known)", with so many digits behind the point.
std::string bounds_text(const Interval& interval, int digits);

struct PolynomialIntervals {
    Interval exponent, constant, density_exponent;
};

/// What stands for a decay that was not fitted: every value is possible.
inline constexpr PolynomialIntervals unknown_polynomial{
    {0, 0, std::numeric_limits<double>::infinity()},
    {0, 0, std::numeric_limits<double>::infinity()},
    {std::numeric_limits<double>::infinity(), 1, std::numeric_limits<double>::infinity()}};

/// Half-width [(t se)^2 + 1.96^2 (a(last) - a(last/2))^2]^(1/2), the second term the drift of the exponent
/// between the whole window and its first half, t Student's quantile for the replicas (2.78 for five). se:
/// standard deviation of the exponent over principal sub-matrices of half the examples; subsets of m of n
/// without replacement vary by (1/m - 1/n), which for m = n/2 is the variance 1/n of the whole [derived:
/// delete-half jackknife]. Simulated with Gaussian features, n = 240 and 400, a = 1.5, 2, 3, the root mean
/// square of se is 0.92 to 1.01 (+- 0.04) of the spread over fresh samples, and the interval covers in 94 to
/// 98 %. A plain fit's bias it does not hold. With an onset the first half keeps the window's onset. The
/// constant's interval is made in the same way for its logarithm.
/// @param replicas  fits of the sub-matrices; fewer than two show no spread, and the bounds are NaN
PolynomialIntervals polynomial_intervals(std::span<const double> l, Index n, DecayWindow window,
                                         const PolynomialDecay& fit,
                                         std::span<const PolynomialDecay> replicas);

/// As PolynomialIntervals where a family was fitted, {0, 0, infinity} where it was not.
struct DecayIntervals {
    PolynomialIntervals polynomial;
    Interval exponential_constant, exponential_rate, exponential_power;
    Interval rank;
    std::string none;  ///< why bounds of a family that was fitted are not known; empty where all are
};

/// 95 % intervals, made as polynomial_intervals makes them: those of the exponential's constant and rate for
/// their logarithms, that of its power not below 1/2. The rank's drift is what a hundred floors would leave
/// of it in place of ten.
/// @param floor, n  as given to fit_decay
/// @param replicas  fit_decay of principal sub-matrices of half the examples in fit.window; of each family
/// those count that were fitted
DecayIntervals decay_intervals(std::span<const double> l, double floor, Index n, const DecayFit& fit,
                               std::span<const DecayFit> replicas);

/// Exponent x of the rate n^-x that a polynomial decay gives, a/(a+1); none where a <= 1
/// (docs/mathematics.md, Rates in n).
std::optional<double> rate_exponent(double decay_exponent);

}  // namespace tangram
