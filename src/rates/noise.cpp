#include "tangram/rates/noise.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "least.hpp"
#include "modes.hpp"
#include "tangram/error.hpp"
#include "tangram/rates/stopping.hpp"

namespace tangram {

namespace {

/// Share of the degrees of freedom that the ridge must leave.
constexpr double least_freedom = 0.1;

double fitted_part(double l, double ridge) { return l > 0 ? l / (l + ridge) : 0.0; }

}  // namespace

CrossValidatedRidge cross_validated_ridge(std::span<const double> l, std::span<const double> squares,
                                          double floor) {
    check_modes(l, squares);
    double largest = 0;
    for (const double value : l) largest = std::max(largest, value);
    if (!(largest > 0))
        throw Error(ExitStatus::numerical, ErrorKind::degenerate,
                    "the kernel is zero: no noise can be estimated");
    struct Left {
        double squares, trace;  ///< sum (1-A_i)^2 z_i^2 and sum (1-A_i)
    };
    // Under the floor nothing is fitted: these directions enter whole, except where they are empty.
    const EmptyDirections is_empty(l, squares, floor);
    double n = 0;
    Left under{0, 0};
    for (std::size_t i = 0; i < l.size(); ++i) {
        if (is_empty(i)) continue;
        if (!(l[i] > floor)) {
            under.squares += squares[i];
            under.trace += 1;
        }
        n += 1;
    }
    if (n == 0) n = under.trace = 1;  // no residual at all: sigma = 0
    const auto left_by = [&](double ridge) {
        Left left = under;
        for (std::size_t i = 0; i < l.size(); ++i) {
            if (!(l[i] > floor)) continue;
            const double rest = 1 - fitted_part(l[i], ridge);
            left.squares += rest * rest * squares[i];
            left.trace += rest;
        }
        return left;
    };
    const auto score = [&](double log_ridge) {
        const Left left = left_by(std::exp(log_ridge));
        if (left.trace < least_freedom * n) return std::numeric_limits<double>::infinity();
        return left.squares * n / (left.trace * left.trace);
    };
    const double low = std::log(std::max(floor, 1e-14 * largest)), high = std::log(10 * largest);
    const double ridge = std::exp(argument_of_least(low, high, 200, 60, score));
    const Left left = left_by(ridge);
    // Golden section ends within 1e-12 of an end that it runs into; one in a hundred is on the safe side of
    // that.
    const bool limited = left.trace < 1.01 * least_freedom * n || std::log(ridge) < low + 0.01 ||
                         std::log(ridge) > high - 0.01;
    return {ridge, std::sqrt(left.squares / left.trace), n - left.trace,
            left.squares * n / (left.trace * left.trace), limited};
}

double target_radius(std::span<const double> l, std::span<const double> squares, double ridge, double floor) {
    double sum = 0;
    for (std::size_t i = 0; i < l.size(); ++i)
        if (l[i] > std::max(floor, 0.0)) {
            const double a = fitted_part(l[i], ridge);
            sum += a * a * squares[i] / (static_cast<double>(l.size()) * l[i]);
        }
    if (!std::isfinite(sum))
        throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                    "an eigenvalue or a coefficient of the residual is not finite");
    return std::sqrt(sum);
}

StoppingSensitivity stopping_sensitivity(std::span<const double> l, double noise, double radius,
                                         const StepSizes& steps, Index n) {
    const auto stop = [&](double factor) { return stopping_step(l, factor * noise / radius, steps, n); };
    const double half = stop(0.5), twice = stop(2.0);
    return {twice, half, half, twice};
}

}  // namespace tangram
