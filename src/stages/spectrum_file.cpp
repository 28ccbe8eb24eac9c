#include "tangram/stages/spectrum_file.hpp"

#include <fmt/core.h>

#include "tangram/not_known.hpp"
#include "tangram/session/log.hpp"

namespace tangram {

void write_spectrum(Hdf5File& file, const std::string& group, const Eigenpairs& pairs, const Quality& quality,
                    const std::string& inputs, double seconds) {
    const Index k = std::ssize(pairs.values);
    file.remove(group);
    file.write(group + "/eigenvalues", pairs.values);
    if (pairs.vectors) file.create_matrix(group + "/eigenvectors", k, quality.rows);
    file.set_attribute(group, "count", k < quality.rows ? k : Index{0});
    const std::string at = group + "/quality";
    file.set_attribute(at, "solver", name(pairs.solver));
    file.set_attribute(at, "solver_reason", pairs.reason);
    file.set_attribute(at, "noise_floor", quality.noise_floor);
    // Without eigenvectors there is no residual to speak of: NaN says "not computed".
    file.set_attribute(at, "residual_max", quality.residual_max.value_or(not_known));
    file.set_attribute(at, "orthogonality_max", quality.orthogonality_max.value_or(not_known));
    file.set_attribute(at, "trace", quality.trace);
    file.set_attribute(at, "trace_error", quality.trace_error);
    file.set_attribute(at, "frobenius_error", quality.frobenius_error);
    file.set_attribute(at, "negative", quality.negative);
    file.set_attribute(at, "negative_explained",
                       Index{beyond_rounding(pairs.values, quality.rounding).empty() ? 1 : 0});
    file.set_attribute(at, "rounding", quality.rounding);
    file.set_attribute(at, "error_bound_max", quality.error_bound_max.value_or(not_known));
    if (quality.resolved) file.set_attribute(at, "resolved", *quality.resolved);
    file.set_attribute(at, "seconds", seconds);
    file.set_attribute(group, "inputs", inputs);
}

void write_density(Hdf5File& file, const SpectralDensity& density) {
    const std::string at = "/spectrum/density/";
    file.write(at + "value", density.value);
    file.write(at + "weight", density.weight);
    file.write(at + "low", density.low);
    file.write(at + "high", density.high);
}

std::string spectrum_summary(const Eigenpairs& pairs, const Quality& quality, double seconds) {
    std::string text = fmt::format(
        "spectrum: {}{} eigenvalues by {} in {}; largest {:.6g}, smallest {:.3g}, noise floor {:.3g}, "
        "{} negative; trace error {:.1e}",
        pairs.values.size(),
        std::ssize(pairs.values) < quality.rows ? fmt::format(" of {}", quality.rows) : "",
        name(pairs.solver), duration_text(seconds), pairs.values.front(), pairs.values.back(),
        quality.noise_floor, quality.negative, quality.trace_error);
    if (quality.residual_max)
        text += fmt::format(", residual {:.1e}, orthogonality {:.1e}", *quality.residual_max,
                            *quality.orthogonality_max);
    return text;
}

void tell_spectrum(const std::string& name, const Eigenpairs& pairs, const Quality& quality, double seconds,
                   Log& log) {
    const auto tell = [&](const char* what, double value) { log.number(name + " " + what, value); };
    tell("eigenvalues", static_cast<double>(pairs.values.size()));
    tell("largest", pairs.values.front());
    tell("smallest", pairs.values.back());
    tell("noise_floor", quality.noise_floor);
    tell("negative", static_cast<double>(quality.negative));
    tell("trace_error", quality.trace_error);
    if (quality.residual_max) tell("residual_max", *quality.residual_max);
    if (quality.orthogonality_max) tell("orthogonality_max", *quality.orthogonality_max);
    tell("seconds", seconds);
}

}  // namespace tangram
