#pragma once
#include <vector>

#include "tangram/elementary.hpp"

namespace tangram::testing {

inline constexpr int elementary_functions = 3, elementary_functions_of_double = 7;

/// The f-th elementary function at x: exp, tanh, erf; in float64 sin, cos, log and a power too.
template <class Real>
TANGRAM_HOST_DEVICE inline Real elementary_value(int f, Real x) {
    if (f == 0) return elementary::exp(x);
    if (f == 1) return elementary::tanh(x);
    if (f == 2) return elementary::erf(x);
    if constexpr (sizeof(Real) == sizeof(double)) {
        if (f == 3) return elementary::sin(x);
        if (f == 4) return elementary::cos(x);
        if (f == 5) return elementary::log(x);
        return elementary::pow(std::abs(x), 0.37);
    }
    return x;
}

/// The f-th function of every x, computed by the first GPU; empty where CUDA failed.
std::vector<float> elementary_values_on_gpu(int f, const std::vector<float>& x);
std::vector<double> elementary_values_on_gpu(int f, const std::vector<double>& x);

}  // namespace tangram::testing
