#include "tangram/rates/eigenlearning.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "least.hpp"
#include "modes.hpp"
#include "tangram/error.hpp"
#include "tangram/rates/exponents.hpp"

namespace tangram {

namespace {

/// kappa of sum l/(l + kappa) + ridge/kappa = samples, which falls with kappa; (sum l + ridge)/kappa lies
/// above it. Newton's method in log kappa, kept inside the bracket by bisection, from there.
/// @param sum  of the positive l
double solve_kappa(std::span<const double> l, double samples, double ridge, double sum) {
    const auto excess = [&](double log_kappa) {
        const double kappa = std::exp(log_kappa);
        double total = 0;
        for (const double value : l)
            if (value > 0) total += value / (value + kappa);
        return total + ridge / kappa - samples;
    };
    double high = std::log((sum + ridge) / samples), low = high;
    for (double step = 1; excess(low) < 0; step *= 2) low -= step;
    while (excess(high) > 0) high += 1e-12 + 1e-15 * std::abs(high);  // rounding at the upper end
    double x = 0.5 * (low + high);
    for (int round = 0; round < 200; ++round) {
        const double kappa = std::exp(x);
        double value = ridge / kappa - samples, slope = -ridge / kappa;
        for (const double entry : l)
            if (entry > 0) {
                const double share = entry / (entry + kappa);
                value += share;
                slope -= share * (1 - share);
            }
        (value > 0 ? low : high) = x;
        double next = slope < 0 ? x - value / slope : low;
        if (!(next > low && next < high)) next = 0.5 * (low + high);
        const bool still = std::abs(next - x) <= 1e-16 * std::max(1.0, std::abs(x));
        x = next;
        if (still) break;
    }
    return std::exp(x);
}

}  // namespace

std::optional<LearningPrediction> predict_ridge(std::span<const double> l, std::span<const double> power,
                                                double samples, double ridge, double noise) {
    check_modes(l, power);
    if (!(samples > 0) || !std::isfinite(samples) || !(ridge >= 0) || !std::isfinite(ridge))
        throw Error(ExitStatus::numerical, ErrorKind::out_of_range,
                    "a prediction needs a positive number of samples and a ridge not below zero");
    double largest = 0, sum = 0;
    Index modes = 0;
    for (std::size_t i = 0; i < l.size(); ++i) {
        largest = std::max(largest, l[i]);
        sum += std::max(l[i], 0.0);
        modes += l[i] > 0 ? 1 : 0;
    }
    if (ridge == 0 && (samples >= static_cast<double>(modes))) return std::nullopt;
    if (largest == 0 && ridge == 0) return std::nullopt;
    LearningPrediction result{};
    result.kappa = solve_kappa(l, samples, ridge, sum);
    double partly = ridge / result.kappa, missed = 0;  // samples - sum L_i^2, whose digits do not cancel
    for (std::size_t i = 0; i < l.size(); ++i) {
        const double value = std::max(l[i], 0.0), share = value / (value + result.kappa);
        const double rest = result.kappa / (value + result.kappa);
        result.learned += share;
        partly += share * rest;
        missed += rest * rest * power[i];
    }
    result.overfitting = samples / partly;
    result.test_mse = result.overfitting * (missed + noise * noise);
    const double kept = ridge / (samples * result.kappa);
    result.train_mse = kept * kept * result.test_mse;
    return result;
}

std::optional<double> predict_unseen(std::span<const double> l, std::span<const double> power, double samples,
                                     double ridge) {
    check_modes(l, power);
    const auto rows = static_cast<double>(l.size());
    std::vector<double> raised(l.begin(), l.end());
    for (double& value : raised) value = std::max(value, 0.0) + ridge / rows;
    if (samples < rows) {
        const auto prediction = predict_ridge(raised, power, samples, 0);
        return prediction ? std::optional(prediction->test_mse / (1 - samples / rows)) : std::nullopt;
    }
    if (!(ridge > 0)) return std::nullopt;
    double missed = 0, rest = 0;
    for (std::size_t i = 0; i < raised.size(); ++i) {
        missed += power[i] / (raised[i] * raised[i]);
        rest += 1 / raised[i];
    }
    return rows * rows * missed / (rest * rest);
}

Index empty_directions(std::span<const double> l, std::span<const double> power, double floor) {
    const EmptyDirections is_empty(l, power, floor);
    Index count = 0;
    for (std::size_t i = 0; i < l.size(); ++i) count += is_empty(i) ? 1 : 0;
    return count;
}

std::optional<PredictedExponents> predicted_exponents(std::span<const double> l,
                                                      std::span<const double> squares, double floor,
                                                      double noise, std::string& why) {
    const auto rows = static_cast<double>(squares.size());
    std::vector<double> modes(l.begin(), l.end()), power(squares.begin(), squares.end());
    for (double& value : modes) value = value > floor ? value : 0.0;
    for (double& value : power) value /= rows;
    const double largest = *std::ranges::max_element(modes);
    if (!(largest > 0))
        throw Error(ExitStatus::numerical, ErrorKind::degenerate,
                    "the kernel is zero: no ridge can be chosen");
    const double low = std::log(std::max(floor, 1e-14 * largest)), high = std::log(100 * largest);
    constexpr int grid = 80;
    std::vector<double> sizes, excess, whole;
    for (const double share : {32.0, 16.0, 8.0, 4.0}) {
        const double samples = rows / share;
        const auto error = [&](double log_ridge) {
            return *predict_unseen(modes, power, samples, samples * std::exp(log_ridge));
        };
        sizes.push_back(samples);
        const double best = argument_of_least(low, high, grid, 40, error);
        if (best > high - (high - low) / grid) {
            why = "at n = " + std::to_string(static_cast<Index>(samples)) +
                  " the largest ridge is predicted to be the best: nothing is learnt there";
            return std::nullopt;
        }
        whole.push_back(error(best));
        excess.push_back(whole.back() - noise * noise);
        if (!(excess.back() > 0)) {
            why = "the predicted error is not above the noise at every size";
            return std::nullopt;
        }
    }
    return PredictedExponents{power_law(sizes, excess, 1).value, power_law(sizes, whole, 1).value};
}

}  // namespace tangram
