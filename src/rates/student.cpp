#include "tangram/rates/student.hpp"

#include <algorithm>
#include <cmath>

namespace tangram {

double student_quantile(Index freedom) {
    constexpr double few[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365};
    if (freedom <= 7) return few[std::max<Index>(1, freedom) - 1];
    const double z = 1.959964, n = static_cast<double>(freedom);
    return z + (std::pow(z, 3) + z) / (4 * n) +
           (5 * std::pow(z, 5) + 16 * std::pow(z, 3) + 3 * z) / (96 * n * n) +
           (3 * std::pow(z, 7) + 19 * std::pow(z, 5) + 17 * std::pow(z, 3) - 15 * z) / (384 * n * n * n);
}

}  // namespace tangram
