#pragma once
#include <algorithm>
#include <cmath>
#include <span>

#include "tangram/rates/eigenlearning.hpp"

namespace tangram::testing {

/// Eigenlearning's error of a population's best ridge: the least over ridges a hundredth apart, which is off
/// by less than 1e-5 of it.
inline double error_of_best_ridge(std::span<const double> l, std::span<const double> power, double samples,
                                  double noise) {
    double least = HUGE_VAL, at = 0;
    const auto look = [&](double first, double last, double step) {
        for (double x = first; x <= last; x += step)
            if (const auto found = predict_ridge(l, power, samples, samples * std::exp(x), noise)->test_mse;
                found < least)
                least = found, at = x;
    };
    look(-32, 4, 0.2);
    look(at - 0.2, at + 0.2, 0.01);
    return least;
}

}  // namespace tangram::testing
