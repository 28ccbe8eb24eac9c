#include "model_table.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tangram/error.hpp"
#include "tangram/not_known.hpp"

namespace tangram {

namespace {

/// The largest size that all models have; 0: none.
Index common_size(const std::vector<ComparedModel>& models) {
    for (auto size = models.front().runs.rbegin(); size != models.front().runs.rend(); ++size)
        if (std::ranges::all_of(models, [&](const auto& model) { return model.runs.contains(size->first); }))
            return size->first;
    return 0;
}

const TestedRun* run_of_draw(const std::vector<TestedRun>& runs, const std::string& draw) {
    const auto found = std::ranges::find(runs, draw, &TestedRun::draw);
    return found == runs.end() ? nullptr : &*found;
}

/// Why errors of two runs cannot be paired; empty where they can.
std::string cannot_pair(const TestedRun& a, const TestedRun& b) {
    if (a.at_stop.squared_errors.empty() || b.at_stop.squared_errors.empty())
        return "a run has no test errors at T; models are compared on a test set, where T is finite";
    if (a.rows != b.rows || a.labels != b.labels) return "the runs have other test examples";
    if (a.target != b.target)
        return fmt::format("errors of the outputs {} and {} are of other targets", a.target, b.target);
    return {};
}

/// What a model does on every test example, over some draws of the training examples.
class OverDraws {
  public:
    void add(const TestedRun& run) {
        ++draws_;
        for (std::size_t e = 0; e < run.at_stop.squared_errors.size(); ++e) {
            Example& example = examples_[{run.tasks.empty() ? 0 : run.tasks[e],
                                          run.rows.empty() ? static_cast<Index>(e) : run.rows[e]}];
            example.draws += 1;
            example.squared_error += run.at_stop.squared_errors[e];
            if (run.at_stop.right.empty())
                has_classes_ = false;
            else
                example.right += run.at_stop.right[e] ? 1 : 0;
        }
    }
    Index draws() const { return draws_; }
    /// An example counts once: draws of the training examples are not draws of it. It is named rightly where
    /// most draws name it so.
    Judgement judgement() const {
        Judgement of;
        for (const auto& [row, example] : examples_) {
            of.squared_errors.push_back(example.squared_error / example.draws);
            if (has_classes_) of.right.push_back(example.right > 0.5 * example.draws);
        }
        return of;
    }
    double accuracy() const {
        double right = 0, draws = 0;
        for (const auto& [row, example] : examples_) {
            right += example.right;
            draws += example.draws;
        }
        return has_classes_ ? right / draws : not_known;
    }

  private:
    struct Example {
        double squared_error = 0, right = 0, draws = 0;
    };
    std::map<std::pair<Index, Index>, Example> examples_;  ///< by task and row in its source
    Index draws_ = 0;
    bool has_classes_ = true;
};

/// The draws that all models have at this size, by model.
std::vector<OverDraws> joined(const std::vector<ComparedModel>& models, Index size, std::string& why) {
    std::vector<OverDraws> all(models.size());
    for (const TestedRun& first : models.front().runs.at(size)) {
        std::vector<const TestedRun*> runs;
        for (const ComparedModel& model : models)
            runs.push_back(run_of_draw(model.runs.at(size), first.draw));
        if (std::ranges::find(runs, nullptr) != runs.end()) continue;
        for (std::size_t m = 0; m < models.size(); ++m) {
            if (why = cannot_pair(first, *runs[m]); !why.empty()) return {};
            all[m].add(*runs[m]);
        }
    }
    if (all.front().draws() == 0) why = "no draw (data.seed) is common to all of them";
    return all;
}

}  // namespace

TestedRun read_tested_run(const Hdf5File& h5, const std::string& draw) {
    TestedRun run{draw, h5.text_attribute("/kernel", "output"), {}, {}, {}, {}};
    const std::string errors = "/rates/stopping/test_squared_error", right = "/rates/stopping/test_right";
    if (!h5.exists(errors) || !h5.exists("/data/test/labels")) return run;
    const Index examples = h5.length(errors, 1);
    run.at_stop.squared_errors = h5.read_doubles(errors, examples);
    run.labels = h5.read_int64("/data/test/labels", examples);
    if (h5.exists("/data/test/tasks")) run.tasks = h5.read_int64("/data/test/tasks", examples);
    if (h5.exists("/data/test/rows")) run.rows = h5.read_int64("/data/test/rows", examples);
    if (h5.exists(right))
        for (const Index value : h5.read_int64(right, examples)) run.at_stop.right.push_back(value == 1);
    return run;
}

std::vector<ModelRow> compare_models(const std::vector<ComparedModel>& models, std::string& why) {
    why.clear();
    if (models.size() < 2) return {};
    const Index size = common_size(models);
    if (size == 0) {
        why = "no number of training examples is common to all of them";
        return {};
    }
    const std::vector<OverDraws> over_draws = joined(models, size, why);
    if (!why.empty()) return {};
    std::vector<ModelRow> rows;
    std::vector<Judgement> judged;
    for (std::size_t m = 0; m < models.size(); ++m) {
        judged.push_back(over_draws[m].judgement());
        const std::vector<double>& errors = judged[m].squared_errors;
        const auto count = static_cast<double>(errors.size());
        double mean = 0, squares = 0;
        for (const double e : errors) mean += e / count;
        for (const double e : errors) squares += (e - mean) * (e - mean);
        rows.push_back({models[m].name,
                        size,
                        std::ssize(errors),
                        over_draws[m].draws(),
                        mean,
                        count > 1 ? std::sqrt(squares / (count - 1) / count) : not_known,
                        over_draws[m].accuracy(),
                        {},
                        models[m].exponent});
    }
    const auto best =
        static_cast<std::size_t>(std::ranges::min_element(rows, {}, &ModelRow::mse) - rows.begin());
    for (std::size_t m = 0; m < rows.size(); ++m)
        rows[m].behind_best = compare_paired(judged[m], judged[best]);
    rows[best].behind_best = {not_known, not_known, 0, 0, not_known};
    std::ranges::sort(rows, {}, &ModelRow::mse);
    return rows;
}

std::string models_text(const std::vector<ModelRow>& rows) {
    const ModelRow& best = rows.front();
    // The best was chosen among them: one of the others is taken to err more than it where that is shown
    // among all pairs.
    const Index pairs = std::ssize(rows) * (std::ssize(rows) - 1) / 2;
    std::string text = fmt::format(
        "models at n = {}, paired on the same {} test examples{}: error at T +- standard error, how much "
        "less the best errs\n",
        best.examples, best.test_examples,
        best.draws > 1 ? fmt::format(", each by its mean over {} draws", best.draws) : "");
    for (const ModelRow& row : rows) {
        const PairedComparison& behind = row.behind_best;
        text += fmt::format(
            "  {:.4g} +- {:.2g}{}{}, {}: {}\n", row.mse, row.standard_error,
            std::isnan(behind.error_fall)
                ? std::string(", the least")
                : fmt::format(", {:.3g} +- {:.2g} more ({})", behind.error_fall, behind.standard_error,
                              behind.error_falls(pairs) ? "shown" : "not shown"),
            std::isnan(row.accuracy) ? "" : fmt::format(", accuracy {:.3f}", row.accuracy),
            row.exponent.known() ? fmt::format("x = {:.2f} [{:.2f}, {:.2f}]", row.exponent.exponent.value,
                                               row.exponent.exponent.low, row.exponent.exponent.high)
                                 : "no observed rate",
            row.name);
    }
    std::string behind, level;
    for (const ModelRow& row : rows)
        if (&row != &best) {
            std::string& list = row.behind_best.error_falls(pairs) ? behind : level;
            list += (list.empty() ? "" : " and of ") + row.name;
        }
    text += fmt::format("The error at T is least with {}", best.name);
    if (!behind.empty()) text += ", and less than that of " + behind + " by more than chance";
    if (!level.empty())
        text += (behind.empty() ? ", but that it is less than that of " : "; that it is less than that of ") +
                level + " is not shown";
    // A rate is faster only where intervals stand apart; limits differ by model.
    const auto fastest = std::ranges::max_element(rows, {}, [](const ModelRow& row) {
        return row.exponent.known() ? row.exponent.exponent.value : -1.0;
    });
    const bool apart =
        fastest->exponent.known() && std::ranges::all_of(rows, [&](const ModelRow& row) {
            return &row == &*fastest ||
                   (row.exponent.known() && row.exponent.exponent.high < fastest->exponent.exponent.low);
        });
    return text + (apart ? fmt::format("; it falls fastest with {}.", fastest->name)
                         : "; which falls fastest is not shown.");
}

void write_models(Hdf5File& h5, const std::vector<ModelRow>& rows) {
    TableColumn curve{"curve"}, samples{"samples"}, tested{"test_examples"}, note{"note"};
    for (const ModelRow& row : rows) {
        curve.texts.push_back(row.name);
        samples.integers.push_back(row.examples);
        tested.integers.push_back(row.test_examples);
        note.texts.push_back(row.exponent.note);
    }
    std::vector<TableColumn> columns{curve, samples, tested};
    const auto add = [&](const char* name, auto number) {
        TableColumn column{name};
        for (const ModelRow& row : rows) column.numbers.push_back(number(row));
        columns.push_back(column);
    };
    add("mse", [](const ModelRow& row) { return row.mse; });
    add("mse_standard_error", [](const ModelRow& row) { return row.standard_error; });
    add("accuracy", [](const ModelRow& row) { return row.accuracy; });
    add("difference", [](const ModelRow& row) { return row.behind_best.error_fall; });
    add("difference_standard_error", [](const ModelRow& row) { return row.behind_best.standard_error; });
    add("p_value", [](const ModelRow& row) { return row.behind_best.p_value; });
    add("exponent", [](const ModelRow& row) { return row.exponent.exponent.value; });
    add("exponent_low", [](const ModelRow& row) { return row.exponent.exponent.low; });
    add("exponent_high", [](const ModelRow& row) { return row.exponent.exponent.high; });
    columns.push_back(note);
    h5.write_table("/models", columns);
}

}  // namespace tangram
