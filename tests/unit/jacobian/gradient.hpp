#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "tangram/jacobian/jacobian_factors.hpp"

namespace tangram::testing {

/// One gradient, multiplied out in slices of an odd depth into a buffer poisoned with NaN.
template <class Real>
std::vector<Real> gradient(const JacobianFactors<Real>& factors, Index size, ParameterId p, Index example,
                           Index pass) {
    std::vector<Real> out(static_cast<std::size_t>(size), static_cast<Real>(NAN));
    for (Index first = 0; first < size; first += 97)
        factors.multiply_out(p, first, std::min(size, first + 97), example, pass, out.data() + first);
    return out;
}

}  // namespace tangram::testing
