#include "tangram/rates/error_bound.hpp"

#include <cmath>
#include <sstream>

namespace tangram {

namespace {

/// Empty where the premises of [RWY, Theorem 1] are not known to fail.
std::string failing_premise(const BoundPremises& p) {
    if (std::isnan(p.noise)) return "sigma is not known";
    if (!(p.noise > 0) || !std::isfinite(p.stop))
        return "the residual is interpolated (sigma = 0 or T infinite), and noise in it would be learnt";
    if (p.search_ended)
        return "sigma and R are not measured: cross-validation ran into the end of its search; give "
               "rates.noise and rates.radius where you know them";
    if (p.radius_assumed) return "R is not known: give rates.radius";
    if (!(p.stop > 0)) return "T = 0, nothing is learnt";
    // One part in 10^9 for an l_1 that was rounded on its way here.
    if (!(p.first_step <= 1 + 1e-9)) return "the step exceeds 1/l_1, the largest that the theorem takes";
    if (p.sketch_too_small) return "the sketch is too small for T";
    if (p.source && *p.source < 0.5) {
        std::ostringstream text;
        text.precision(3);
        text << "the target lies outside the kernel's space (s = " << *p.source
             << " < 1/2): no R holds for every n, and T has no guarantee";
        return text.str();
    }
    return {};
}

}  // namespace

ErrorBound error_bound(const BoundPremises& p) {
    if (std::string none = failing_premise(p); !none.empty())
        return {std::numeric_limits<double>::quiet_NaN(), std::move(none), true};
    const double value = 12 * p.critical_radius * p.critical_radius * p.radius * p.radius;
    return {value, {}, !(value < p.residual_mean_square - p.noise * p.noise)};
}

}  // namespace tangram
