#include "tangram/rates/noise.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tangram/error.hpp"

namespace tangram {

namespace {

double fitted_part(double l, double ridge) { return l > 0 ? l / (l + ridge) : 0.0; }

}  // namespace

CrossValidatedRidge cross_validated_ridge(std::span<const double> l, std::span<const double> squares, double floor) {
    double largest = 0;
    for (std::size_t i = 0; i < l.size(); ++i) {
        if (!std::isfinite(l[i]) || !std::isfinite(squares[i]))
            throw Error(ExitStatus::numerical, "an eigenvalue or a coefficient of the residual is not finite");
        largest = std::max(largest, l[i]);
    }
    if (!(largest > 0)) throw Error(ExitStatus::numerical, "the kernel is zero: no noise can be estimated");
    const auto n = static_cast<double>(l.size());
    const auto score = [&](double log_ridge) {
        const double ridge = std::exp(log_ridge);
        double left = 0, rest = 0;
        for (std::size_t i = 0; i < l.size(); ++i) {
            const double a = 1 - fitted_part(l[i], ridge);
            left += a * a * squares[i];
            rest += a;
        }
        return left * n / (rest * rest);
    };
    const double low = std::log(std::max(floor, 1e-14 * largest)), high = std::log(10 * largest);
    constexpr int grid = 200;
    const double step = (high - low) / grid;
    int best = 0;
    double best_score = score(low);
    for (int k = 1; k <= grid; ++k)
        if (const double s = score(low + k * step); s < best_score) {
            best = k;
            best_score = s;
        }
    double a = low + std::max(0, best - 1) * step, b = low + std::min(grid, best + 1) * step;
    for (int k = 0; k < 60; ++k) {
        const double width = (b - a) / std::numbers::phi;
        if (score(b - width) < score(a + width))
            b = a + width;
        else
            a = b - width;
    }
    const double ridge = std::exp(0.5 * (a + b));
    double left = 0, rest = 0;
    for (std::size_t i = 0; i < l.size(); ++i) {
        const double one_minus = 1 - fitted_part(l[i], ridge);
        left += one_minus * one_minus * squares[i];
        rest += one_minus;
    }
    return {ridge, std::sqrt(left / rest), n - rest};
}

double target_radius(std::span<const double> l, std::span<const double> squares, double ridge, double floor) {
    double sum = 0;
    for (std::size_t i = 0; i < l.size(); ++i)
        if (l[i] > std::max(floor, 0.0)) {
            const double a = fitted_part(l[i], ridge);
            sum += a * a * squares[i] / (static_cast<double>(l.size()) * l[i]);
        }
    return std::sqrt(sum);
}

}  // namespace tangram
