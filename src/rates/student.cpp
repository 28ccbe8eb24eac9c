#include "tangram/rates/student.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tangram {

namespace {

/// What a normal deviate exceeds with this probability.
double normal_quantile(double tail) {
    double low = 0, high = 40;
    for (int step = 0; step < 60; ++step) {
        const double middle = 0.5 * (low + high);
        (0.5 * std::erfc(middle / std::numbers::sqrt2) > tail ? low : high) = middle;
    }
    return low;
}

}  // namespace

double student_quantile(Index freedom, Index comparisons) {
    constexpr double few[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365};
    if (freedom <= 7) return comparisons > 1 ? HUGE_VAL : few[std::max<Index>(1, freedom) - 1];
    const double z = comparisons > 1 ? normal_quantile(0.025 / static_cast<double>(comparisons)) : 1.959964,
                 n = static_cast<double>(freedom);
    return z + (std::pow(z, 3) + z) / (4 * n) +
           (5 * std::pow(z, 5) + 16 * std::pow(z, 3) + 3 * z) / (96 * n * n) +
           (3 * std::pow(z, 7) + 19 * std::pow(z, 5) + 17 * std::pow(z, 3) - 15 * z) / (384 * n * n * n);
}

}  // namespace tangram
