#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tangram/rates/stopping_rules.hpp"
#include "tangram/stages/rates_file.hpp"

namespace tangram {

namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

void write_decay(Hdf5File& file, const RatesResult& r) {
    const std::string decay = "/rates/decay";
    const auto write_interval = [&](const std::string& family, const std::string& key,
                                    const Interval& interval) {
        file.set_attribute(decay + "/" + family, key, interval.value);
        file.set_attribute(decay + "/" + family, key + "_low", interval.low);
        file.set_attribute(decay + "/" + family, key + "_high", interval.high);
    };
    file.set_attribute(decay, "selected", std::string(name(r.decay.selected)));
    file.set_attribute(decay, "noise_floor", r.noise_floor);
    file.set_attribute(decay, "first", r.decay.window.first);
    file.set_attribute(decay, "last", r.decay.window.last);
    file.set_attribute(decay, "reason", r.decay.reason);
    // An infinite criterion stands for a family that was not fitted.
    const double unfitted = std::numeric_limits<double>::infinity();
    write_interval("polynomial", "exponent", r.intervals.polynomial.exponent);
    write_interval("polynomial", "constant", r.intervals.polynomial.constant);
    write_interval("polynomial", "density_exponent", r.intervals.polynomial.density_exponent);
    file.set_attribute(decay + "/polynomial", "criterion",
                       r.decay.polynomial ? r.decay.polynomial->criterion : unfitted);
    file.set_attribute(decay + "/polynomial", "corrected",
                       Index{r.decay.polynomial && r.decay.polynomial->corrected ? 1 : 0});
    write_interval("exponential", "constant", r.intervals.exponential_constant);
    write_interval("exponential", "rate", r.intervals.exponential_rate);
    write_interval("exponential", "power", r.intervals.exponential_power);
    file.set_attribute(decay + "/exponential", "criterion",
                       r.decay.exponential ? r.decay.exponential->criterion : unfitted);
    write_interval("finite_rank", "rank", r.intervals.rank);
    file.set_attribute(decay + "/finite_rank", "criterion",
                       r.decay.finite_rank ? r.decay.finite_rank->criterion : unfitted);
}

void write_stopping(Hdf5File& file, const RatesResult& r) {
    const std::string at = "/rates/stopping";
    const auto set = [&](const char* key, const auto& value) { file.set_attribute(at, key, value); };
    const auto set_known = [&](const char* key, const std::optional<double>& value) {
        if (value) file.set_attribute(at, key, *value);
    };
    set("critical_radius", r.critical);
    set("stopping_step", r.stop);
    set("step_size", r.step_sizes.front());
    set("noise", r.noise);
    set("noise_source", r.noise_source);
    set("radius", r.radius);
    set("radius_source", r.radius_source);
    set("stopping_step_half_radius", r.sensitivity.half_radius);
    set("stopping_step_double_radius", r.sensitivity.double_radius);
    set("stopping_step_half_noise", r.sensitivity.half_noise);
    set("stopping_step_double_noise", r.sensitivity.double_noise);
    set("error_bound", r.bound.value);
    set("ridge_twin", !r.stop_known() ? r.stop
                      : r.stop > 0    ? 1 / StepSizes(r.step_sizes).eta(r.stop)
                                      : std::numeric_limits<double>::infinity());
    set_known("discrepancy_step", r.discrepancy_step);
    set_known("gcv_step", r.cross_validated_step);
    set_known("holdout_step", r.holdout_step);
    set_known("best_step", r.best_step);
    if (r.step_sizes.size() > 1) file.write(at + "/step_sizes", r.step_sizes);
    file.write(at + "/step", r.path.step);
    file.write(at + "/eta", r.path.eta);
    file.write(at + "/rademacher", r.path.rademacher);
    file.write(at + "/variance", r.path.variance);
    file.write(at + "/bound", r.path.bound);
    if (r.residual.empty()) return;
    set("error_bound_vacuous", Index{r.bound.vacuous ? 1 : 0});
    set("residual_mean_square", r.residual_square);
    set("residual_mean_share", r.mean_share);
    file.write(at + "/residual_mean", r.residual_mean);
    file.write(at + "/bias2", r.path.bias2);
    file.write(at + "/train_mse", r.path.train_mse);
    file.write(at + "/ridge_train_mse", r.path.ridge_train_mse);
    file.write(at + "/gcv", r.path.gcv);
    if (!r.test_mse.empty()) {
        file.write(at + "/test_mse", r.test_mse);
        file.write(at + "/test_accuracy", r.test_accuracy);
        file.write(at + "/ridge_test_mse", r.ridge_test_mse);
        file.write(at + "/ridge_test_accuracy", r.ridge_test_accuracy);
    }
    if (std::isfinite(r.stop)) {
        TableColumn batch{"batch", {}, {}, {}}, passes{"epochs", {}, {}, {}};
        for (Index b = 1; b < r.examples; b *= 2) batch.integers.push_back(b);
        batch.integers.push_back(r.examples);
        for (const Index b : batch.integers) passes.numbers.push_back(epochs(r.stop, b, r.examples));
        file.write_table(at + "/epochs", {batch, passes});
    }
}

void write_curve(Hdf5File& file, const LearningCurve& curve, const RatesResult& r) {
    const std::string at = "/rates/learning_curve/";
    const std::vector<Index> shape{std::ssize(curve.sizes), std::ssize(curve.results.front())};
    const auto write = [&](const std::string& name, auto value) {
        std::vector<double> values;
        for (std::size_t s = 0; s < curve.sizes.size(); ++s)
            for (std::size_t k = 0; k < curve.results[s].size(); ++k) values.push_back(value(s, k));
        file.write(name, values, shape);
    };
    const auto of = [&](auto member) {
        return [&curve, member](std::size_t s, std::size_t k) { return member(curve.results[s][k]); };
    };
    file.write(at + "sizes", curve.sizes);
    write(at + "mse_stop", of([](const SubsetResult& s) { return s.at_stop.mse; }));
    write(at + "mse_best", of([](const SubsetResult& s) { return s.at_best.mse; }));
    write(at + "mse_ridge", of([](const SubsetResult& s) { return s.at_ridge.mse; }));
    write(at + "accuracy_stop", of([](const SubsetResult& s) { return s.at_stop.accuracy; }));
    write(at + "accuracy_best", of([](const SubsetResult& s) { return s.at_best.accuracy; }));
    write(at + "accuracy_ridge", of([](const SubsetResult& s) { return s.at_ridge.accuracy; }));
    write(at + "gcv", of([](const SubsetResult& s) { return s.cross_validation; }));
    write(at + "stopping_step", of([](const SubsetResult& s) { return s.stopping_step; }));
    write(at + "best_step", of([](const SubsetResult& s) { return s.best_step; }));
    write(at + "critical_radius", of([](const SubsetResult& s) { return s.critical_radius; }));
    write(at + "predicted_ridge", [&](std::size_t s, std::size_t k) { return curve.predicted_ridge[s][k]; });
    write(at + "ridge", of([](const SubsetResult& s) { return s.ridge; }));
    write(at + "predicted_gradient_descent",
          [&](std::size_t s, std::size_t k) { return curve.predicted_descent[s][k]; });
    const std::string group = "/rates/learning_curve";
    file.set_attribute(group, "base_rate", curve.base_rate);
    file.set_attribute(group, "test_examples", curve.test_examples);
    file.set_attribute(group, "observed_on", curve.observed_on);
    file.set_attribute(group, "flagged_above", r.examples / 4);
    file.write("/rates/decay/sizes", curve.sizes);
    write("/rates/decay/exponent_by_size", of([](const SubsetResult& s) { return s.exponent; }));
}

void write_functionals(Hdf5File& file, const Functionals& f) {
    const std::string at = "/rates/functionals";
    for (const auto& [key, value] :
         {std::pair{"effective_rank", f.effective_rank}, std::pair{"stable_rank", f.stable_rank},
          std::pair{"participation_ratio", f.participation_ratio},
          std::pair{"alignment_labels", f.alignment_labels},
          std::pair{"alignment_residual", f.alignment_residual},
          std::pair{"alignment_slope", f.alignment_slope},
          std::pair{"effective_dimension_at_stop", f.effective_dimension_at_stop},
          std::pair{"information_gain_at_noise", f.information_gain_at_noise}})
        file.set_attribute(at, key, value);
    file.write(at + "/t", f.t);
    file.write(at + "/effective_dimension", f.effective_dimension);
    file.write(at + "/information_gain", f.information_gain);
}

void write_neighbours(Hdf5File& file, const Neighbours& neighbours) {
    const std::string at = "/neighbours";
    const Index largest = neighbours.sizes.back();
    file.set_attribute(at, "global_accuracy", neighbours.global_accuracy);
    file.set_attribute(at, "global_mse", neighbours.global_mse);
    file.write(at + "/sizes", neighbours.sizes);
    file.write(at + "/accuracy", neighbours.accuracy);
    file.write(at + "/mse", neighbours.mse);
    file.write(at + "/effective_dimension", neighbours.effective_dimension);
    file.write(at + "/cosines", neighbours.cosines, {neighbours.test_examples, largest});
    std::vector<Index> nearest(neighbours.nearest.begin(), neighbours.nearest.end());
    for (Index& example : nearest) ++example;  // the file counts from 1
    file.write(at + "/nearest", nearest, {neighbours.test_examples, largest});
}

void write_tasks(Hdf5File& file, const TasksResult& tasks, double joint_stop) {
    const std::string at = "/tasks";
    const Index count = std::ssize(tasks.names);
    file.set_attribute(at, "names", tasks.names);
    file.set_attribute(at, "joint_stopping_step", joint_stop);
    const auto flat = [](const Eigen::MatrixXd& matrix) {  // symmetric: either order
        return std::vector<double>(matrix.data(), matrix.data() + matrix.size());
    };
    const Eigen::VectorXd norms = tasks.vectors.norms();
    file.write(at + "/norms", std::vector<double>(norms.data(), norms.data() + norms.size()));
    file.write(at + "/cosines", flat(tasks.vectors.cosines()), {count, count});
    file.write(at + "/inner", flat(tasks.vectors.inner), {count, count});
    file.write(at + "/stopping_step", tasks.stop);
    file.write(at + "/critical_radius", tasks.critical);
    file.write(at + "/noise", tasks.noise);
    file.write(at + "/radius", tasks.radius);
    file.write(at + "/examples", tasks.examples);
    if (tasks.judged.empty()) return;
    TableColumn weights{"weights", {}, {}, {}}, task{"task", {}, {}, {}}, accuracies{"accuracy", {}, {}, {}},
        base{"base_accuracy", {}, {}, {}}, mse{"mse", {}, {}, {}}, examples{"test_examples", {}, {}, {}};
    for (const TasksResult::Judged& judged : tasks.judged) {
        weights.texts.push_back(judged.weights);
        task.texts.push_back(judged.task);
        accuracies.numbers.push_back(judged.score.accuracy);
        mse.numbers.push_back(judged.score.mse);
        examples.integers.push_back(judged.test_examples);
        // The start's rows, with no vector added, come first.
        for (const TasksResult::Judged& start : tasks.judged)
            if (start.task == judged.task) {
                base.numbers.push_back(start.score.accuracy);
                break;
            }
    }
    file.write_table(at + "/arithmetic", {weights, task, accuracies, base, mse, examples});
}

std::string tasks_text(const TasksResult& tasks, double joint_stop) {
    std::string text = fmt::format("\ntasks      joint T = {:.0f}\n", joint_stop);
    const Eigen::VectorXd norms = tasks.vectors.norms();
    const Eigen::MatrixXd cosines = tasks.vectors.cosines();
    for (std::size_t a = 0; a < tasks.names.size(); ++a) {
        const auto row = static_cast<Eigen::Index>(a);
        text += fmt::format(
            "  {:<12} {} examples, T = {:.0f}, sigma = {:.4g}, R = {:.4g}, norm of its vector {:.4g}, "
            "cosines",
            tasks.names[a], tasks.examples[a], tasks.stop[a], tasks.noise[a], tasks.radius[a], norms(row));
        for (Eigen::Index b = 0; b < cosines.cols(); ++b) text += fmt::format(" {:.3f}", cosines(row, b));
        text += "\n";
    }
    for (const TasksResult::Judged& judged : tasks.judged)
        text += fmt::format("  with {:<24} {:<12} accuracy {:.3f}, mean squared error {:.4g} ({} examples)\n",
                            judged.weights, judged.task, judged.score.accuracy, judged.score.mse,
                            judged.test_examples);
    return text;
}

/// Mean over repeats with the spread, "0.512 +- 0.010"; a dash where nothing was observed.
template <class Value>
std::string mean_text(const std::vector<SubsetResult>& results, Value&& value) {
    double mean = 0, squares = 0;
    for (const SubsetResult& result : results) mean += value(result) / static_cast<double>(results.size());
    for (const SubsetResult& result : results) squares += std::pow(value(result) - mean, 2);
    if (!std::isfinite(mean)) return "-";
    // Equal values leave rounding alone.
    if (results.size() < 2 || !(squares > 1e-24 * mean * mean)) return fmt::format("{:.4g}", mean);
    return fmt::format("{:.4g} +- {:.2g}", mean,
                       std::sqrt(squares / static_cast<double>(results.size() - 1)));
}

std::string curve_text(const LearningCurve& curve, const RatesResult& r) {
    std::string text = fmt::format(
        "\nlearning curve: mean squared error on {} ({} examples), mean +- standard deviation over "
        "repeats; * beyond N/4, where a prediction lacks the sample's own tail\n"
        "  {:>7}  {:>17}  {:>17}  {:>17}  {:>9}  {:>9}  {:>17}  {:>17}\n",
        curve.observed_on, curve.test_examples, "n", "at T", "at best step", "ridge", "pred. GD",
        "pred. ridge", "GCV", "accuracy at T");
    for (std::size_t s = 0; s < curve.sizes.size(); ++s) {
        const auto& results = curve.results[s];
        const auto mean = [](const std::vector<double>& values) {
            double sum = 0;
            for (const double value : values) sum += value / static_cast<double>(values.size());
            return std::isfinite(sum) ? fmt::format("{:.4g}", sum) : std::string("-");
        };
        const std::string flag = 4 * curve.sizes[s] > r.examples ? "*" : " ";
        text +=
            fmt::format("  {:>7}  {:>17}  {:>17}  {:>17}  {:>8}{}  {:>8}{}  {:>17}  {:>17}\n", curve.sizes[s],
                        mean_text(results, [](const SubsetResult& x) { return x.at_stop.mse; }),
                        mean_text(results, [](const SubsetResult& x) { return x.at_best.mse; }),
                        mean_text(results, [](const SubsetResult& x) { return x.at_ridge.mse; }),
                        mean(curve.predicted_descent[s]), flag, mean(curve.predicted_ridge[s]), flag,
                        mean_text(results, [](const SubsetResult& x) { return x.cross_validation; }),
                        mean_text(results, [](const SubsetResult& x) { return x.at_stop.accuracy; }));
    }
    return text;
}

std::string step_text(double step) { return std::isfinite(step) ? fmt::format("{:.0f}", step) : "never"; }

}  // namespace

void write_rates(Hdf5File& file, const RatesResult& r) {
    write_decay(file, r);
    write_stopping(file, r);
    file.set_attribute("/rates", "sentence", r.sentence);
    if (r.sketch > 0) {
        file.set_attribute("/rates", "sketched", r.sketch);
        file.set_attribute("/rates", "sketch_count", r.eigenvalues_at_stop);
        file.set_attribute("/rates", "sketch_needed", r.sketch_needed());
        file.set_attribute("/rates", "sketch_trusted", Index{r.stop_trusted() ? 1 : 0});
    }
    TableColumn source{"source", {}, {}, {}}, value{"value", {}, {}, {}}, low{"low", {}, {}, {}},
        high{"high", {}, {}, {}}, note{"note", {}, {}, {}};
    for (const RateExponent& row : r.exponents) {
        source.texts.push_back(row.source);
        value.numbers.push_back(row.exponent.value);
        low.numbers.push_back(row.exponent.low);
        high.numbers.push_back(row.exponent.high);
        note.texts.push_back(row.note);
    }
    file.write_table("/rates/exponents", {source, value, low, high, note});
    write_functionals(file, r.functionals);
    if (!r.residual.empty()) {
        file.write("/rates/alignment/labels", r.labels, {r.rows, r.outputs});
        file.write("/rates/alignment/residual", r.residual, {r.rows, r.outputs});
        file.write("/rates/alignment/cumulative", r.cumulative, {r.rows, r.outputs});
    }
    if (!r.curve.sizes.empty()) write_curve(file, r.curve, r);
    if (r.neighbours) write_neighbours(file, *r.neighbours);
    if (r.tasks) write_tasks(file, *r.tasks, r.stop);
}

std::string rates_summary(const RatesResult& r) {
    std::string text;
    const auto line = [&](const std::string& words) { text += words + "\n"; };
    const auto& window = r.decay.window;
    if (r.sketch > 0)
        line(fmt::format(
            "sketched   to {} dimensions in all: no exponent past rank {}; {} eigenvalues above "
            "1/eta_T{}, T needs ten times as many: {}",
            r.sketch, r.trusted_ranks(), r.eigenvalues_at_stop,
            r.eigenvalues_at_ridge > 0 ? fmt::format(" and {} above the GCV ridge", r.eigenvalues_at_ridge)
                                       : "",
            r.stop_trusted() ? "enough" : "NOT to be trusted"));
    switch (r.decay.selected) {
        case DecayFamily::none:
            line("decay      none: " + r.decay.reason);
            break;
        case DecayFamily::polynomial: {
            const Interval& a = r.intervals.polynomial.exponent;
            line(fmt::format(
                "decay      polynomial: eigenvalues of G/n fall like rank^-{:.3f} [{:.3f}, {:.3f}] over "
                "ranks {} to {}{}",
                a.value, a.low, a.high, window.first, window.last,
                r.decay.polynomial->corrected ? "" : "; the finite-sample correction does not apply here"));
            break;
        }
        case DecayFamily::exponential:
            line(
                fmt::format("decay      exponential: eigenvalues of G/n fall like exp(-{:.3g} rank^{:.3g}) "
                            "over ranks {} to {}",
                            r.intervals.exponential_rate.value, r.intervals.exponential_power.value,
                            window.first, window.last));
            break;
        case DecayFamily::finite_rank:
            line(fmt::format("decay      finite rank {:.0f} [{:.0f}, {:.0f}]", r.intervals.rank.value,
                             r.intervals.rank.low, r.intervals.rank.high));
            break;
    }
    if (r.decay.selected != DecayFamily::polynomial && r.decay.selected != DecayFamily::none &&
        r.decay.polynomial) {
        const Interval& a = r.intervals.polynomial.exponent;
        const bool exponential = r.decay.selected == DecayFamily::exponential;
        line(fmt::format(
            "           beside it: polynomial, rank^-{:.3f} [{:.3f}, {:.3f}], BIC {:.1f} against {:.1f}{}",
            a.value, a.low, a.high, r.decay.polynomial->criterion,
            exponential ? r.decay.exponential->criterion : r.decay.finite_rank->criterion,
            exponential && r.decay.exponential->power < 0.501
                ? "; the power stands at its limit 1/2: the decay bends, and may be neither"
                : ""));
    }
    if (!r.residual.empty())
        line(r.mean_share != 0 ? fmt::format("residual   mean square {:.4g} after taking out its mean "
                                             "({:.0f} % of the raw mean square)",
                                             r.residual_square, 100 * r.mean_share)
                               : fmt::format("residual   mean square {:.4g}", r.residual_square));
    if (!r.stop_known())
        line(
            "stopping   no stopping step: the output has no targets to estimate sigma from; give "
            "rates.noise");
    else
        line(fmt::format("noise      sigma = {:.4g} ({}), radius R = {:.4g} ({})", r.noise, r.noise_source,
                         r.radius, r.radius_source));
    if (r.stop_known())
        line(fmt::format(
            "stopping   T = {:.0f} steps of size {:.4g} ({:.0f} at half, {:.0f} at double sigma), critical "
            "radius {:.4g}",
            r.stop, r.step_sizes.front(), r.sensitivity.half_noise, r.sensitivity.double_noise, r.critical));
    if (r.discrepancy_step)
        line(
            fmt::format("           beside it: minimum discrepancy {}, GCV {}{}{}; minibatches of 32 at the "
                        "same learning rate: "
                        "{:.3g} epochs",
                        step_text(*r.discrepancy_step), step_text(*r.cross_validated_step),
                        r.holdout_step ? ", hold-out of half " + step_text(*r.holdout_step) : "",
                        r.best_step ? ", best on the test set " + step_text(*r.best_step) : "",
                        epochs(r.stop, std::min<Index>(32, r.examples), r.examples)));
    if (!r.residual.empty())
        line(
            fmt::format("bound      error at T below {:.4g} with high probability{}", r.bound.value,
                        r.bound.vacuous ? ": vacuous here, it exceeds the mean square of the residual" : ""));
    if (!r.test_mse.empty()) {
        const auto at = std::find(r.path.step.begin(), r.path.step.end(), r.stop);
        const auto stop = static_cast<std::size_t>(at - r.path.step.begin());
        const auto best = static_cast<std::size_t>(std::min_element(r.test_mse.begin(), r.test_mse.end()) -
                                                   r.test_mse.begin());
        line(fmt::format("test       mean squared error {:.4g} at step 0{}, best {:.4g} at step {:.0f}",
                         r.test_mse.front(),
                         at == r.path.step.end() ? "" : fmt::format(", {:.4g} at T", r.test_mse[stop]),
                         r.test_mse[best], r.path.step[best]));
        if (at != r.path.step.end() && std::isfinite(r.test_accuracy[stop])) {
            const auto [low, high] = share_interval(r.test_accuracy[stop], r.curve.test_examples);
            line(
                fmt::format("accuracy   {:.3f} [{:.3f}, {:.3f}] at T on {} examples, {:.3f} at step 0, best "
                            "{:.3f}; base rate {:.3f}: "
                            "{}",
                            r.test_accuracy[stop], low, high, r.curve.test_examples, r.test_accuracy.front(),
                            *std::max_element(r.test_accuracy.begin(), r.test_accuracy.end()),
                            r.curve.base_rate, low > r.curve.base_rate ? "it learns" : "not above it"));
        }
    }
    const Functionals& f = r.functionals;
    line(fmt::format("spectrum   effective rank {:.4g}, stable rank {:.4g}{}{}{}", f.effective_rank,
                     f.stable_rank,
                     std::isnan(f.effective_dimension_at_stop)
                         ? ""
                         : fmt::format(", effective dimension at T {:.4g}", f.effective_dimension_at_stop),
                     std::isnan(f.information_gain_at_noise)
                         ? ""
                         : fmt::format(", information gain {:.4g} nats", f.information_gain_at_noise),
                     std::isnan(f.alignment_residual)
                         ? ""
                         : fmt::format(", alignment of the residual {:.3g}", f.alignment_residual)));
    if (!r.curve.sizes.empty()) text += curve_text(r.curve, r);
    if (r.neighbours) {
        const Neighbours& near = *r.neighbours;
        line(
            fmt::format("\nneighbours: ridge regression on the k nearest examples; on all: mean squared "
                        "error {:.4g}, accuracy {:.4g}",
                        near.global_mse, near.global_accuracy));
        for (std::size_t s = 0; s < near.sizes.size(); ++s)
            line(fmt::format(
                "  k = {:>5}  mean squared error {:.4g}, accuracy {:.4g}, effective dimension {:.4g}",
                near.sizes[s], near.mse[s], near.accuracy[s], near.effective_dimension[s]));
    }
    if (r.tasks) text += tasks_text(*r.tasks, r.stop);
    line("\nexponents x of n^-x");
    for (const RateExponent& row : r.exponents)
        line(row.known() ? fmt::format("  {:<18} {:>7.3f} [{:.3f}, {:.3f}]  {}", row.source,
                                       row.exponent.value, row.exponent.low, row.exponent.high, row.note)
                         : fmt::format("  {:<18}       - {}", row.source, row.note));
    text += r.sentence;
    return text;
}

}  // namespace tangram
