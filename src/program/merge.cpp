#include "commands.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "model_table.hpp"
#include "replaced_output.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/io/output.hpp"
#include "tangram/not_known.hpp"
#include "tangram/rates/exponents.hpp"
#include "tangram/rates/falling_error.hpp"
#include "tangram/session/provenance.hpp"
#include "tangram/stages/rates_file.hpp"
#include "tangram/study/file_contents.hpp"
#include "tangram/study/keys.hpp"
#include "tangram/study/stored_study.hpp"

namespace tangram {

namespace {

/// What a run of a scale study says.
struct Run {
    std::string file, study, model_sha256;
    std::map<std::string, std::string> keys;  ///< of the study, values as TOML
    Index samples = 0, rows = 0, ranks = 0;
    double noise = not_known, radius = not_known, critical_radius = not_known, stopping_step = not_known;
    double decay_exponent = not_known, mse_stop = not_known, accuracy_stop = not_known, mse_best = not_known,
           seconds = 0;
    TestedRun tested;
    std::vector<RateExponent> rates;  ///< of the run's own table: over its subsets, or predicted
    std::vector<Log::Warning> warnings;
    /// Of its training, the test losses of the network and of the linearised model, at T and at their best.
    bool finetuned = false;
    double finetune_stopping_step = not_known, finetune_loss_stop = not_known,
           finetune_linear_loss_stop = not_known, finetune_loss_best = not_known,
           finetune_linear_loss_best = not_known, finetune_gap = not_known;

    RateExponent rate(const std::string& source) const {
        const auto found = std::ranges::find(rates, source, &RateExponent::source);
        return found == rates.end() ? unknown_rate(source, "the run has none") : *found;
    }
};

/// Entry of /rates/stopping/<name> at the stopping step; NaN where there is none.
double at_stop(const Hdf5File& h5, const std::string& name, double stop) {
    const std::string at = "/rates/stopping/";
    if (!h5.exists(at + name)) return not_known;
    const std::vector<double> steps = h5.read_doubles(at + "step"),
                              values = h5.read_doubles(at + name, std::ssize(steps));
    const auto found = std::find(steps.begin(), steps.end(), stop);
    return found == steps.end() ? not_known : values[static_cast<std::size_t>(found - steps.begin())];
}

/// A column of a table; nullptr: it has none of that name.
const TableColumn* column_of(const std::vector<TableColumn>& columns, const char* name) {
    const auto at = std::ranges::find(columns, name, &TableColumn::name);
    return at == columns.end() ? nullptr : &*at;
}

/// What the run warned of, by stage; nothing where the table has other columns.
std::vector<Log::Warning> warnings_of(const Hdf5File& h5) {
    std::vector<Log::Warning> warnings;
    if (!h5.exists("/warnings")) return warnings;
    const std::vector<TableColumn> columns = h5.read_table("/warnings");
    const TableColumn *const stage = column_of(columns, "stage"), *const text = column_of(columns, "text");
    if (stage == nullptr || text == nullptr) return warnings;
    for (std::size_t i = 0; i < stage->texts.size() && i < text->texts.size(); ++i)
        warnings.push_back({stage->texts[i], text->texts[i]});
    return warnings;
}

/// The rows of the table of rates; none where it is not as tangram writes it.
std::vector<RateExponent> rates_of(const Hdf5File& h5) {
    std::vector<RateExponent> rates;
    if (!h5.exists("/rates/exponents")) return rates;
    const std::vector<TableColumn> columns = h5.read_table("/rates/exponents");
    const TableColumn *const source = column_of(columns, "source"), *const note = column_of(columns, "note");
    const TableColumn* const numbers[] = {column_of(columns, "value"), column_of(columns, "low"),
                                          column_of(columns, "high")};
    if (source == nullptr || note == nullptr || std::ranges::find(numbers, nullptr) != std::end(numbers))
        return rates;
    for (std::size_t i = 0; i < source->texts.size() && i < note->texts.size(); ++i)
        if (std::ranges::all_of(numbers, [&](const auto* c) { return i < c->numbers.size(); }))
            rates.push_back({source->texts[i],
                             {numbers[0]->numbers[i], numbers[1]->numbers[i], numbers[2]->numbers[i]},
                             note->texts[i]});
    return rates;
}

/// What a run's training says on its test set; nothing of it where the run was not fine-tuned.
void read_finetune(const Hdf5File& h5, Run& run) {
    if (!h5.exists("/finetune/path")) return;
    run.finetuned = true;
    run.finetune_stopping_step = h5.number_attribute("/finetune", "stopping_step");
    if (h5.has_attribute("/finetune", "gap")) run.finetune_gap = h5.number_attribute("/finetune", "gap");
    const std::vector<TableColumn> columns = h5.read_table("/finetune/path");
    const TableColumn* const step = column_of(columns, "step");
    const auto read = [&](const char* name, double& stop, double& best) {
        const TableColumn* const losses = column_of(columns, name);
        if (step == nullptr || losses == nullptr) return;
        for (std::size_t i = 0; i < std::min(step->integers.size(), losses->numbers.size()); ++i) {
            const double loss = losses->numbers[i];
            if (static_cast<double>(step->integers[i]) == run.finetune_stopping_step) stop = loss;
            if (!(best <= loss) && std::isfinite(loss)) best = loss;
        }
    };
    read("test_loss", run.finetune_loss_stop, run.finetune_loss_best);
    read("linear_test_loss", run.finetune_linear_loss_stop, run.finetune_linear_loss_best);
}

Run read_run(const std::filesystem::path& file) {
    const Hdf5File h5 = Hdf5File::open(file, false, ExitStatus::output);
    for (const char* group :
         {"/provenance", "/data/train/offsets", "/spectrum/eigenvalues", "/rates/stopping"})
        if (!h5.exists(group))
            throw Error(
                ExitStatus::output, ErrorKind::missing,
                fmt::format("{}: {} is missing; `tangram merge` takes files that `tangram run` finished",
                            file.string(), group));
    if (h5.has_attribute("/spectrum", "count") && h5.integer_attribute("/spectrum", "count") > 0)
        throw Error(
            ExitStatus::study, ErrorKind::contradiction,
            fmt::format("{}: spectrum.count leaves eigenvalues out; rates across runs need all of them",
                        file.string()));
    Run run;
    run.file = file.string();
    run.study = stored_study(h5, file);
    run.keys = complete_study_keys(run.study);
    run.model_sha256 = h5.text_attribute("/provenance", "model_sha256");
    run.samples = h5.length("/data/train/offsets", 1) - 1;
    run.rows = h5.length("/spectrum/eigenvalues", 1);
    run.ranks = h5.integer_attribute("/provenance", "ranks");
    for (const char* stage : {"seconds_gram", "seconds_spectrum", "seconds_rates"})
        run.seconds += h5.number_attribute("/provenance", stage);
    const auto stopping = [&](const char* name) { return h5.number_attribute("/rates/stopping", name); };
    run.noise = stopping("noise");
    run.radius = stopping("radius");
    run.critical_radius = stopping("critical_radius");
    run.stopping_step = stopping("stopping_step");
    run.mse_stop = at_stop(h5, "test_mse", run.stopping_step);
    run.accuracy_stop = at_stop(h5, "test_accuracy", run.stopping_step);
    if (h5.exists("/rates/stopping/test_mse")) {
        const std::vector<double> path =
            h5.read_doubles("/rates/stopping/test_mse", h5.length("/rates/stopping/step", 1));
        run.mse_best = *std::min_element(path.begin(), path.end());
    }
    if (h5.has_attribute("/rates/decay/polynomial", "exponent"))
        run.decay_exponent = h5.number_attribute("/rates/decay/polynomial", "exponent");
    const auto seed = run.keys.find("data.seed");
    run.tested = read_tested_run(h5, seed == run.keys.end() ? "" : seed->second);
    run.rates = rates_of(h5);
    run.warnings = warnings_of(h5);
    read_finetune(h5, run);
    return run;
}

/// Keys in which runs of one curve differ: the size, what draws it, and what decides no result.
bool belongs_to_a_point(const std::string& key) {
    return key == "data.samples" || key == "data.seed" || key == "rates.sizes" || !decides_a_result(key);
}

/// Runs that differ in size and draw alone.
struct ScaleCurve {
    std::string name;
    std::vector<Index> sizes;               ///< rising
    std::vector<std::vector<Run>> repeats;  ///< by size; the same draws at every size, where there are such
};

using RunsByDraw = std::map<std::string, Run>;   ///< by data.seed
using RunsBySize = std::map<Index, RunsByDraw>;  ///< by examples
constexpr const char* weights_key = "model_sha256";

/// What tells runs from each other: the keys of the study, and the hash of the weights that were read, which
/// a folder of the same name need not share.
std::map<std::string, std::string> distinctions(const Run& run) {
    std::map<std::string, std::string> found = run.keys;
    std::erase_if(found, [](const auto& entry) { return belongs_to_a_point(entry.first); });
    found[weights_key] = run.model_sha256;
    return found;
}

/// The distinctions in which the runs differ. Weights that follow from other keys (another model.path) are
/// not named beside them.
std::set<std::string> varying_keys(const std::vector<Run>& runs) {
    std::set<std::string> varying;
    bool same_study_other_weights = false;
    for (const Run& run : runs)
        for (const Run& other : runs) {
            const auto mine = distinctions(run), theirs = distinctions(other);
            bool same_study = true;
            for (const auto& [key, value] : mine) {
                const auto found = theirs.find(key);
                if (key == weights_key || (found != theirs.end() && found->second == value)) continue;
                varying.insert(key);
                same_study = false;
            }
            same_study_other_weights |= same_study && run.model_sha256 != other.model_sha256;
        }
    if (same_study_other_weights) varying.insert(weights_key);
    return varying;
}

/// "model.path = "a", kernel.output = "trace"": a curve by what its runs share and others do not.
std::string name_of_curve(const Run& run, const std::set<std::string>& varying) {
    const auto mine = distinctions(run);
    std::string name;
    for (const std::string& key : varying) {
        const auto found = mine.find(key);
        name += fmt::format("{}{} = {}", name.empty() ? "" : ", ", key,
                            found == mine.end() ? "absent" : found->second);
    }
    return name;
}

/// The same in short, "path = a, output = trace": keys without their section, texts without quotes, of a path
/// its last part.
std::string short_name_of_curve(const Run& run, const std::set<std::string>& varying) {
    const auto mine = distinctions(run);
    std::string name;
    for (const std::string& key : varying) {
        const auto found = mine.find(key);
        std::string value = found == mine.end() ? "absent" : found->second;
        std::erase_if(value, [](char c) { return c == '"' || c == '\''; });
        if (key.ends_with(".path") || key.ends_with(".train") || key.ends_with(".test"))
            value = std::filesystem::path(value).filename().string();
        if (key == weights_key) value = value.substr(0, 8);
        name += fmt::format("{}{} = {}", name.empty() ? "" : ", ", key.substr(key.rfind('.') + 1), value);
    }
    return name;
}

ScaleCurve curve_of(const std::string& name, const RunsBySize& sizes) {
    ScaleCurve curve{name.empty() ? "all runs" : name, {}, {}};
    std::set<std::string> everywhere;  // draws that every size has
    for (const auto& run : sizes.begin()->second)
        if (std::ranges::all_of(sizes, [&](const auto& size) { return size.second.contains(run.first); }))
            everywhere.insert(run.first);
    for (const auto& [size, draws] : sizes) {
        curve.sizes.push_back(size);
        std::vector<Run>& repeats = curve.repeats.emplace_back();
        for (const auto& [seed, run] : draws)
            if (everywhere.empty() || everywhere.contains(seed)) repeats.push_back(run);
    }
    return curve;
}

std::vector<ScaleCurve> curves_of(const std::vector<Run>& runs) {
    const std::set<std::string> varying = varying_keys(runs);
    std::map<std::string, RunsBySize> by_name;
    for (const Run& run : runs) {
        const auto seed = run.keys.find("data.seed");
        auto& point = by_name[name_of_curve(run, varying)][run.samples];
        const auto [at, is_new] = point.emplace(seed == run.keys.end() ? "" : seed->second, run);
        if (!is_new)
            throw Error(ExitStatus::study, ErrorKind::contradiction,
                        fmt::format("{} and {} are the same point of a scale study: {} samples "
                                    "with the same seed; leave one out",
                                    at->second.file, run.file, run.samples));
    }
    std::vector<ScaleCurve> curves;
    std::set<std::string> distinct;
    const auto short_name = [&](const RunsBySize& sizes) {
        return short_name_of_curve(sizes.begin()->second.begin()->second, varying);
    };
    for (const auto& [name, sizes] : by_name) distinct.insert(short_name(sizes));
    for (const auto& [name, sizes] : by_name)
        curves.push_back(curve_of(distinct.size() == by_name.size() ? short_name(sizes) : name, sizes));
    return curves;
}

/// Every curve as a model, with the rate across its runs, or over the subsets of its largest where there are
/// too few.
std::vector<ComparedModel> models_of(const std::vector<ScaleCurve>& curves,
                                     const std::vector<std::vector<RateExponent>>& exponents) {
    std::vector<ComparedModel> models;
    for (std::size_t c = 0; c < curves.size(); ++c) {
        ComparedModel& model = models.emplace_back();
        model.name = curves[c].name;
        const auto across = std::ranges::find(exponents[c], "observed", &RateExponent::source);
        model.exponent = across != exponents[c].end() && across->known()
                             ? *across
                             : curves[c].repeats.back().front().rate("observed");
        for (std::size_t s = 0; s < curves[c].sizes.size(); ++s)
            for (const Run& run : curves[c].repeats[s]) model.runs[curves[c].sizes[s]].push_back(run.tested);
    }
    return models;
}

/// The slope of a quantity over the sizes of a curve.
template <class Quantity>
RateExponent slope(const ScaleCurve& curve, const std::string& source, const std::string& note,
                   Quantity quantity) {
    if (curve.sizes.size() < 3)
        return unknown_rate(source, fmt::format("{} size{} too few for a slope", curve.sizes.size(),
                                                curve.sizes.size() == 1 ? " is" : "s are"));
    std::vector<double> sizes, values;
    std::size_t repeats = curve.repeats.front().size();
    for (const auto& runs : curve.repeats) repeats = runs.size() == repeats ? repeats : 1;
    for (std::size_t s = 0; s < curve.sizes.size(); ++s) {
        sizes.push_back(static_cast<double>(curve.sizes[s]));
        double mean = 0;
        for (const Run& run : curve.repeats[s]) {
            const double value = quantity(run);
            if (!(value > 0) || !std::isfinite(value))
                return unknown_rate(source, fmt::format("{}: it is {:.4g}", run.file, value));
            if (repeats > 1) values.push_back(value);
            mean += value / static_cast<double>(curve.repeats[s].size());
        }
        if (repeats == 1) values.push_back(mean);
    }
    return {source, power_law(sizes, values, static_cast<Index>(repeats)), note};
}

/// An error as a limit and a power of n. Runs of other draws are fresh samples as long as they are small
/// beside the table that they are drawn from. @param what  the error's name, for the note
RateExponent falling_across(const ScaleCurve& curve, const std::string& source, const char* what,
                            double Run::*error) {
    if (curve.sizes.size() < 3)
        return unknown_rate(source, fmt::format("{} size{} too few for a slope", curve.sizes.size(),
                                                curve.sizes.size() == 1 ? " is" : "s are"));
    std::size_t repeats = curve.repeats.front().size();
    for (const auto& runs : curve.repeats) repeats = std::min(repeats, runs.size());
    std::vector<double> sizes, values;
    for (std::size_t s = 0; s < curve.sizes.size(); ++s) {
        sizes.push_back(static_cast<double>(curve.sizes[s]));
        for (std::size_t k = 0; k < repeats; ++k) {
            const Run& run = curve.repeats[s][k];
            if (!std::isfinite(run.*error))
                return unknown_rate(source, fmt::format("{}: no {}", run.file, what));
            values.push_back(run.*error);
        }
    }
    const double tested = static_cast<double>(
        std::max<Index>(1, std::ssize(curve.repeats.back().front().tested.at_stop.squared_errors)));
    ErrorCurve errors{sizes, values, static_cast<Index>(repeats)};
    errors.shared = values.back() * std::sqrt(2 / tested);
    const FallingError found = falling_error(errors);
    if (!found.none.empty()) return unknown_rate(source, "no rate: " + found.none);
    return {source, found.exponent,
            fmt::format("{} = A + B n^-x with A = {:.4g} [{:.4g}, {:.4g}]", what, found.limit.value,
                        found.limit.low, found.limit.high)};
}

/// What the largest run alone predicts.
void add_predicted(const ScaleCurve& curve, std::vector<RateExponent>& rows) {
    const Run& largest = curve.repeats.back().front();
    for (const char* const source : {"decay", "source_capacity", "eigenlearning"}) {
        RateExponent row = largest.rate(source);
        row.note = fmt::format("predicted by n = {}{}{}", curve.sizes.back(), row.note.empty() ? "" : ": ",
                               row.note);
        rows.push_back(row);
    }
}

/// Of the network and of its linearised model, where runs of the curve were fine-tuned.
void add_finetuned(const ScaleCurve& curve, std::vector<RateExponent>& rows) {
    if (!std::ranges::any_of(curve.repeats, [](const std::vector<Run>& runs) {
            return std::ranges::any_of(runs, &Run::finetuned);
        }))
        return;
    const auto loss = [&](const char* source, const char* note, double Run::*error) {
        rows.push_back(slope(curve, source, note, [&](const Run& run) { return run.*error; }));
    };
    rows.push_back(
        falling_across(curve, "network", "test loss of the network at T", &Run::finetune_loss_stop));
    rows.push_back(falling_across(curve, "linearised", "test loss of the linearised model at T",
                                  &Run::finetune_linear_loss_stop));
    loss("network_loss", "whole test loss of the network at T", &Run::finetune_loss_stop);
    loss("linearised_loss", "of the linearised model", &Run::finetune_linear_loss_stop);
    loss("network_best_loss", "whole test loss of the network at its best step", &Run::finetune_loss_best);
    loss("linearised_best_loss", "of the linearised model at its own", &Run::finetune_linear_loss_best);
}

/// Why T shows no rate, with the first run where it does not; empty where every run learnt something.
std::string nothing_learnt(const ScaleCurve& curve) {
    for (const auto& point : curve.repeats)
        for (const Run& run : point)
            if (run.stopping_step == 0)
                return fmt::format(
                    "no rate: {}: T = 0, at its noise nothing is learnt; leave it out, or give "
                    "rates.noise",
                    run.file);
    return {};
}

std::vector<RateExponent> exponents_of(const ScaleCurve& curve) {
    const std::string idle = nothing_learnt(curve);
    const auto at_stop = [&](const char* source, auto found) {
        return idle.empty() ? found() : unknown_rate(source, idle);
    };
    std::vector<RateExponent> rows{
        at_stop("critical_radius",
                [&] {
                    // eps_n is of sigma/R, and bounds the error in units of R^2: runs have their own.
                    return slope(
                        curve, "critical_radius", "slope of R^2 eps_n^2, a bound over a ball of R",
                        [](const Run& run) { return std::pow(run.radius * run.critical_radius, 2); });
                }),
        at_stop("observed",
                [&] { return falling_across(curve, "observed", "test error at T", &Run::mse_stop); }),
        at_stop("observed_mse",
                [&] {
                    return slope(curve, "observed_mse", "whole test error at T",
                                 [](const Run& run) { return run.mse_stop; });
                }),
        slope(curve, "observed_best_mse", "whole test error at the best step",
              [](const Run& run) { return run.mse_best; }),
        at_stop("stopping_step", [&] {
            return slope(curve, "stopping_step", "T itself: negative where it grows",
                         [](const Run& run) { return run.stopping_step; });
        })};
    add_predicted(curve, rows);
    add_finetuned(curve, rows);
    return rows;
}

using NumbersOfRuns = std::vector<std::pair<const char*, double Run::*>>;
/// Of training, by their columns in /runs.
const NumbersOfRuns& finetune_numbers() {
    static const NumbersOfRuns all{{"finetune_stopping_step", &Run::finetune_stopping_step},
                                   {"finetune_loss_stop", &Run::finetune_loss_stop},
                                   {"finetune_linear_loss_stop", &Run::finetune_linear_loss_stop},
                                   {"finetune_loss_best", &Run::finetune_loss_best},
                                   {"finetune_linear_loss_best", &Run::finetune_linear_loss_best},
                                   {"finetune_gap", &Run::finetune_gap}};
    return all;
}

/// What the runs warned of, each sentence once with the runs that it is of.
void write_warnings(Hdf5File& h5, const std::vector<Run>& runs) {
    std::map<std::pair<std::string, std::string>, std::vector<std::string>> files;
    for (const Run& run : runs)
        for (const auto& [stage, text] : run.warnings)
            if (std::vector<std::string>& of = files[{stage, text}]; of.empty() || of.back() != run.file)
                of.push_back(run.file);
    TableColumn stages{.name = "stage", .empty_of_texts = true},
        texts{.name = "text", .empty_of_texts = true};
    for (const auto& [warning, of] : files) {
        stages.texts.push_back(warning.first);
        texts.texts.push_back(fmt::format("{}: {}", fmt::join(of, ", "), warning.second));
    }
    h5.write_table("/warnings", {stages, texts});
}

void write_merged(Hdf5File& h5, const std::vector<Run>& runs, const std::vector<ScaleCurve>& curves,
                  const std::vector<std::vector<RateExponent>>& exponents) {
    TableColumn file{"file"}, curve_name{"curve"}, seed{"seed"}, model{"model_sha256"}, samples{"samples"},
        rows{"rows"}, ranks{"ranks"};
    for (const Run& run : runs) {
        file.texts.push_back(run.file);
        const auto drawn = run.keys.find("data.seed");
        seed.texts.push_back(drawn == run.keys.end() ? "" : drawn->second);
        model.texts.push_back(run.model_sha256);
        samples.integers.push_back(run.samples);
        rows.integers.push_back(run.rows);
        ranks.integers.push_back(run.ranks);
        for (const ScaleCurve& curve : curves)
            for (const auto& point : curve.repeats)
                for (const Run& member : point)
                    if (member.file == run.file) curve_name.texts.push_back(curve.name);
        curve_name.texts.resize(file.texts.size());
    }
    std::vector<TableColumn> columns{file, curve_name, seed, model, samples, rows, ranks};
    NumbersOfRuns numbers{{"noise", &Run::noise},
                          {"radius", &Run::radius},
                          {"critical_radius", &Run::critical_radius},
                          {"stopping_step", &Run::stopping_step},
                          {"decay_exponent", &Run::decay_exponent},
                          {"mse_stop", &Run::mse_stop},
                          {"accuracy_stop", &Run::accuracy_stop},
                          {"mse_best", &Run::mse_best},
                          {"seconds", &Run::seconds}};
    if (std::ranges::any_of(runs, &Run::finetuned))
        numbers.insert(numbers.end(), finetune_numbers().begin(), finetune_numbers().end());
    for (const auto& [name, member] : numbers) {
        TableColumn column{name};
        for (const Run& run : runs) column.numbers.push_back(run.*member);
        columns.push_back(column);
    }
    h5.write_table("/runs", columns);
    TableColumn of{"curve"}, source{"source"}, value{"value"}, low{"low"}, high{"high"}, note{"note"};
    for (std::size_t c = 0; c < curves.size(); ++c)
        for (const RateExponent& row : exponents[c]) {
            of.texts.push_back(curves[c].name);
            source.texts.push_back(row.source);
            value.numbers.push_back(row.exponent.value);
            low.numbers.push_back(row.exponent.low);
            high.numbers.push_back(row.exponent.high);
            note.texts.push_back(row.note);
        }
    h5.write_table("/rates/exponents", {of, source, value, low, high, note});
}

double mean_of(const std::vector<Run>& runs, double Run::*member) {
    double sum = 0;
    for (const Run& run : runs) sum += run.*member / static_cast<double>(runs.size());
    return sum;
}

/// The network beside its linearised model, a line per size; empty where nothing was fine-tuned.
std::string finetuned_text(const ScaleCurve& curve) {
    std::string text;
    for (std::size_t s = 0; s < curve.sizes.size(); ++s) {
        if (std::ranges::none_of(curve.repeats[s], &Run::finetuned)) continue;
        text += fmt::format("  {:>8} {:>5}", curve.sizes[s], curve.repeats[s].size());
        for (const auto& [name, member] : finetune_numbers())
            if (const double mean = mean_of(curve.repeats[s], member); std::isnan(mean))
                text += fmt::format(" {:>12}", "-");
            else
                text += fmt::format(" {:>12.4g}", mean);
        text += "\n";
    }
    if (text.empty()) return text;
    return fmt::format(
               "  fine-tuned, test loss of the network and of its linearised model, and their gap as a share "
               "of the outputs' change\n  {:>8} {:>5} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}\n",
               "n", "runs", "T", "at T", "linearised", "best", "linearised", "gap at T") +
           text;
}

std::string merged_text(const std::vector<ScaleCurve>& curves,
                        const std::vector<std::vector<RateExponent>>& exponents) {
    std::string text;
    for (std::size_t c = 0; c < curves.size(); ++c) {
        text += curves[c].name + "\n";
        text += fmt::format("  {:>8} {:>5} {:>10} {:>12} {:>12} {:>12} {:>14}\n", "n", "runs", "T", "eps_n",
                            "error at T", "best error", "accuracy at T");
        for (std::size_t s = 0; s < curves[c].sizes.size(); ++s) {
            const std::vector<Run>& runs = curves[c].repeats[s];
            const auto mean = [&](double Run::*member) { return mean_of(runs, member); };
            text += fmt::format("  {:>8} {:>5} {:>10.5g} {:>12.4g} {:>12.4g} {:>12.4g} {:>14.4g}\n",
                                curves[c].sizes[s], runs.size(), mean(&Run::stopping_step),
                                mean(&Run::critical_radius), mean(&Run::mse_stop), mean(&Run::mse_best),
                                mean(&Run::accuracy_stop));
        }
        text += finetuned_text(curves[c]) + "  exponents x of n^-x across the runs\n";
        for (const RateExponent& row : exponents[c])
            text += row.known() ? fmt::format("    {:<20} {:.3f} {}  {}\n", row.source, row.exponent.value,
                                              bounds_text(row.exponent, 3), row.note)
                                : fmt::format("    {:<20} -  {}\n", row.source, row.note);
    }
    text.pop_back();
    return text;
}

}  // namespace

void merge(const std::filesystem::path& output, const std::vector<std::string>& files,
           const Session& session) {
    const MPI_Comm comm = session.world.get();
    const OutputLock lock(comm, output);
    const std::vector<Run> runs = collectively(comm, [&] {
        std::vector<Run> read;
        if (session.world.rank() != 0) return read;
        for (const std::string& file : files) {
            std::error_code code;
            if (std::filesystem::equivalent(file, output, code))
                throw Error(ExitStatus::study, ErrorKind::contradiction,
                            fmt::format("{} is the output and one of the runs; name another", file));
            read.push_back(read_run(file));
        }
        return read;
    });
    check_replaced(output, made_by::merge, session);
    const std::vector<ScaleCurve> curves = collectively(comm, [&] { return curves_of(runs); });
    std::vector<std::vector<RateExponent>> exponents;
    std::vector<ModelRow> models;
    std::string summary;
    collectively(comm, [&] {
        std::string why;
        for (const ScaleCurve& curve : curves) exponents.push_back(exponents_of(curve));
        models = compare_models(models_of(curves, exponents), why);
        if (session.world.rank() != 0) return;
        summary = merged_text(curves, exponents);
        if (!models.empty()) summary.append("\n").append(models_text(models));
        if (!why.empty()) summary += fmt::format("\nmodels are not compared: {}", why);
    });
    const ProcessGrid grid = ProcessGrid::most_square(comm);
    const Provenance provenance = Provenance::gather(grid);
    StagedFile file(comm, output, false, 0.0);
    file.write_small([&](Hdf5File& h5) {
        write_merged(h5, runs, curves, exponents);
        h5.write("/rates/summary", lines_of(summary));
        write_warnings(h5, runs);
        if (!models.empty()) write_models(h5, models);
        provenance.write(h5, fmt::format("{}{}\n", made_by::merge, fmt::join(files, ", ")), "", 0, session);
        complete_file(h5, session.log, "merge");
    });
    file.commit();
    if (session.world.rank() != 0) return;
    session.log.result(summary);
    for (std::size_t c = 0; c < curves.size(); ++c)
        tell_exponents(exponents[c], curves.size() > 1 ? ", " + curves[c].name : "", session.log);
}

}  // namespace tangram
