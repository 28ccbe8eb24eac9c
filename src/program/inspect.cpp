#include <fmt/format.h>

#include <cmath>

#include "commands.hpp"
#include "tangram/io/hdf5_file.hpp"

namespace tangram {

namespace {

/// ", 3 s": how long a stage took; nothing where the file does not say.
std::string seconds_text(const Hdf5File& h5, const std::string& key) {
    return h5.has_attribute("/provenance", key)
               ? ", " + duration_text(h5.number_attribute("/provenance", key))
               : std::string();
}

std::string provenance_text(const Hdf5File& h5, const std::filesystem::path& file) {
    return fmt::format("{}: schema {:.0f}, started {}, ended {}, commit {}\n", file.string(),
                       h5.number_attribute("/", "schema_version"),
                       h5.text_attribute("/provenance", "started"), h5.text_attribute("/provenance", "ended"),
                       h5.text_attribute("/provenance", "git_revision"));
}

// The lines of a group of the file; none where it is not there.

std::string data_text(const Hdf5File& h5) {
    if (!h5.exists("/data/train/offsets")) return "";
    const Index n = h5.length("/data/train/offsets", 1) - 1;
    const Index m = h5.exists("/data/test/offsets") ? h5.length("/data/test/offsets", 1) - 1 : 0;
    return fmt::format("data       {} training and {} test examples, {} labels\n", n, m,
                       h5.length("/data/label_token_ids"));
}

std::string kernel_text(const Hdf5File& h5) {
    if (!h5.exists("/kernel")) return "";
    return fmt::format(
        "kernel     {} rows, output {}, {} precision, {} tensors{}\n",
        h5.exists("/kernel/gram") ? std::to_string(h5.shape("/kernel/gram", 2)[0]) : "not stored",
        h5.text_attribute("/kernel", "output"), h5.text_attribute("/kernel", "precision"),
        h5.length("/kernel/tensors"), seconds_text(h5, "seconds_gram"));
}

std::string sketch_text(const Hdf5File& h5) {
    if (!h5.has_attribute("/kernel", "sketch_dimension") ||
        !(h5.number_attribute("/kernel", "sketch_dimension") > 0))
        return "";
    std::string text = fmt::format(
        "sketched   {:.0f} tensors to {:.0f} numbers in all (kernel.sketch = {:.0f}); against {:.0f} exact "
        "rows the error is {:.2g} of the norm, of one entry at most {:.2g} of its rows' norms\n",
        h5.number_attribute("/kernel", "sketch_tensors"), h5.number_attribute("/kernel", "sketch_dimension"),
        h5.number_attribute("/kernel", "sketch"), h5.number_attribute("/kernel", "sketch_rows"),
        h5.number_attribute("/kernel", "sketch_error"), h5.number_attribute("/kernel", "sketch_error_max"));
    if (h5.has_attribute("/rates", "sketch_needed"))
        text += fmt::format(
            "           T needs {:.0f} dimensions: {}\n", h5.number_attribute("/rates", "sketch_needed"),
            h5.number_attribute("/rates", "sketch_trusted") > 0 ? "enough" : "NOT to be trusted");
    return text;
}

std::string spectrum_text(const Hdf5File& h5) {
    if (!h5.exists("/spectrum")) return "";
    const auto w = h5.read_doubles("/spectrum/eigenvalues", h5.length("/spectrum/eigenvalues", 1));
    const std::string at = "/spectrum/quality";
    return fmt::format(
        "spectrum   {} eigenvalues by {}: largest {:.6g}, smallest {:.3g}, noise floor {:.3g}; residual "
        "{:.1e}, orthogonality {:.1e}{}\n",
        w.size(), h5.text_attribute(at, "solver"), w.front(), w.back(),
        h5.number_attribute(at, "noise_floor"), h5.number_attribute(at, "residual_max"),
        h5.number_attribute(at, "orthogonality_max"), seconds_text(h5, "seconds_spectrum"));
}

std::string decay_text(const Hdf5File& h5) {
    const std::string reason = h5.text_attribute("/rates/decay", "reason");
    const std::string family = h5.text_attribute("/rates/decay", "selected");
    const auto interval = [&](const std::string& of, const std::string& key) {
        const std::string group = "/rates/decay/" + of;
        return fmt::format("{} {:.3f} [{:.3f}, {:.3f}]", key, h5.number_attribute(group, key),
                           h5.number_attribute(group, key + "_low"),
                           h5.number_attribute(group, key + "_high"));
    };
    const std::string what = family == "exponential"
                                 ? interval(family, "rate") + ", " + interval(family, "power")
                             : family == "finite_rank" ? interval(family, "rank")
                                                       : interval("polynomial", "exponent");
    return reason.empty() ? fmt::format("decay      {}: {}, ranks {:.0f} to {:.0f}\n", family, what,
                                        h5.number_attribute("/rates/decay", "first"),
                                        h5.number_attribute("/rates/decay", "last"))
                          : "decay      none: " + reason + "\n";
}

std::string stopping_text(const Hdf5File& h5) {
    const std::string at = "/rates/stopping";
    if (std::isnan(h5.number_attribute(at, "noise")))
        return "stopping   sigma is " + h5.text_attribute(at, "noise_source") + "\n";
    return fmt::format(
        "stopping   T = {:.0f} steps of size {:.4g}, critical radius {:.4g}, sigma {:.4g} ({}), R {:.4g} "
        "({})\n",
        h5.number_attribute(at, "stopping_step"), h5.number_attribute(at, "step_size"),
        h5.number_attribute(at, "critical_radius"), h5.number_attribute(at, "noise"),
        h5.text_attribute(at, "noise_source"), h5.number_attribute(at, "radius"),
        h5.text_attribute(at, "radius_source"));
}

std::string warnings_text(const Hdf5File& h5) {
    std::string text;
    if (!h5.exists("/warnings")) return text;
    const std::vector<TableColumn> warnings = h5.read_table("/warnings");
    if (warnings.size() != 2 || warnings[0].texts.size() != warnings[1].texts.size()) return text;
    for (std::size_t w = 0; w < warnings[0].texts.size(); ++w)
        text += fmt::format("warning    {}: {}\n", warnings[0].texts[w], warnings[1].texts[w]);
    return text;
}

std::string bound_text(const Hdf5File& h5) {
    const std::string at = "/rates/stopping";
    if (!h5.has_attribute(at, "error_bound_reason") || !h5.has_attribute(at, "error_bound_vacuous"))
        return "";  // an earlier version's, or made without labels
    if (const std::string none = h5.text_attribute(at, "error_bound_reason"); !none.empty())
        return "bound      none: " + none + "\n";
    return fmt::format("bound      the error at T, noise apart, is below {:.4g}{}\n",
                       h5.number_attribute(at, "error_bound"),
                       h5.number_attribute(at, "error_bound_vacuous") > 0 ? ": vacuous here" : "");
}

std::string rates_text(const Hdf5File& h5) {
    if (!h5.exists("/rates")) return "";
    return decay_text(h5) + stopping_text(h5) + bound_text(h5) + "rates      " +
           h5.text_attribute("/rates", "sentence") + "\n";
}

}  // namespace

void inspect(const std::filesystem::path& file, Log& log) {
    const Hdf5File h5 = Hdf5File::open(file, false, ExitStatus::output);
    if (!h5.has_attribute("/", "schema_version"))
        throw Error(ExitStatus::output, ErrorKind::malformed,
                    fmt::format("{}: not an output file of tangram: no schema_version", file.string()));
    std::string text = provenance_text(h5, file);
    for (const auto group_text :
         {data_text, kernel_text, sketch_text, spectrum_text, rates_text, warnings_text})
        text += group_text(h5);
    text.pop_back();
    log.result(text);
}

}  // namespace tangram
