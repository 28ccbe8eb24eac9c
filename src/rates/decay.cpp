#include "tangram/rates/decay.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <sstream>
#include <vector>

#include "tangram/error.hpp"

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
    double at(Index k) const {
        return std::log(law.constant) - law.exponent * std::log(static_cast<double>(k));
    }
};
struct FittedExponential {
    ExponentialDecay law;
    double residual;
    double at(Index k) const {
        return std::log(law.constant) - law.rate * std::pow(static_cast<double>(k), law.power);
    }
};

/// (pi/a) cot(pi/a)
double bias_coefficient(double exponent) {
    const double x = std::numbers::pi / exponent;
    return x / std::tan(x);
}

FittedPolynomial fitted_polynomial(std::span<const double> l, Index n, DecayWindow window) {
    const std::vector<double> y = logarithms(l, window);
    std::vector<double> x;
    for (Index k = window.first; k <= window.last; ++k) x.push_back(std::log(static_cast<double>(k)));
    const auto finished = [&](const Line& line, bool corrected) {
        return FittedPolynomial{{-line.slope, std::exp(line.intercept),
                                 information_criterion(line.residual, window.size(), 2), corrected},
                                line.residual};
    };
    const Line plain = fit_line(x, y);
    Line line = plain;
    for (int round = 0; round < 100; ++round) {
        if (!(-line.slope > 1)) return finished(plain, false);
        const double coefficient = bias_coefficient(-line.slope);
        const double largest =
            std::abs(coefficient) * static_cast<double>(window.last) / static_cast<double>(n);
        if (!(largest <= 0.5)) return finished(plain, false);
        std::vector<double> corrected = y;
        for (std::size_t i = 0; i < y.size(); ++i) {
            const double k = static_cast<double>(window.first) + static_cast<double>(i);
            corrected[i] -= std::log1p(-coefficient * k / static_cast<double>(n));
        }
        const Line next = fit_line(x, corrected);
        const bool converged = std::abs(next.slope - line.slope) <= 1e-12;
        line = next;
        if (converged) return finished(line, true);
    }
    return finished(plain, false);
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

/// log(1 + bias) of the ranks of the window under exp(-rate k^power), see fit_exponential; empty where the
/// bias is not small.
std::vector<double> exponential_bias(double rate, double power, DecayWindow window, Index n) {
    // Modes beyond exp(-30) of the last eigenvalue add less than 1e-12 each. A law so flat that it has a
    // million before them is none of an exponential decay, and n alone, which the user gives, bounds neither
    // time nor memory.
    constexpr double most_modes = 1e6;
    const double end = std::pow(std::pow(static_cast<double>(window.last), power) + 30 / rate, 1 / power);
    if (!(end <= std::min(20 * static_cast<double>(n), most_modes))) return {};
    std::vector<double> modes;
    for (Index j = 1; static_cast<double>(j) <= end; ++j)
        modes.push_back(std::exp(-rate * std::pow(static_cast<double>(j), power)));
    std::vector<double> bias;
    for (Index k = window.first; k <= window.last; ++k) {
        const auto own = static_cast<std::size_t>(k - 1);
        double sum = 0;
        for (std::size_t j = 0; j < modes.size(); ++j)
            if (j != own) sum += modes[j] / (modes[own] - modes[j]);
        sum /= static_cast<double>(n);
        if (!(std::abs(sum) <= 0.5)) return {};
        bias.push_back(std::log1p(sum));
    }
    return bias;
}

FittedExponential fitted_exponential(std::span<const double> l, Index n, DecayWindow window) {
    const std::vector<double> y = logarithms(l, window);
    const auto finished = [&](const PowerLine& fit) {
        return FittedExponential{{std::exp(fit.line.intercept), -fit.line.slope, fit.power,
                                  information_criterion(fit.line.residual, window.size(), 3)},
                                 fit.line.residual};
    };
    const PowerLine plain = fit_power(y, window, smallest_power, largest_power);
    PowerLine fit = plain;
    for (int round = 0; round < 30; ++round) {
        const std::vector<double> bias = exponential_bias(-fit.line.slope, fit.power, window, n);
        if (bias.empty()) return finished(plain);
        std::vector<double> corrected = y;
        for (std::size_t i = 0; i < y.size(); ++i) corrected[i] -= bias[i];
        // The power moves little from round to round; a search near it is cheap.
        const PowerLine next = fit_power(corrected, window, std::max(smallest_power, fit.power / 1.5),
                                         std::min(largest_power, fit.power * 1.5));
        const bool converged = std::abs(next.power - fit.power) <= 1e-6;
        fit = next;
        if (converged) return finished(fit);
    }
    return finished(plain);
}

/// What a law adds to its sum of squares at the first rank below ten times the floor. The eigenvalue there is
/// noise, so that only its bound is known; a law that leads within a decade of the bound does not contradict
/// it, else the logarithm of the excess is its residual.
template <class Fitted>
double charge(const Fitted& fitted, Index rank, double floor) {
    const double excess = std::max(0.0, fitted.at(rank) - std::log(100 * floor));
    return excess * excess;
}

/// Half-width 1.96 [se^2 + drift^2]^(1/2) of value_of(fit), see polynomial_intervals.
template <class Law, class ValueOf>
double half_width(const Law& fit, const Law& half, std::span<const Law> replicas, ValueOf value_of) {
    double deviation = 0;
    if (replicas.size() >= 2) {
        const auto count = static_cast<double>(replicas.size());
        double mean = 0, squares = 0;
        for (const Law& replica : replicas) mean += value_of(replica) / count;
        for (const Law& replica : replicas) squares += std::pow(value_of(replica) - mean, 2);
        deviation = std::sqrt(squares / (count - 1));
    }
    return 1.96 * std::hypot(deviation, value_of(fit) - value_of(half));
}

/// The window's first half, though never shorter than a fit needs.
DecayWindow first_half(DecayWindow window) {
    return {window.first,
            std::min(window.last, std::max(window.last / 2, window.first + smallest_window - 1))};
}

}  // namespace

DecayWindow decay_window(std::span<const double> l, double floor, Index n, Index trusted) {
    double left = 0;
    for (const double value : l) {
        if (!std::isfinite(value))
            throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                        "an eigenvalue is not finite; look at the kernel");
        left += std::max(value, 0.0);
    }
    DecayWindow window{1, std::min({(n > 0 ? n : std::ssize(l)) / 20, std::ssize(l), trusted})};
    while (window.first <= 2 && window.first <= std::ssize(l) &&
           l[static_cast<std::size_t>(window.first - 1)] > 0.5 * left) {
        left -= l[static_cast<std::size_t>(window.first - 1)];
        ++window.first;
    }
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
    std::ostringstream text;
    text << "only " << window.size() << " eigenvalues from rank " << window.first
         << " up to n/20 = " << rows / 20 << " lie above ten times the noise floor " << floor
         << "; a fit takes " << smallest_window;
    return text.str();
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
                   Index trusted) {
    if (n <= 0) n = std::ssize(l);
    floor = resolved_floor(l, floor);
    const DecayWindow own = decay_window(l, floor, n, trusted);  // throws where an eigenvalue is not finite
    const auto above = std::find_if(l.begin(), l.end(), [&](double v) { return !(v > 10 * floor && v > 0); });
    const auto rank = static_cast<Index>(above - l.begin());
    DecayFit fit{DecayFamily::none, {}, window.value_or(own), {}, {}, {}};
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
        if (fit.selected == DecayFamily::none) fit.reason = no_decay_reason(l, floor, fit.window, n, trusted);
        return fit;
    }

    fit.polynomial = fit_polynomial(l, n, fit.window);
    fit.exponential = fit_exponential(l, n, fit.window);
    if (floor_reached) {
        // Parameters stay those of the window; extrapolated to rank m they would miss it by their own error.
        const DecayWindow all{fit.window.first, rank};
        const FittedPolynomial polynomial = fitted_polynomial(l, n, all);
        const FittedExponential exponential = fitted_exponential(l, n, all);
        const Index ranks = all.size() + 1;
        fit.polynomial->criterion =
            information_criterion(polynomial.residual + charge(polynomial, rank + 1, floor), ranks, 2);
        fit.exponential->criterion =
            information_criterion(exponential.residual + charge(exponential, rank + 1, floor), ranks, 3);
        fit.finite_rank =
            FiniteRankDecay{rank, std::min(information_criterion(polynomial.residual, ranks, 3),
                                           information_criterion(exponential.residual, ranks, 4))};
    }
    fit.selected = DecayFamily::polynomial;
    double least = fit.polynomial->criterion;
    if (fit.exponential->criterion < least) {
        fit.selected = DecayFamily::exponential;
        least = fit.exponential->criterion;
    }
    if (fit.finite_rank && fit.finite_rank->criterion < least) fit.selected = DecayFamily::finite_rank;
    return fit;
}

PolynomialIntervals polynomial_intervals(std::span<const double> l, Index n, DecayWindow window,
                                         const PolynomialDecay& fit,
                                         std::span<const PolynomialDecay> replicas) {
    const PolynomialDecay half =
        first_half(window).last < window.last ? fit_polynomial(l, n, first_half(window)) : fit;
    const double a = half_width(fit, half, replicas, [](const PolynomialDecay& p) { return p.exponent; });
    const double c =
        half_width(fit, half, replicas, [](const PolynomialDecay& p) { return std::log(p.constant); });
    PolynomialIntervals result;
    result.exponent = {fit.exponent, fit.exponent - a, fit.exponent + a};
    result.constant = {fit.constant, fit.constant * std::exp(-c), fit.constant * std::exp(c)};
    // 1 + 1/a falls with a; an interval of a that reaches zero leaves it open above.
    const auto density = [](double exponent) { return exponent > 0 ? 1 + 1 / exponent : INFINITY; };
    result.density_exponent = {fit.density_exponent(), density(result.exponent.high),
                               density(result.exponent.low)};
    return result;
}

DecayIntervals decay_intervals(std::span<const double> l, double floor, Index n, const DecayFit& fit,
                               std::span<const DecayFit> replicas) {
    constexpr Interval unknown{0, 0, std::numeric_limits<double>::infinity()};
    DecayIntervals result{unknown_polynomial, unknown, unknown, unknown, unknown};
    if (n <= 0) n = std::ssize(l);
    std::vector<PolynomialDecay> polynomials;
    std::vector<ExponentialDecay> exponentials;
    std::vector<FiniteRankDecay> ranks;
    for (const DecayFit& replica : replicas) {
        if (replica.polynomial) polynomials.push_back(*replica.polynomial);
        if (replica.exponential) exponentials.push_back(*replica.exponential);
        if (replica.finite_rank) ranks.push_back(*replica.finite_rank);
    }
    if (fit.polynomial)
        result.polynomial = polynomial_intervals(l, n, fit.window, *fit.polynomial, polynomials);
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
        result.exponential_power = {law.power, std::max(smallest_power, law.power - g), law.power + g};
    }
    if (fit.finite_rank) {
        const FiniteRankDecay& found = *fit.finite_rank;
        const double hundred_floors = 100 * resolved_floor(l, floor);
        FiniteRankDecay clear = found;
        while (clear.rank > 0 && !(l[static_cast<std::size_t>(clear.rank - 1)] > hundred_floors))
            --clear.rank;
        const auto rank = static_cast<double>(found.rank);
        const double width = half_width(found, clear, std::span<const FiniteRankDecay>(ranks),
                                        [](const FiniteRankDecay& f) { return static_cast<double>(f.rank); });
        result.rank = {rank, std::max(0.0, rank - width), rank + width};
    }
    return result;
}

std::optional<double> rate_exponent(double decay_exponent) {
    if (!(decay_exponent > 1)) return std::nullopt;
    return decay_exponent / (decay_exponent + 1);
}

}  // namespace tangram
