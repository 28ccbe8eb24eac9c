#pragma once
#include <limits>

namespace tangram {

/// A number that is not known, as output files hold it: NaN.
inline constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

}  // namespace tangram
