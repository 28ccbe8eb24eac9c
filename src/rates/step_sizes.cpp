#include "tangram/rates/step_sizes.hpp"

#include <algorithm>
#include <cmath>

#include "tangram/error.hpp"

namespace tangram {

StepSizes::StepSizes(std::vector<double> rates) : rates_(std::move(rates)), eta_{0.0} {
    if (rates_.empty())
        throw Error(ExitStatus::study, ErrorKind::too_few, "a schedule needs at least one step size");
    for (std::size_t t = 0; t < rates_.size(); ++t) {
        if (!(rates_[t] > 0) || !std::isfinite(rates_[t]))
            throw Error(ExitStatus::study, ErrorKind::out_of_range, "step sizes must be positive and finite");
        if (t > 0 && rates_[t] > rates_[t - 1])
            throw Error(ExitStatus::study, ErrorKind::out_of_range, "step sizes must not grow");
        eta_.push_back(eta_.back() + rates_[t]);
    }
}

double StepSizes::eta(double t) const {
    const auto listed = static_cast<double>(rates_.size());
    if (t <= listed) return eta_[static_cast<std::size_t>(t)];
    // A constant step is one product, not a sum of two.
    return rates_.size() == 1 ? rates_.back() * t : eta_.back() + rates_.back() * (t - listed);
}

double StepSizes::filter(double l, double t) const {
    if (t == 0 || !(l > 0)) return 0.0;
    // prod (1 - alpha l) as the exponential of a sum of logarithms, with the sign kept apart.
    const auto listed = std::min(static_cast<double>(rates_.size() - 1), t);
    double log_rest = 0;
    bool negative = false;
    const auto multiply = [&](double x, double times) {
        if (x == 1) log_rest = -INFINITY;
        if (x < 1) log_rest += times * std::log1p(-x);
        if (x > 1) {
            log_rest += times * std::log(x - 1);
            negative ^= std::fmod(times, 2.0) == 1.0;
        }
    };
    for (std::size_t tau = 0; tau < static_cast<std::size_t>(listed); ++tau) multiply(rates_[tau] * l, 1);
    if (t > listed) multiply(rates_.back() * l, t - listed);
    return negative ? 1 + std::exp(log_rest) : -std::expm1(log_rest);
}

}  // namespace tangram
