#include "tangram/rates/exponents.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "tangram/error.hpp"

namespace tangram {

namespace {

struct Line {
    double slope, intercept, standard_error;  ///< standard error of the slope; 0 with two points
};

Line fit_line(std::span<const double> x, std::span<const double> y) {
    const auto n = static_cast<double>(x.size());
    double mean_x = 0, mean_y = 0, xx = 0, xy = 0, rest = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        mean_x += x[i] / n;
        mean_y += y[i] / n;
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
        xx += (x[i] - mean_x) * (x[i] - mean_x);
        xy += (x[i] - mean_x) * (y[i] - mean_y);
    }
    Line line{xy / xx, 0, 0};
    line.intercept = mean_y - line.slope * mean_x;
    for (std::size_t i = 0; i < x.size(); ++i) rest += std::pow(y[i] - line.intercept - line.slope * x[i], 2);
    if (x.size() > 2) line.standard_error = std::sqrt(rest / (n - 2) / xx);
    return line;
}

}  // namespace

RateExponent unknown_rate(std::string source, std::string why) {
    const double unknown = std::numeric_limits<double>::quiet_NaN();
    return {std::move(source), {unknown, unknown, unknown}, std::move(why)};
}

std::optional<SourceCapacity> fit_source(std::span<const double> squares, double noise, double decay_exponent,
                                         double onset, DecayWindow window, std::string& why) {
    const auto n = static_cast<double>(squares.size());
    const double variance = noise * noise;
    for (const double value : squares)
        if (!std::isfinite(value))
            throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                        "a coefficient of the residual is not finite");
    // Power beyond rank k, for k = 0 .. N: signal alone, and its standard error from noise of variance
    // sigma^2.
    std::vector<double> beyond(squares.size() + 1, 0.0);
    for (std::size_t k = squares.size(); k-- > 0;) beyond[k] = beyond[k + 1] + (squares[k] - variance) / n;
    const double shift = 0.5 + onset;
    std::vector<double> x, y;
    for (Index k = window.first; k <= std::min(window.last, std::ssize(squares) - 1); ++k) {
        const double left = n - static_cast<double>(k);
        if (!(beyond[static_cast<std::size_t>(k)] > 2 * variance * std::sqrt(2 * left) / n)) break;
        x.push_back(std::log(static_cast<double>(k) + shift));
        y.push_back(std::log(beyond[static_cast<std::size_t>(k)]));
    }
    if (std::ssize(x) < smallest_window) {
        std::ostringstream text;
        text << "the target's power beyond rank " << window.first + std::ssize(x)
             << " is not above what noise of sigma = " << noise << " leaves";
        why = text.str();
        return std::nullopt;
    }
    const Line line = fit_line(x, y);
    const double tail = -line.slope;
    if (!(tail > 0)) {
        why = "the target's power does not fall with the rank";
        return std::nullopt;
    }
    const double crossover =
        variance > 0 ? std::max(0.0, std::exp((line.intercept - std::log(variance)) / tail) - shift)
                     : std::numeric_limits<double>::infinity();
    return SourceCapacity{tail, decay_exponent, tail / (2 * decay_exponent), tail / (1 + tail),
                          tail, crossover};
}

Interval power_law(std::span<const double> sizes, std::span<const double> values, Index repeats) {
    const auto count = static_cast<std::size_t>(repeats);
    if (sizes.size() < 2 || repeats < 1 || values.size() != sizes.size() * count)
        throw Error(ExitStatus::numerical, ErrorKind::too_few,
                    "a slope needs at least two sizes and every repeat's value");
    std::vector<double> x, mean(sizes.size(), 0.0), slopes;
    for (const double size : sizes) x.push_back(std::log(size));
    for (std::size_t r = 0; r < count; ++r) {
        std::vector<double> y;
        for (std::size_t s = 0; s < sizes.size(); ++s) {
            const double value = values[s * count + r];
            if (!(value > 0) || !std::isfinite(value))
                throw Error(ExitStatus::numerical, ErrorKind::out_of_range,
                            "a slope is taken of positive, finite values only");
            y.push_back(std::log(value));
            mean[s] += y.back() / static_cast<double>(repeats);
        }
        slopes.push_back(-fit_line(x, y).slope);
    }
    const Line line = fit_line(x, mean);
    double average = 0, squared = 0;
    for (const double slope : slopes) average += slope / static_cast<double>(repeats);
    for (const double slope : slopes) squared += std::pow(slope - average, 2);
    const double deviation = repeats > 1 ? std::sqrt(squared / static_cast<double>(repeats - 1)) : 0.0;
    const double half = 1.96 * std::hypot(deviation, line.standard_error);
    return {-line.slope, -line.slope - half, -line.slope + half};
}

}  // namespace tangram
