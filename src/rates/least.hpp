#pragma once
#include <algorithm>
#include <numbers>

namespace tangram {

/// Where on [low, high] a function is least: the best of grid + 1 points, refined by golden section between
/// its neighbours. The first of equals.
template <class Function>
double argument_of_least(double low, double high, int grid, int rounds, Function&& function) {
    const double step = (high - low) / grid;
    int best = 0;
    double least = function(low);
    for (int k = 1; k <= grid; ++k)
        if (const double value = function(low + k * step); value < least) {
            best = k;
            least = value;
        }
    double a = low + std::max(0, best - 1) * step, b = low + std::min(grid, best + 1) * step;
    for (int k = 0; k < rounds; ++k) {
        const double width = (b - a) / std::numbers::phi;
        if (function(b - width) < function(a + width))
            b = a + width;
        else
            a = b - width;
    }
    return 0.5 * (a + b);
}

}  // namespace tangram
