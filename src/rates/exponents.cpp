#include "tangram/rates/exponents.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tangram/error.hpp"
#include "tangram/not_known.hpp"
#include "tangram/rates/student.hpp"

namespace tangram {

namespace {

struct LineWithError {
    double slope, intercept, standard_error;  ///< standard error of the slope; 0 with two points
};

LineWithError fit_line_with_error(std::span<const double> x, std::span<const double> y) {
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
    LineWithError line{xy / xx, 0, 0};
    line.intercept = mean_y - line.slope * mean_x;
    for (std::size_t i = 0; i < x.size(); ++i) rest += std::pow(y[i] - line.intercept - line.slope * x[i], 2);
    if (x.size() > 2) line.standard_error = std::sqrt(rest / (n - 2) / xx);
    return line;
}

}  // namespace

RateExponent unknown_rate(std::string source, std::string why) {
    return {std::move(source), {not_known, not_known, not_known}, std::move(why)};
}

SourceCapacity source_and_capacity(const TargetPower& power, const Interval& decay_exponent, double onset,
                                   bool law_holds) {
    const Interval &tail = power.tail_exponent, &a = decay_exponent;
    SourceCapacity result{a, {}, {}, tail, power.noise, std::numeric_limits<double>::infinity()};
    const auto away = [](double value, double bound) {
        return bound > 0 ? std::log(value / bound) : std::numeric_limits<double>::infinity();
    };
    if (const double s = tail.value / (2 * a.value); s > 0)
        result.source = {s, s * std::exp(-std::hypot(away(tail.value, tail.low), away(a.value, a.high))),
                         s * std::exp(std::hypot(away(tail.value, tail.high), away(a.value, a.low)))};
    if (!law_holds || tail.value == 0) result.source.high = std::numeric_limits<double>::infinity();
    const auto noisy = [](double t) { return t / (1 + t); };
    result.noisy = {noisy(tail.value), noisy(tail.low), noisy(tail.high)};
    const double variance = power.noise.value * power.noise.value;
    if (tail.value == 0)
        result.crossover = 0;
    else if (variance > 0)
        result.crossover =
            std::max(0.0, std::pow(power.constant / (tail.value * variance), 1 / tail.value) - 0.5 - onset);
    return result;
}

std::optional<Interval> with_spread(double value, std::span<const double> replicas) {
    if (replicas.size() < 2) return std::nullopt;
    const auto count = static_cast<double>(replicas.size());
    double mean = 0, squares = 0;
    for (const double x : replicas) mean += x / count;
    for (const double x : replicas) squares += (x - mean) * (x - mean);
    const double half = student_quantile(std::ssize(replicas) - 1) * std::sqrt(squares / (count - 1));
    return Interval{value, std::max(0.0, value - half), value + half};
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
        slopes.push_back(-fit_line_with_error(x, y).slope);
    }
    const LineWithError line = fit_line_with_error(x, mean);
    double average = 0, squared = 0;
    for (const double slope : slopes) average += slope / static_cast<double>(repeats);
    for (const double slope : slopes) squared += std::pow(slope - average, 2);
    const double deviation = repeats > 1 ? std::sqrt(squared / static_cast<double>(repeats - 1)) : 0.0;
    double half = std::hypot(repeats > 1 ? student_quantile(repeats - 1) * deviation : 0.0,
                             student_quantile(std::ssize(sizes) - 2) * line.standard_error);
    if (repeats == 1 && sizes.size() == 2) half = not_known;
    return {-line.slope, -line.slope - half, -line.slope + half};
}

}  // namespace tangram
