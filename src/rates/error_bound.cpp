#include "tangram/rates/error_bound.hpp"

#include <fmt/core.h>

#include <cmath>

#include "tangram/not_known.hpp"

namespace tangram {

namespace {

/// Whether the target lies in the kernel's space; empty where it does.
std::string failing_space(const BoundPremises& p) {
    const std::optional<Interval>& source = p.source;
    if (!source)
        return "whether the target lies inside the kernel's space is not known (" + p.no_source +
               "); give rates.radius where you know R";
    const std::string interval =
        fmt::format("s = {:.3g} [{:.3g}, {:.3g}]", source->value, source->low, source->high);
    if (source->high < 0.5)
        return "the target lies outside the kernel's space (" + interval +
               " < 1/2): no R holds for every n, and T has no guarantee";
    if (!(source->low >= 0.5))
        return "it is undecided whether the target lies inside the kernel's space (" + interval +
               ", 1/2 is needed); give rates.radius where you know R";
    return {};
}

/// Empty where the premises of [RWY, Theorem 1] are not known to fail.
std::string failing_premise(const BoundPremises& p) {
    if (std::isnan(p.noise)) return p.no_noise;
    if (!(p.noise > 0) || !std::isfinite(p.stop))
        return "the residual is interpolated (sigma = 0 or T infinite), and noise in it would be learnt";
    if (p.search_ended)
        return "sigma and R are not measured: cross-validation ran into the end of its search; give "
               "rates.noise and rates.radius where you know them";
    if (p.radius_assumed) return "R is not known: give rates.radius (--radius)";
    if (!(p.stop > 0)) return "T = 0, nothing is learnt";
    // One part in 10^9 for an l_1 that was rounded on its way here.
    if (!(p.first_step <= 1 + 1e-9)) return "the step exceeds 1/l_1, the largest that the theorem takes";
    if (p.sketch_too_small) return "the sketch is too small for T";
    return p.radius_given && !(p.source && p.source->high < 0.5) ? std::string() : failing_space(p);
}

}  // namespace

ErrorBound error_bound(const BoundPremises& p) {
    if (std::string none = failing_premise(p); !none.empty()) return {not_known, std::move(none), true};
    const double value = 12 * p.critical_radius * p.critical_radius * p.radius * p.radius;
    return {value, {}, !(value < p.residual_mean_square - p.noise * p.noise * (1 - p.empty_share))};
}

}  // namespace tangram
