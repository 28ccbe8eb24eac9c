#include "tangram/rates/stopping.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <optional>
#include <string>

#include "modes.hpp"
#include "tangram/error.hpp"
#include "tangram/not_known.hpp"
#include "tangram/rates/stopping_rules.hpp"

namespace tangram {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Descending, negative values as zero, with the sums of the tails; non-finite values are refused.
struct Sorted {
    std::vector<double> l;
    std::vector<double> tail;  ///< tail[k] = sum of l from k on
    double n;                  ///< rows of the kernel

    Sorted(std::span<const double> values, Index rows)
        : l(values.begin(), values.end()),
          tail(values.size() + 1, 0.0),
          n(static_cast<double>(rows > 0 ? rows : std::ssize(values))) {
        for (double& value : l) {
            if (!std::isfinite(value))
                throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                            "an eigenvalue is not finite; look at the kernel");
            value = std::max(value, 0.0);
        }
        std::sort(l.begin(), l.end(), std::greater<>());
        for (std::size_t k = l.size(); k-- > 0;) tail[k] = tail[k + 1] + l[k];
    }

    /// (1/n) sum min(l_i, x)
    double mean_of_minima(double x) const {
        // The first k values exceed x.
        const auto k = static_cast<std::size_t>(
            std::lower_bound(l.begin(), l.end(), x,
                             [](double value, double bound) { return value > bound; }) -
            l.begin());
        return (static_cast<double>(k) * x + tail[k]) / n;
    }

    /// RWY's condition at eta: R(eta^(-1/2)) > 1/(2 e sigma eta)
    bool exceeds(double eta, double sigma) const {
        return std::sqrt(mean_of_minima(1.0 / eta)) > 1.0 / (2.0 * std::numbers::e * sigma * eta);
    }

    /// The rule asks for no radius and no stop: nothing to fit, or no noise.
    bool unlimited(double sigma) const {
        if (!(sigma >= 0) || !std::isfinite(sigma))
            throw Error(ExitStatus::numerical, ErrorKind::out_of_range,
                        "the noise divided by the target's radius must be finite and not negative; with a "
                        "radius of zero "
                        "there is nothing to learn");
        return sigma == 0 || l.empty() || l.front() <= 0;
    }
};

}  // namespace

double rademacher_complexity(std::span<const double> l, double eps, Index n) {
    if (!std::isfinite(eps))
        throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                    "the radius of a local complexity must be finite");
    return l.empty() ? 0.0 : std::sqrt(Sorted(l, n).mean_of_minima(eps * eps));
}

double critical_radius(std::span<const double> l, double sigma, Index rows) {
    const Sorted s(l, rows);
    if (s.unlimited(sigma)) return 0.0;
    // x = eps^2 solves x^2 = 4 e^2 sigma^2 (k x + tail_k)/n on the piece l_{k+1} <= x <= l_k (l_0 =
    // infinity).
    const double c = 4.0 * std::numbers::e * std::numbers::e * sigma * sigma / s.n;
    for (std::size_t k = 0; k <= s.l.size(); ++k) {
        const double b = c * static_cast<double>(k), q = c * s.tail[k];
        const double x = 0.5 * (b + std::sqrt(b * b + 4.0 * q));
        const double low = k < s.l.size() ? s.l[k] : 0.0;
        // The right side over x^2 falls with x, so the first piece from above whose root lies above its lower
        // end holds it.
        if (x >= low) return std::sqrt(x);
    }
    return 0.0;
}

double stopping_step(std::span<const double> l, double sigma, const StepSizes& steps, Index n) {
    const Sorted s(l, n);
    if (s.unlimited(sigma)) return infinity;
    const auto holds = [&](double t) { return s.exceeds(steps.eta(t), sigma); };
    double high = 1;
    while (!holds(high)) {
        high *= 2;
        if (!std::isfinite(high)) return infinity;
    }
    // The condition fails at low and holds at high; beyond 2^53 steps neighbouring doubles are the
    // resolution.
    double low = high == 1 ? 0 : high / 2;
    while (high - low > 1) {
        const double middle = std::floor(low + (high - low) / 2);
        if (middle <= low || middle >= high) break;
        (holds(middle) ? high : low) = middle;
    }
    return high - 1;
}

namespace {

void check(const Sorted& sorted, std::span<const double> squares, const PathInputs& inputs,
           const StepSizes& steps) {
    if (!squares.empty() && squares.size() != sorted.l.size())
        throw Error(ExitStatus::numerical, ErrorKind::contradiction,
                    "one squared coefficient belongs to each eigenvalue");
    for (const double value : squares)
        if (!std::isfinite(value))
            throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                        "a coefficient of the residual is not finite");
    const double noise = inputs.noise, radius = inputs.radius, stop = inputs.stop;
    if (!(noise >= 0) || !std::isfinite(noise) || !(radius >= 0) || !std::isfinite(radius) || !(stop >= 0))
        throw Error(ExitStatus::numerical, ErrorKind::out_of_range,
                    "noise, radius and stopping step must be numbers that are not negative");
    const double largest = sorted.l.empty() ? 0 : sorted.l.front();
    // One part in 10^9 for an l_1 that was rounded on its way here.
    if (steps.first() * largest > 2 * (1 + 1e-9))
        throw Error(ExitStatus::study, ErrorKind::out_of_range,
                    "gradient descent diverges with step size " + std::to_string(steps.first()) +
                        ": the largest eigenvalue of G/n is l_1 = " + std::to_string(largest) +
                        "; take 1/l_1 = " + std::to_string(1 / largest) + " or less");
}

std::vector<double> steps_of_path(const Sorted& sorted, const PathInputs& inputs, const StepSizes& steps) {
    double last = 10 * inputs.stop;
    if (!std::isfinite(inputs.stop)) {
        double smallest = sorted.l.empty() ? 0 : sorted.l.front();
        for (const double value : sorted.l)
            if (value > inputs.floor) smallest = std::min(smallest, value);
        last = smallest > 0 ? 10 / (steps.rates().back() * smallest) : 0;
    }
    last = std::clamp(last, 1e3, 1e12);
    std::vector<double> step = {0.0};
    for (int k = 0;; ++k) {
        const double t = std::round(std::pow(10.0, k / 12.0));
        if (t > last) break;
        if (t > step.back()) step.push_back(t);
    }
    if (std::isfinite(inputs.stop)) step.push_back(inputs.stop);
    std::sort(step.begin(), step.end());
    step.erase(std::unique(step.begin(), step.end()), step.end());
    return step;
}

}  // namespace

StoppingPath stopping_path(std::span<const double> l, std::span<const double> squares,
                           const PathInputs& inputs, const StepSizes& steps) {
    const Sorted sorted(l, inputs.n);
    check(sorted, squares, inputs, steps);
    StoppingPath path;
    path.step = steps_of_path(sorted, inputs, steps);
    const double variance = inputs.noise * inputs.noise, stop = inputs.stop;
    std::optional<EmptyDirections> is_empty;  // noise is of the others
    if (!squares.empty() && !inputs.noise_of_all_rows) is_empty.emplace(l, squares, inputs.floor);
    for (const double t : path.step) {
        const double eta = steps.eta(t);
        double bias = 0, fitted = 0, error = 0, twin = 0;
        for (std::size_t i = 0; i < l.size(); ++i) {
            const double q = steps.filter(l[i], t), rest = (1 - q) * (1 - q);
            fitted += q * q;
            if (squares.empty()) continue;
            bias += rest * (squares[i] - (is_empty && (*is_empty)(i) ? 0.0 : variance));
            error += rest * squares[i];
            const double missed = 1 / (1 + eta * std::max(l[i], 0.0));  // 1 - l/(l + 1/eta)
            twin += missed * missed * squares[i];
        }
        path.eta.push_back(eta);
        path.rademacher.push_back(
            std::sqrt(t == 0 ? sorted.tail[0] / sorted.n : sorted.mean_of_minima(1 / eta)));
        path.variance.push_back(variance * fitted / sorted.n);
        if (!squares.empty()) {
            path.bias2.push_back(std::max(0.0, bias / sorted.n));
            path.train_mse.push_back(error / sorted.n);
            path.ridge_train_mse.push_back(twin / sorted.n);
            path.gcv.push_back(cross_validation_score(l, squares, inputs.floor, steps, t));
        }
        path.bound.push_back(t > stop ? not_known
                             : t == 0 ? infinity
                                      : 4 * inputs.radius * inputs.radius / (std::numbers::e * eta));
    }
    return path;
}

}  // namespace tangram
