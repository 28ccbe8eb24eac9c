#include "tangram/rates/stopping_rules.hpp"

#include <cmath>

#include "modes.hpp"
#include "tangram/error.hpp"

namespace tangram {

namespace {

void check(std::span<const double> l, std::span<const double> squares) {
    if (l.empty())
        throw Error(ExitStatus::numerical, ErrorKind::contradiction, "a stopping rule needs eigenvalues");
    check_modes(l, squares);
}

}  // namespace

double training_error(std::span<const double> l, std::span<const double> squares, const StepSizes& steps,
                      double t) {
    check(l, squares);
    double sum = 0;
    for (std::size_t i = 0; i < l.size(); ++i) {
        const double rest = 1 - steps.filter(l[i], t);
        sum += rest * rest * squares[i];
    }
    return sum / static_cast<double>(l.size());
}

double discrepancy_step(std::span<const double> l, std::span<const double> squares, double noise,
                        const StepSizes& steps) {
    const auto reached = [&](double t) { return training_error(l, squares, steps, t) <= noise * noise; };
    if (reached(0)) return 0;
    double high = 1;
    while (!reached(high)) {
        high *= 2;
        if (high > 1e15) return HUGE_VAL;
    }
    double low = high == 1 ? 0 : high / 2;
    while (high - low > 1) {
        const double middle = std::floor(low + (high - low) / 2);
        (reached(middle) ? high : low) = middle;
    }
    return high;
}

double cross_validation_score(std::span<const double> l, std::span<const double> squares, double floor,
                              const StepSizes& steps, double t) {
    check(l, squares);
    const EmptyDirections is_empty(l, squares, floor);
    double n = 0, left = 0, freedom = 0;
    for (std::size_t i = 0; i < l.size(); ++i) {
        if (is_empty(i)) continue;
        const double rest = l[i] > floor ? 1 - steps.filter(l[i], t) : 1.0;
        n += 1;
        left += rest * rest * squares[i];
        freedom += rest;
    }
    if (n == 0) return 0;
    if (freedom < 0.1 * n) return HUGE_VAL;
    return left * n / (freedom * freedom);
}

double cross_validated_step(std::span<const double> l, std::span<const double> squares, double floor,
                            const StepSizes& steps, std::span<const double> candidates) {
    double best = 0, least = HUGE_VAL;
    for (const double t : candidates)
        if (const double score = cross_validation_score(l, squares, floor, steps, t); score < least) {
            least = score;
            best = t;
        }
    return best;
}

double epochs(double steps, Index batch, Index examples) {
    return steps * static_cast<double>(batch) / static_cast<double>(examples);
}

}  // namespace tangram
