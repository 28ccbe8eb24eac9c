#include "tangram/rates/decay.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <numeric>
#include <vector>

#include "least.hpp"
#include "tangram/error.hpp"
#include "tangram/not_known.hpp"
#include "tangram/rates/sample_bias.hpp"
#include "tangram/rates/student.hpp"

namespace tangram {

namespace {

struct Line {
    double intercept, slope, residual;  ///< residual: sum of squares
};

/// Least squares of y on x.
Line fit_line(const std::vector<double>& x, const std::vector<double>& y) {
    const auto m = static_cast<double>(x.size());
    const double mean_x = std::accumulate(x.begin(), x.end(), 0.0) / m,
                 mean_y = std::accumulate(y.begin(), y.end(), 0.0) / m;
    double xx = 0, xy = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        xx += (x[i] - mean_x) * (x[i] - mean_x);
        xy += (x[i] - mean_x) * (y[i] - mean_y);
    }
    Line line{0, xy / xx, 0};
    line.intercept = mean_y - line.slope * mean_x;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double r = y[i] - line.intercept - line.slope * x[i];
        line.residual += r * r;
    }
    return line;
}

std::vector<double> residuals_of(const Line& line, const std::vector<double>& x,
                                 const std::vector<double>& y) {
    std::vector<double> residuals;
    for (std::size_t i = 0; i < x.size(); ++i) residuals.push_back(y[i] - line.intercept - line.slope * x[i]);
    return residuals;
}

/// Smallest and largest power of an exponential decay.
constexpr double smallest_power = 0.5, largest_power = 4;

/// Logarithms of the eigenvalues in the window.
std::vector<double> logarithms(std::span<const double> l, DecayWindow window) {
    if (window.size() < smallest_window || window.first < 1 || window.last > std::ssize(l))
        throw Error(ExitStatus::numerical, ErrorKind::too_few,
                    "too few eigenvalues above the noise for a fit of their decay");
    std::vector<double> y;
    for (Index k = window.first; k <= window.last; ++k) {
        const double value = l[static_cast<std::size_t>(k - 1)];
        if (!(value > 0) || !std::isfinite(value))
            throw Error(ExitStatus::numerical, ErrorKind::out_of_range,
                        "the decay is fitted to positive eigenvalues only");
        y.push_back(std::log(value));
    }
    return y;
}

/// The floor, or the rounding of l_1 where that is larger: a floor of zero has no logarithm.
double resolved_floor(std::span<const double> l, double floor) {
    return l.empty() ? floor : std::max(floor, 0x1p-52 * l.front());
}

/// Bayesian information criterion of `parameters` that leave the sum of squares `residual` at `ranks`.
double information_criterion(double residual, Index ranks, int parameters) {
    const auto count = static_cast<double>(ranks);
    // Exact input leaves rounding alone, which tells no law from another and may be zero.
    return count * std::log(std::max(residual / count, 1e-20)) + parameters * std::log(count);
}

/// A law and the sum of squares that it leaves; at(k) is the logarithm of the law.
struct FittedPolynomial {
    PolynomialDecay law;
    double residual;
    std::vector<double> residuals;  ///< of each rank
    double at(double k) const { return std::log(law.constant) - law.exponent * std::log(k + law.onset); }
};
struct FittedExponential {
    ExponentialDecay law;
    double residual;
    std::vector<double> residuals;  ///< of each rank
    double at(double k) const { return std::log(law.constant) - law.rate * std::pow(k, law.power); }
};

/// Ranks at which the bias of a window is found: every one of the first, then 20 for a factor of e.
std::vector<Index> ranks_of_bias(DecayWindow window, Index near) {
    std::vector<Index> ranks;
    for (Index k = 1; k <= near; k = std::max(k + 1, static_cast<Index>(static_cast<double>(k) * 1.05)))
        if (k == 1 || k >= window.first - 1) ranks.push_back(k);
    return ranks;
}

/// Sum of the population's eigenvalues past the window; nothing where not all n of the sample are known. A
/// sample keeps the trace of its kernel, and gives 1/n of what lies behind a rank to that rank.
std::optional<double> sum_behind(std::span<const double> l, Index n, DecayWindow window) {
    if (std::ssize(l) < n || window.last >= n) return std::nullopt;
    double sum = 0;
    for (std::size_t j = static_cast<std::size_t>(window.last); j < l.size(); ++j) sum += std::max(l[j], 0.0);
    return sum / (1 - static_cast<double>(window.last) / static_cast<double>(n));
}

/// log(l_k / lam_k) for the ranks of the window under a law; empty where it cannot be told.
std::vector<double> bias_of(const std::function<double(double)>& log_law, std::span<const double> l, Index n,
                            DecayWindow window) {
    const Population population = population_of(log_law, l.first(static_cast<std::size_t>(window.first - 1)),
                                                window.last, sum_behind(l, n, window), n);
    if (population.values.empty()) return {};
    const std::vector<Index> ranks = ranks_of_bias(window, window.last + std::max<Index>(3, window.last / 4));
    std::vector<RankBias> found = sample_bias(population, n, ranks);
    if (found.empty()) return {};
    // At a spike the level is the mean of its eigenvalue: a rank of its own, by what rank 1 lacks of it.
    const double offset = found.front().rank - 1;
    std::vector<double> x, y;
    for (std::size_t i = 0; i < found.size(); ++i) {
        if (ranks[i] < window.first) continue;
        const double rank = found[i].rank - offset;
        if (!(rank > 0)) return {};
        x.push_back(rank);
        // Of the level at `rank`, against the law there.
        y.push_back(found[i].bias + log_law(static_cast<double>(ranks[i])) - log_law(rank));
    }
    std::vector<double> bias;
    std::size_t i = 0;
    for (Index k = window.first; k <= window.last; ++k) {
        const auto rank = static_cast<double>(k);
        while (i + 2 < x.size() && x[i + 1] < rank) ++i;
        const double share = std::clamp((rank - x[i]) / (x[i + 1] - x[i]), 0.0, 1.0);
        bias.push_back(y[i] + share * (y[i + 1] - y[i]));
    }
    return bias;
}

/// A law fitted with the sample's bias divided out.
template <class Fitted>
struct Corrected {
    Fitted fit;
    bool corrected;  ///< false: the plain fit, where the bias cannot be told
};

/// Refits with the bias of the fit before divided out, until it stays.
/// @param refit      logarithms of the eigenvalues in the window -> a fit with at(k)
/// @param tolerance  of the logarithm at the window's ends
template <class Refit>
auto without_bias(std::span<const double> l, Index n, DecayWindow window, Refit&& refit, double tolerance)
    -> Corrected<decltype(refit(std::vector<double>{}))> {
    const std::vector<double> y = logarithms(l, window);
    const auto plain = refit(y);
    auto fit = plain;
    const auto first = static_cast<double>(window.first), last = static_cast<double>(window.last);
    for (int round = 0; round < 100; ++round) {
        const std::vector<double> bias = bias_of([&](double k) { return fit.at(k); }, l, n, window);
        if (bias.empty()) break;
        std::vector<double> corrected = y;
        for (std::size_t i = 0; i < y.size(); ++i) corrected[i] -= bias[i];
        const auto next = refit(corrected);
        const double change =
            std::max(std::abs(next.at(first) - fit.at(first)), std::abs(next.at(last) - fit.at(last)));
        fit = next;
        if (!std::isfinite(change)) break;
        if (change <= tolerance) return {fit, true};
    }
    return {plain, false};
}

/// Least squares on log(rank + onset).
FittedPolynomial line_of_onset(const std::vector<double>& y, DecayWindow window, double onset) {
    std::vector<double> x;
    for (Index k = window.first; k <= window.last; ++k) x.push_back(std::log(static_cast<double>(k) + onset));
    const Line line = fit_line(x, y);
    return {
        {-line.slope, std::exp(line.intercept), 0, false, onset}, line.residual, residuals_of(line, x, y)};
}

FittedPolynomial finished(const Corrected<FittedPolynomial>& found, DecayWindow window, int parameters) {
    FittedPolynomial result = found.fit;
    result.law.corrected = found.corrected;
    result.law.criterion = information_criterion(result.residual, window.size(), parameters);
    return result;
}

FittedPolynomial fitted_polynomial(std::span<const double> l, Index n, DecayWindow window) {
    return finished(
        without_bias(
            l, n, window, [&](const std::vector<double>& y) { return line_of_onset(y, window, 0); }, 1e-9),
        window, 2);
}

/// The onset from 0 to latest_onset().
FittedPolynomial fitted_onset(std::span<const double> l, Index n, DecayWindow window) {
    const double most = std::log1p(latest_onset(window));
    const auto refit = [&](const std::vector<double>& y) {
        const double found = argument_of_least(0, most, 24, 40, [&](double logarithm) {
            return line_of_onset(y, window, std::expm1(logarithm)).residual;
        });
        return line_of_onset(y, window, std::expm1(found));
    };
    return finished(without_bias(l, n, window, refit, 1e-5), window, 3);
}

/// A line in rank^power.
struct PowerLine {
    Line line;
    double power;
};

/// Least squares of y on rank^power, the power from `low` to `high`.
PowerLine fit_power(const std::vector<double>& y, DecayWindow window, double low, double high) {
    std::vector<double> x(y.size());
    const auto line_of = [&](double power) {
        for (std::size_t i = 0; i < y.size(); ++i)
            x[i] = std::pow(static_cast<double>(window.first) + static_cast<double>(i), power);
        return fit_line(x, y);
    };
    // A grid finds the valley, golden sections its bottom.
    constexpr int steps = 14;
    const double ratio = std::pow(high / low, 1.0 / steps);
    double best = low, least = line_of(low).residual;
    for (int i = 1; i <= steps; ++i) {
        const double power = low * std::pow(ratio, i), residual = line_of(power).residual;
        if (residual < least) best = power, least = residual;
    }
    double left = std::max(low, best / ratio), right = std::min(high, best * ratio);
    const double golden = std::numbers::phi - 1;
    double a = right - golden * (right - left), b = left + golden * (right - left);
    double at_a = line_of(a).residual, at_b = line_of(b).residual;
    while (right - left > 1e-7) {
        if (at_a <= at_b) {
            right = b, b = a, at_b = at_a;
            a = right - golden * (right - left), at_a = line_of(a).residual;
        } else {
            left = a, a = b, at_a = at_b;
            b = left + golden * (right - left), at_b = line_of(b).residual;
        }
    }
    // The smallest power is the likely end of the search and must be met exactly.
    const double middle = (left + right) / 2;
    const double power = line_of(low).residual <= line_of(middle).residual ? low : middle;
    return {line_of(power), power};
}

FittedExponential fitted_exponential(std::span<const double> l, Index n, DecayWindow window) {
    const auto refit = [&](const std::vector<double>& y) {
        const PowerLine fit = fit_power(y, window, smallest_power, largest_power);
        std::vector<double> x;
        for (Index k = window.first; k <= window.last; ++k)
            x.push_back(std::pow(static_cast<double>(k), fit.power));
        return FittedExponential{{std::exp(fit.line.intercept), -fit.line.slope, fit.power, 0},
                                 fit.line.residual,
                                 residuals_of(fit.line, x, y)};
    };
    FittedExponential result = without_bias(l, n, window, refit, 1e-5).fit;
    result.law.criterion = information_criterion(result.residual, window.size(), 3);
    return result;
}

/// What a law adds to its sum of squares at the first rank below ten times the floor. The eigenvalue there is
/// noise, so that only its bound is known; a law that leads within a decade of the bound does not contradict
/// it, else the logarithm of the excess is its residual.
template <class Fitted>
double charge(const Fitted& fitted, Index rank, double floor) {
    const double excess = std::max(0.0, fitted.at(static_cast<double>(rank)) - std::log(100 * floor));
    return excess * excess;
}

/// Half-width [(t se)^2 + (1.96 drift)^2]^(1/2) of value_of(fit), see polynomial_intervals; NaN with fewer
/// than two replicas.
template <class Law, class ValueOf>
double half_width(const Law& fit, const Law& half, std::span<const Law> replicas, ValueOf value_of) {
    if (replicas.size() < 2) return not_known;
    const auto count = static_cast<double>(replicas.size());
    double mean = 0, squares = 0;
    for (const Law& replica : replicas) mean += value_of(replica) / count;
    for (const Law& replica : replicas) squares += std::pow(value_of(replica) - mean, 2);
    const double spread = student_quantile(std::ssize(replicas) - 1) * std::sqrt(squares / (count - 1));
    return std::hypot(spread, 1.96 * (value_of(fit) - value_of(half)));
}

/// Of a value that lies at `least` or above.
Interval from_least(double least, double value, double width) {
    return {value, std::isnan(width) ? width : std::max(least, value - width), value + width};
}

/// What the laws leave of a window.
struct Fits {
    FittedPolynomial polynomial;
    std::optional<FittedPolynomial> shifted;
    FittedExponential exponential;
};
Fits fits_of(std::span<const double> l, Index n, DecayWindow window) {
    Fits fits{fitted_polynomial(l, n, window), {}, fitted_exponential(l, n, window)};
    if (window.size() >= smallest_window_of_three) fits.shifted = fitted_onset(l, n, window);
    return fits;
}

/// The criteria of the laws over all ranks above the floor, and the rank that cuts them. Parameters stay
/// those of the window; extrapolated to rank m they would miss it by their own error.
FiniteRankDecay judge_to_the_floor(DecayFit& fit, std::span<const double> l, Index n, Index rank,
                                   double floor) {
    const DecayWindow all{fit.window.first, rank};
    const Fits found = fits_of(l, n, all);
    const Index ranks = all.size() + 1;
    double least = std::numeric_limits<double>::infinity();
    const auto judged = [&](const auto& fitted, int parameters) {
        least = std::min(least, information_criterion(fitted.residual, ranks, parameters + 1));
        return information_criterion(fitted.residual + charge(fitted, rank + 1, floor), ranks, parameters);
    };
    fit.polynomial->criterion = judged(found.polynomial, 2);
    fit.exponential->criterion = judged(found.exponential, 3);
    if (fit.shifted) fit.shifted->criterion = judged(*found.shifted, 3);
    return {rank, least};
}

/// Neighbouring residuals are alike; see fit_decay.
bool shows_trend(std::span<const double> residuals) {
    const auto m = static_cast<double>(residuals.size());
    double squares = 0, differences = 0;
    for (std::size_t i = 0; i < residuals.size(); ++i) {
        squares += residuals[i] * residuals[i];
        if (i > 0) differences += std::pow(residuals[i] - residuals[i - 1], 2);
    }
    return std::sqrt(squares / m) > 0.03 && differences < (1.6 - 4 / std::sqrt(m)) * squares;
}

/// "rank^-1.02 over ranks 1 to 10, rank^-2.95 over 10 to 50": of a law and what it leaves.
template <class Fitted>
std::string local_slopes(const Fitted& fitted, DecayWindow window) {
    std::string text;
    Index begin = window.first;
    for (Index decade = 1; begin < window.last; decade *= 10) {
        Index end = std::min(window.last, 10 * decade);
        if (end <= begin + 1) continue;
        if (window.last - end < 3) end = window.last;
        std::vector<double> x, y;
        for (Index k = begin; k <= end; ++k) {
            const auto rank = static_cast<double>(k);
            x.push_back(std::log(rank));
            y.push_back(fitted.at(rank) + fitted.residuals[static_cast<std::size_t>(k - window.first)]);
        }
        text += fmt::format("{}rank^{:.3g} over ranks {} to {}", begin > window.first ? ", " : "",
                            fit_line(x, y).slope, begin, end);
        begin = end;
    }
    return text;
}

void select_family(DecayFit& fit, const Fits& fits) {
    const bool with_onset = fit.power_law().onset > 0, three = fit.window.size() >= smallest_window_of_three;
    const FittedPolynomial& polynomial = with_onset ? *fits.shifted : fits.polynomial;
    fit.selected = DecayFamily::polynomial;
    double least = fit.power_law().criterion;
    // An exponential says that the error falls like 1/n: against an onset, which may look the same in a
    // window, that takes strong evidence.
    const double margin = with_onset ? strong_evidence : 0;
    if (three && fit.exponential->criterion < least - margin) {
        fit.selected = DecayFamily::exponential;
        least = fit.exponential->criterion;
    }
    if (fit.finite_rank && fit.finite_rank->criterion < least) {
        fit.selected = DecayFamily::finite_rank;
        return;
    }
    const bool exponential = fit.selected == DecayFamily::exponential;
    // Of the first rank, which may lie apart from all others, not their trend.
    const std::span<const double> left = exponential ? fits.exponential.residuals : polynomial.residuals;
    if (std::ssize(left) < smallest_window_of_three) return;
    if (!shows_trend(left) && !shows_trend(left.subspan(1))) return;
    fit.reason =
        std::string("no single law fits: around the nearest, ") +
        (exponential  ? "an exponential"
         : with_onset ? "a polynomial with an onset"
                      : "a polynomial") +
        ", the eigenvalues bend; piece by piece they fall like " +
        (exponential ? local_slopes(fits.exponential, fit.window) : local_slopes(polynomial, fit.window));
    fit.selected = DecayFamily::none;
}

/// Why a window that was given allows no fit.
std::string too_little_left(DecayWindow given, DecayWindow left, double floor) {
    return fmt::format(
        "of the ranks {} to {} that were given {} can be fitted, a fit takes {}: the others are not above "
        "ten "
        "times the noise floor {:g} or beyond what a sketch shows",
        given.first, given.last, left.size(), smallest_window, floor);
}

/// The window's first half, though never shorter than a fit needs.
DecayWindow first_half(DecayWindow window) {
    return {window.first,
            std::min(window.last, std::max(window.last / 2, window.first + smallest_window - 1))};
}

}  // namespace

DecayWindow decay_window(std::span<const double> l, double floor, Index n, Index trusted, Index outputs) {
    double left = 0;
    for (const double value : l) {
        if (!std::isfinite(value))
            throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                        "an eigenvalue is not finite; look at the kernel");
        left += std::max(value, 0.0);
    }
    DecayWindow window{1, std::min({(n > 0 ? n : std::ssize(l)) / 20, std::ssize(l), trusted})};
    for (int times = 0; times < 2 && window.first + outputs <= std::ssize(l) + 1; ++times) {
        const auto begin = l.begin() + (window.first - 1);
        const double leading = std::accumulate(begin, begin + outputs, 0.0);
        if (!(leading > 0.5 * left)) break;
        left -= leading;
        window.first += outputs;
    }
    return above_floor(l, floor, window);
}

DecayWindow above_floor(std::span<const double> l, double floor, DecayWindow window, Index trusted) {
    window.last = std::min(window.last, trusted);
    while (window.last > 0 && !(l[static_cast<std::size_t>(window.last - 1)] > 10 * floor &&
                                l[static_cast<std::size_t>(window.last - 1)] > 0))
        --window.last;
    return window;
}

std::string no_decay_reason(std::span<const double> l, double floor, DecayWindow window, Index n,
                            Index trusted) {
    if (window.size() >= smallest_window) return {};
    if (const Index first_fitted = window.first + smallest_window - 1; trusted < first_fitted)
        return "the sketch is too small: it shows ranks up to a tenth of its dimension, " +
               std::to_string(trusted) + ", and a fit takes " + std::to_string(smallest_window) +
               " from rank " + std::to_string(window.first) + " on; take a larger kernel.sketch";
    const Index rows = n > 0 ? n : std::ssize(l), needed = 20 * (window.first + smallest_window - 1);
    if (rows < needed)
        return "the " + std::to_string(rows) + " rows are too few: a fit takes " +
               std::to_string(smallest_window) + " ranks from rank " + std::to_string(window.first) +
               " up to n/20, at least " + std::to_string(needed) + " rows";
    if (window.last >= std::ssize(l))
        return "only " + std::to_string(std::ssize(l)) + " eigenvalues are known; a fit takes " +
               std::to_string(smallest_window) + " from rank " + std::to_string(window.first) + " on";
    return fmt::format(
        "only {} eigenvalues from rank {} up to n/20 = {} lie above ten times the noise floor {:g}; a fit "
        "takes "
        "{}",
        window.size(), window.first, rows / 20, floor, smallest_window);
}

PolynomialDecay fit_polynomial(std::span<const double> l, Index n, DecayWindow window) {
    return fitted_polynomial(l, n, window).law;
}

ExponentialDecay fit_exponential(std::span<const double> l, Index n, DecayWindow window) {
    return fitted_exponential(l, n, window).law;
}

const char* name(DecayFamily family) {
    switch (family) {
        case DecayFamily::polynomial:
            return "polynomial";
        case DecayFamily::exponential:
            return "exponential";
        case DecayFamily::finite_rank:
            return "finite_rank";
        case DecayFamily::none:
            break;
    }
    return "none";
}

DecayFit fit_decay(std::span<const double> l, double floor, Index n, std::optional<DecayWindow> window,
                   Index trusted, Index outputs) {
    if (n <= 0) n = std::ssize(l);
    floor = resolved_floor(l, floor);
    const DecayWindow own =
        decay_window(l, floor, n, trusted, outputs);  // throws where an eigenvalue is not finite
    const auto above = std::find_if(l.begin(), l.end(), [&](double v) { return !(v > 10 * floor && v > 0); });
    const auto rank = static_cast<Index>(above - l.begin());
    DecayFit fit{DecayFamily::none, {}, window.value_or(own), {}, {}, {}, {}};
    fit.window.last = std::min({fit.window.last, rank, trusted});
    const bool floor_reached = rank >= 1 && rank < std::min(std::ssize(l), n / 2) && rank <= trusted;

    if (fit.window.size() < smallest_window) {
        if (floor_reached) {
            // The level and the rank are the parameters.
            double mean = 0, residual = 0;
            for (Index k = 0; k < rank; ++k)
                mean += std::log(l[static_cast<std::size_t>(k)]) / static_cast<double>(rank);
            for (Index k = 0; k < rank; ++k)
                residual += std::pow(std::log(l[static_cast<std::size_t>(k)]) - mean, 2);
            fit.finite_rank = FiniteRankDecay{rank, information_criterion(residual, rank + 1, 2)};
            const double last = l[static_cast<std::size_t>(rank - 1)];
            if (last / l.front() * last > 100 * floor) fit.selected = DecayFamily::finite_rank;
        }
        if (fit.selected == DecayFamily::none)
            fit.reason = window ? too_little_left(*window, fit.window, floor)
                                : no_decay_reason(l, floor, fit.window, n, trusted);
        return fit;
    }

    const Fits in_window = fits_of(l, n, fit.window);
    fit.polynomial = in_window.polynomial.law;
    fit.exponential = in_window.exponential.law;
    if (in_window.shifted) fit.shifted = in_window.shifted->law;
    if (floor_reached) fit.finite_rank = judge_to_the_floor(fit, l, n, rank, floor);
    select_family(fit, in_window);
    return fit;
}

PolynomialIntervals polynomial_intervals(std::span<const double> l, Index n, DecayWindow window,
                                         const PolynomialDecay& fit,
                                         std::span<const PolynomialDecay> replicas) {
    const DecayWindow start = first_half(window);
    const auto at_onset = [&](const std::vector<double>& y) { return line_of_onset(y, start, fit.onset); };
    const PolynomialDecay half =
        start.last < window.last ? without_bias(l, n, start, at_onset, 1e-9).fit.law : fit;
    const double a = half_width(fit, half, replicas, [](const PolynomialDecay& p) { return p.exponent; });
    const double c =
        half_width(fit, half, replicas, [](const PolynomialDecay& p) { return std::log(p.constant); });
    PolynomialIntervals result;
    result.exponent = {fit.exponent, fit.exponent - a, fit.exponent + a};
    result.constant = {fit.constant, fit.constant * std::exp(-c), fit.constant * std::exp(c)};
    // 1 + 1/a falls with a; an interval of a that reaches zero leaves it open above.
    const auto density = [](double exponent) {
        return std::isnan(exponent) || exponent > 0 ? 1 + 1 / exponent : INFINITY;
    };
    result.density_exponent = {fit.density_exponent(), density(result.exponent.high),
                               density(result.exponent.low)};
    return result;
}

DecayIntervals decay_intervals(std::span<const double> l, double floor, Index n, const DecayFit& fit,
                               std::span<const DecayFit> replicas) {
    constexpr Interval unknown{0, 0, std::numeric_limits<double>::infinity()};
    DecayIntervals result{unknown_polynomial, unknown, unknown, unknown, unknown, {}};
    if (n <= 0) n = std::ssize(l);
    std::vector<PolynomialDecay> polynomials;
    std::vector<ExponentialDecay> exponentials;
    std::vector<FiniteRankDecay> ranks;
    const bool with_onset = fit.polynomial && fit.power_law().onset > 0;
    for (const DecayFit& replica : replicas) {
        if (const auto& own = with_onset ? replica.shifted : replica.polynomial) polynomials.push_back(*own);
        if (replica.exponential) exponentials.push_back(*replica.exponential);
        if (replica.finite_rank) ranks.push_back(*replica.finite_rank);
    }
    if (fit.polynomial)
        result.polynomial = polynomial_intervals(l, n, fit.window, fit.power_law(), polynomials);
    if (fit.exponential) {
        const ExponentialDecay& law = *fit.exponential;
        const DecayWindow start = first_half(fit.window);
        const ExponentialDecay half = start.last < fit.window.last ? fit_exponential(l, n, start) : law;
        const auto width = [&](auto value_of) {
            return half_width(law, half, std::span<const ExponentialDecay>(exponentials), value_of);
        };
        const double c = width([](const ExponentialDecay& e) { return std::log(e.constant); });
        // A flat spectrum has no rate; its logarithm must stay finite.
        const double b = width([](const ExponentialDecay& e) { return std::log(std::max(e.rate, 1e-300)); });
        const double g = width([](const ExponentialDecay& e) { return e.power; });
        result.exponential_constant = {law.constant, law.constant * std::exp(-c), law.constant * std::exp(c)};
        if (law.rate > 0)
            result.exponential_rate = {law.rate, law.rate * std::exp(-b), law.rate * std::exp(b)};
        result.exponential_power = from_least(smallest_power, law.power, g);
    }
    if (fit.finite_rank) {
        const FiniteRankDecay& found = *fit.finite_rank;
        const double hundred_floors = 100 * resolved_floor(l, floor);
        FiniteRankDecay clear = found;
        while (clear.rank > 0 && !(l[static_cast<std::size_t>(clear.rank - 1)] > hundred_floors))
            --clear.rank;
        const double width = half_width(found, clear, std::span<const FiniteRankDecay>(ranks),
                                        [](const FiniteRankDecay& f) { return static_cast<double>(f.rank); });
        result.rank = from_least(0, static_cast<double>(found.rank), width);
    }
    if (!result.polynomial.exponent.known() || !result.exponential_rate.known() || !result.rank.known())
        result.none = "fewer than two halves of the sample show how it spreads";
    return result;
}

std::string bounds_text(const Interval& interval, int digits) {
    if (!interval.known()) return "(interval not known)";
    return fmt::format("[{:.{}f}, {:.{}f}]", interval.low, digits, interval.high, digits);
}

std::optional<double> rate_exponent(double decay_exponent) {
    if (!(decay_exponent > 1)) return std::nullopt;
    return decay_exponent / (decay_exponent + 1);
}

}  // namespace tangram
