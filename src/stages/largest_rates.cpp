#include "largest_rates.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tangram/not_known.hpp"

namespace tangram {

namespace {

/// The two completions: least and greatest local complexity.
struct Completions {
    std::vector<double> least, greatest;
};

Completions completions(const LargestEigenvalues& known) {
    const double last = std::max(known.l.back(), 0.0);
    const Index missing = known.rows - std::ssize(known.l);
    const double rest = std::max(0.0, known.trace - std::accumulate(known.l.begin(), known.l.end(), 0.0));
    Completions both{known.l, known.l};
    if (missing == 0) return both;
    const auto size = static_cast<std::size_t>(known.rows);
    both.greatest.resize(size, std::min(last, rest / static_cast<double>(missing) + known.rounding));
    double left = last > 0 ? rest : 0;
    for (Index i = 0; i < missing && left > 0; ++i) {
        both.least.push_back(std::min(last, left));
        left -= last;
    }
    both.least.resize(size, 0.0);
    return both;
}

Interval agreed(double low, double high) {
    const bool same = low == high || std::abs(high - low) <= 1e-12 * std::abs(high);
    return {same ? high : not_known, low, high};
}

/// Why rates that follow from T are not known though sigma is given.
std::string why_no_rate(const LargestEigenvalues& known, const Interval& stop) {
    return fmt::format(
        "it needs all eigenvalues, and {} of {} are known{}", known.l.size(), known.rows,
        std::isnan(stop.value) ? fmt::format("; T is between {:.0f} and {:.0f}", stop.low, stop.high) : "");
}

}  // namespace

StoppingBounds stopping_bounds(const LargestEigenvalues& known, double noise, const StepSizes& steps) {
    const auto [least, greatest] = completions(known);
    return {agreed(critical_radius(least, noise, known.rows), critical_radius(greatest, noise, known.rows)),
            agreed(stopping_step(greatest, noise, steps, known.rows),
                   stopping_step(least, noise, steps, known.rows))};
}

RatesResult rates_of_largest(const RatesInput& input, const LargestEigenvalues& known,
                             const RatesOptions& options, const Listener& listener,
                             std::optional<StoppingBounds>& bounds) {
    if (options.neighbours > 0)
        throw Error(ExitStatus::study, ErrorKind::contradiction,
                    "rates.neighbours needs all eigenvectors; set spectrum.count = 0");
    const std::string what =
        fmt::format("{} of {} eigenvalues are known (spectrum.count): ", known.l.size(), known.rows);
    const bool given = options.noise && options.radius;
    listener.warn(what + "there is no alignment, learning curve or functional" +
                  (given ? "" : ", and no stopping step without rates.noise and rates.radius"));
    // Nothing of the stopping rule is right on some eigenvalues alone: it is left out and bounded instead.
    RatesOptions without = options;
    without.noise.reset();
    RatesInput of_largest = input;
    // compute_rates refuses a kernel that is zero.
    if (given && *options.noise >= 0 && known.l.front() > 0) {
        bounds = stopping_bounds(known, *options.noise / *options.radius,
                                 StepSizes(step_sizes(options, known.l.front())));
        of_largest.no_stop = why_no_rate(known, bounds->stop);
    }
    RatesResult result = compute_rates(of_largest, without, listener);
    std::ranges::fill(result.path.rademacher, not_known);
    std::ranges::fill(result.path.variance, not_known);
    Functionals& f = result.functionals;
    f.effective_rank = f.stable_rank = f.participation_ratio = not_known;
    f.t.clear();
    f.effective_dimension.clear();
    f.information_gain.clear();
    if (!bounds) return result;
    const double radius = *options.radius;
    const StepSizes steps(result.step_sizes);
    if (std::isnan(bounds->stop.value)) {
        result.noise_source = fmt::format("{}; T is not known from {} of {} eigenvalues", *options.noise,
                                          known.l.size(), known.rows);
        listener.say(fmt::format(
            "{}T is between {:.0f} and {:.0f}, the critical radius between {:.6g} and {:.6g}", what,
            bounds->stop.low, bounds->stop.high, bounds->critical.low, bounds->critical.high));
        return result;
    }
    const auto stop_of = [&](double noise, double of_radius) {
        return stopping_bounds(known, noise / of_radius, steps).stop.value;
    };
    result.noise = *options.noise;
    result.noise_source = "given";
    result.critical = bounds->critical.value;
    result.stop = bounds->stop.value;
    result.sensitivity = {stop_of(result.noise, radius / 2), stop_of(result.noise, 2 * radius),
                          stop_of(result.noise / 2, radius), stop_of(2 * result.noise, radius)};
    return result;
}

}  // namespace tangram
