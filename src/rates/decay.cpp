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

/// (pi/a) cot(pi/a)
double bias_coefficient(double exponent) {
    const double x = std::numbers::pi / exponent;
    return x / std::tan(x);
}

}  // namespace

DecayWindow decay_window(std::span<const double> l, double floor, Index n) {
    double left = 0;
    for (const double value : l) {
        if (!std::isfinite(value))
            throw Error(ExitStatus::numerical, "an eigenvalue is not finite; look at the kernel");
        left += std::max(value, 0.0);
    }
    DecayWindow window{1, std::min((n > 0 ? n : std::ssize(l)) / 20, std::ssize(l))};
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

std::string no_decay_reason(std::span<const double> l, double floor, DecayWindow window, Index n) {
    if (window.size() >= smallest_window) return {};
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
    if (window.size() < smallest_window || window.first < 1 || window.last > std::ssize(l))
        throw Error(ExitStatus::numerical, "too few eigenvalues above the noise for a fit of their decay");
    std::vector<double> x, y;
    for (Index k = window.first; k <= window.last; ++k) {
        const double value = l[static_cast<std::size_t>(k - 1)];
        if (!(value > 0) || !std::isfinite(value))
            throw Error(ExitStatus::numerical, "the decay is fitted to positive eigenvalues only");
        x.push_back(std::log(static_cast<double>(k)));
        y.push_back(std::log(value));
    }
    const auto m = static_cast<double>(x.size());
    const auto finished = [&](const Line& line, bool corrected) {
        // Exact input leaves rounding alone; its logarithm must stay finite.
        const double rest = std::max(line.residual / m, 1e-300);
        return PolynomialDecay{-line.slope, std::exp(line.intercept), m * std::log(rest) + 2 * std::log(m),
                               corrected};
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

PolynomialIntervals polynomial_intervals(std::span<const double> l, Index n, DecayWindow window,
                                         const PolynomialDecay& fit,
                                         std::span<const PolynomialDecay> replicas) {
    const auto deviation = [&](auto value_of) {
        if (replicas.size() < 2) return 0.0;
        const auto count = static_cast<double>(replicas.size());
        double mean = 0, squares = 0;
        for (const PolynomialDecay& replica : replicas) mean += value_of(replica) / count;
        for (const PolynomialDecay& replica : replicas) squares += std::pow(value_of(replica) - mean, 2);
        return std::sqrt(squares / (count - 1));
    };
    PolynomialDecay half = fit;
    const DecayWindow first_half{window.first, std::max(window.last / 2, window.first + smallest_window - 1)};
    if (first_half.last < window.last) half = fit_polynomial(l, n, first_half);
    const auto width = [&](auto value_of) {
        return 1.96 * std::hypot(deviation(value_of), value_of(fit) - value_of(half));
    };
    const double a = width([](const PolynomialDecay& p) { return p.exponent; });
    const double c = width([](const PolynomialDecay& p) { return std::log(p.constant); });
    PolynomialIntervals result;
    result.exponent = {fit.exponent, fit.exponent - a, fit.exponent + a};
    result.constant = {fit.constant, fit.constant * std::exp(-c), fit.constant * std::exp(c)};
    // 1 + 1/a falls with a; an interval of a that reaches zero leaves it open above.
    const auto density = [](double exponent) { return exponent > 0 ? 1 + 1 / exponent : INFINITY; };
    result.density_exponent = {fit.density_exponent(), density(result.exponent.high),
                               density(result.exponent.low)};
    return result;
}

std::optional<double> rate_exponent(double decay_exponent) {
    if (!(decay_exponent > 1)) return std::nullopt;
    return decay_exponent / (decay_exponent + 1);
}

}  // namespace tangram
