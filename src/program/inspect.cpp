#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "commands.hpp"
#include "tangram/io/hdf5_file.hpp"
#include "tangram/rates/decay.hpp"
#include "tangram/session/provenance.hpp"

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
    std::string answers = "completions";
    if (h5.exists("/data/label_offsets"))
        answers = fmt::format("{} labels", h5.length("/data/label_offsets", 2) - 1);
    else if (!h5.exists("/data/train/completion_offsets"))
        answers = fmt::format("{} labels", h5.length("/data/label_token_ids"));
    return fmt::format("data       {} training and {} test examples, {}\n", n, m, answers);
}

std::string kernel_text(const Hdf5File& h5) {
    if (!h5.exists("/kernel")) return "";
    return fmt::format("kernel     {}, output {}, {} precision, {} tensors{}\n",
                       h5.exists("/kernel/gram") ? fmt::format("{} rows", h5.shape("/kernel/gram", 2)[0])
                                                 : "without its matrix",
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
        const Interval found{h5.number_attribute(group, key), h5.number_attribute(group, key + "_low"),
                             h5.number_attribute(group, key + "_high")};
        return fmt::format("{} {:.3f} {}", key, found.value, bounds_text(found, 3));
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
    const auto number = [&](const char* name) { return h5.number_attribute(at, name); };
    const std::string critical =
        h5.has_attribute(at, "critical_radius_low") && std::isnan(number("critical_radius"))
            ? fmt::format("[{:.4g}, {:.4g}]", number("critical_radius_low"), number("critical_radius_high"))
            : fmt::format("{:.4g}", number("critical_radius"));
    return fmt::format(
        "stopping   T = {:.0f}{} steps of size {:.4g}{}, critical radius {}, sigma {:.4g} ({}), R {:.4g} "
        "({})\n",
        number("stopping_step"),
        h5.has_attribute(at, "stopping_step_low")
            ? fmt::format(" [{:.0f}, {:.0f}]", number("stopping_step_low"), number("stopping_step_high"))
            : "",
        number("step_size"), h5.exists(at + "/step_sizes") ? " and less" : "", critical,
        h5.number_attribute(at, "noise"), h5.text_attribute(at, "noise_source"),
        h5.number_attribute(at, "radius"), h5.text_attribute(at, "radius_source"));
}

std::string warnings_text(const Hdf5File& h5) {
    std::string text;
    if (!h5.exists("/warnings")) return text;
    const std::vector<TableColumn> warnings = h5.read_table("/warnings");
    if (warnings.size() != 2 || warnings[0].texts.size() != warnings[1].texts.size()) return text;
    for (std::size_t w = 0; w < warnings[0].texts.size(); ++w)
        if (const std::string& said = warnings[1].texts[w]; said.starts_with(warnings[0].texts[w]))
            text += fmt::format("warning    {}\n", said);
        else
            text += fmt::format("warning    {}: {}\n", warnings[0].texts[w], said);
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

/// Of a merged file: its runs and curves.
std::string runs_text(const Hdf5File& h5) {
    if (!h5.exists("/runs")) return "";
    std::set<std::string> curves;
    Index runs = 0, least = 0, most = 0;
    for (const TableColumn& column : h5.read_table("/runs")) {
        if (column.name == "curve") curves.insert(column.texts.begin(), column.texts.end());
        if (column.name != "samples" || column.integers.empty()) continue;
        runs = std::ssize(column.integers);
        least = *std::ranges::min_element(column.integers);
        most = *std::ranges::max_element(column.integers);
    }
    return fmt::format("runs       {} of {} to {} examples, in {} curve{}\n", runs, least, most,
                       curves.size(), curves.size() == 1 ? "" : "s");
}

std::string exponents_text(const Hdf5File& h5) {
    if (!h5.exists("/rates/exponents")) return "";
    const std::vector<TableColumn> columns = h5.read_table("/rates/exponents");
    const auto of = [&](const char* name) {
        const auto found = std::ranges::find(columns, name, &TableColumn::name);
        return found == columns.end() ? TableColumn{} : *found;
    };
    const TableColumn curve = of("curve"), source = of("source"), value = of("value"), low = of("low"),
                      high = of("high");
    std::string text;
    for (std::size_t r = 0; r < std::min(source.texts.size(), value.numbers.size()); ++r) {
        if (!std::isfinite(value.numbers[r])) continue;
        const std::string of_curve = r < curve.texts.size() ? ", " + curve.texts[r] : "";
        text += fmt::format("exponent   {:.3f} {}  {}{}\n", value.numbers[r],
                            bounds_text({value.numbers[r], low.numbers[r], high.numbers[r]}, 3),
                            source.texts[r], of_curve);
    }
    return text;
}

/// Its first word may be that of the line.
std::string sentence_of(const Hdf5File& h5) {
    const std::string sentence = h5.text_attribute("/rates", "sentence"), first = "rates ";
    return sentence.starts_with(first) ? sentence.substr(first.size()) : sentence;
}

std::string rates_text(const Hdf5File& h5) {
    if (!h5.exists("/rates")) return "";
    std::string text;
    if (h5.has_attribute("/rates/decay", "reason")) text += decay_text(h5);
    if (h5.has_attribute("/rates/stopping", "noise")) text += stopping_text(h5) + bound_text(h5);
    if (h5.has_attribute("/rates", "sentence")) text += "rates      " + sentence_of(h5) + "\n";
    return h5.exists("/runs") ? text + exponents_text(h5) : text;
}

/// What a stage printed, line by line; empty where the file does not have it.
std::string printed_text(const Hdf5File& h5, const std::string& at) {
    std::string text;
    if (!h5.exists(at + "/summary")) return text;
    for (const std::string& line : h5.read_texts(at + "/summary")) text += line + "\n";
    return text;
}

/// What the rates stage, or a merge, printed, in place of its lines of the summary.
std::string printed_rates(const Hdf5File& h5) {
    const std::string text = printed_text(h5, "/rates");
    return text.empty() ? rates_text(h5) : text;
}

/// A number as JSON, which has neither infinity nor NaN.
nlohmann::json json_of(double value) {
    return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(fmt::format("{}", value));
}
nlohmann::json json_of(Index value) { return value; }
nlohmann::json json_of(const std::string& value) { return value; }
template <class Value>
nlohmann::json json_of(const std::vector<Value>& values) {
    nlohmann::json list = nlohmann::json::array();
    for (const Value& value : values) list.push_back(json_of(value));
    return list;
}

/// Rows of a table by the names of its columns.
nlohmann::json json_of(const std::vector<TableColumn>& columns) {
    nlohmann::json rows = nlohmann::json::array();
    for (const TableColumn& column : columns) {
        const nlohmann::json values = !column.texts.empty()      ? json_of(column.texts)
                                      : !column.integers.empty() ? json_of(column.integers)
                                                                 : json_of(column.numbers);
        for (std::size_t r = 0; r < values.size(); ++r) rows[r][column.name] = values[r];
    }
    return rows;
}

nlohmann::json json_of_data_set(const Hdf5File& h5, const std::string& path) {
    if (h5.content(path) == Content::table) return json_of(h5.read_table(path));
    if (h5.content(path) == Content::texts) return json_of(h5.read_texts(path));
    const std::vector<Index> shape = h5.shape(path);
    if (shape.size() != 1) return {{"shape", shape}};
    return h5.is_integer(path) ? json_of(h5.read_int64(path)) : json_of(h5.read_doubles(path));
}

/// A group: its attributes, but for what it is and how it was found to be made from the same inputs, and what
/// it holds. Files of ours are some groups deep.
nlohmann::json json_of_group(const Hdf5File& h5, const std::string& path, int depth) {
    nlohmann::json group = nlohmann::json::object();
    for (const std::string& name : h5.attributes(path)) {
        if (name == "description" || name == "units" || name == "inputs" || name == "basis") continue;
        group[name] = h5.visit_attribute(path, name, [](const auto& values, bool single) {
            return single ? json_of(values.front()) : json_of(values);
        });
    }
    constexpr int deepest = 16;
    if (depth > deepest)
        throw Error(ExitStatus::output, ErrorKind::malformed,
                    path + ": groups within groups without end; not a file of tangram");
    for (const std::string& name : h5.children(path)) {
        const std::string child = path == "/" ? path + name : path + "/" + name;
        group[name] = h5.is_group(child) ? json_of_group(h5, child, depth + 1) : json_of_data_set(h5, child);
    }
    return group;
}

std::string finetune_text(const Hdf5File& h5) {
    constexpr const char* tasks = "/tasks/finetune";
    if (h5.exists(tasks))
        return fmt::format("finetune   every task, {}, {} loss{}\n           {}\n",
                           h5.text_attribute(tasks, "optimizer"), h5.text_attribute(tasks, "loss"),
                           seconds_text(h5, "seconds_finetune"), h5.text_attribute(tasks, "sentence"));
    if (!h5.exists("/finetune")) return "";
    const std::string at = "/finetune";
    return fmt::format(
        "finetune   {}, {} loss, {:.0f} steps at learning rate {:.4g}, weights in {}{}\n           {}\n",
        h5.text_attribute(at, "optimizer"), h5.text_attribute(at, "loss"), h5.number_attribute(at, "steps"),
        h5.number_attribute(at, "learning_rate"), h5.text_attribute(at, "weights"),
        seconds_text(h5, "seconds_finetune"), h5.text_attribute(at, "sentence"));
}

/// The same of fine-tuning.
std::string printed_finetune(const Hdf5File& h5) {
    const std::string text = printed_text(h5, "/finetune") + printed_text(h5, "/tasks/finetune");
    return text.empty() ? finetune_text(h5) : text;
}

}  // namespace

void check_is_output(const Hdf5File& file, const std::filesystem::path& name) {
    if (!file.has_attribute("/", "schema_version"))
        throw Error(ExitStatus::output, ErrorKind::malformed,
                    fmt::format("{}: not an output file of tangram: no schema_version", name.string()));
    refuse_newer(file, name);
}

void inspect(const std::filesystem::path& file, Inspection how, Log& log) {
    const Hdf5File h5 = Hdf5File::open(file, false, ExitStatus::output);
    check_is_output(h5, file);
    if (how == Inspection::json) {
        log.result(json_of_group(h5, "/", 0).dump(1, ' ', false, nlohmann::json::error_handler_t::replace));
        return;
    }
    std::string text = provenance_text(h5, file);
    const bool full = how == Inspection::full;
    for (const auto group_text :
         {data_text, kernel_text, sketch_text, spectrum_text, runs_text, full ? printed_rates : rates_text,
          full ? printed_finetune : finetune_text, warnings_text})
        text += group_text(h5);
    text.pop_back();
    log.result(text);
}

}  // namespace tangram
