#include <fmt/core.h>

#include <cmath>
#include <limits>

#include "tangram/not_known.hpp"
#include "tangram/rates/stopping_rules.hpp"
#include "tangram/stages/rates_file.hpp"

namespace tangram {

namespace {

void write_decay(Hdf5File& file, const RatesResult& r) {
    const std::string decay = "/rates/decay";
    const auto write_interval = [&](const std::string& family, const std::string& key, bool fitted,
                                    const Interval& interval) {
        file.set_attribute(decay + "/" + family, key, fitted ? interval.value : not_known);
        file.set_attribute(decay + "/" + family, key + "_low", fitted ? interval.low : not_known);
        file.set_attribute(decay + "/" + family, key + "_high", fitted ? interval.high : not_known);
    };
    const bool polynomial = r.decay.polynomial.has_value(), exponential = r.decay.exponential.has_value();
    file.set_attribute(decay, "selected", std::string(name(r.decay.selected)));
    file.set_attribute(decay, "noise_floor", r.noise_floor);
    file.set_attribute(decay, "first", r.decay.window.first);
    file.set_attribute(decay, "last", r.decay.window.last);
    file.set_attribute(decay, "window_source", std::string(r.window_given ? "given" : "chosen"));
    file.set_attribute(decay, "reason", r.decay.reason);
    file.set_attribute(decay, "interval_reason", r.intervals.none);
    // An infinite criterion stands for a family that was not fitted.
    const double unfitted = std::numeric_limits<double>::infinity();
    write_interval("polynomial", "exponent", polynomial, r.intervals.polynomial.exponent);
    write_interval("polynomial", "constant", polynomial, r.intervals.polynomial.constant);
    write_interval("polynomial", "density_exponent", polynomial, r.intervals.polynomial.density_exponent);
    file.set_attribute(decay + "/polynomial", "criterion",
                       r.decay.polynomial ? r.decay.power_law().criterion : unfitted);
    file.set_attribute(decay + "/polynomial", "corrected",
                       Index{r.decay.polynomial && r.decay.power_law().corrected ? 1 : 0});
    file.set_attribute(decay + "/polynomial", "onset", r.decay.polynomial ? r.decay.power_law().onset : 0.0);
    write_interval("exponential", "constant", exponential, r.intervals.exponential_constant);
    write_interval("exponential", "rate", exponential, r.intervals.exponential_rate);
    write_interval("exponential", "power", exponential, r.intervals.exponential_power);
    file.set_attribute(decay + "/exponential", "criterion",
                       r.decay.exponential ? r.decay.exponential->criterion : unfitted);
    write_interval("finite_rank", "rank", r.decay.finite_rank.has_value(), r.intervals.rank);
    file.set_attribute(decay + "/finite_rank", "criterion",
                       r.decay.finite_rank ? r.decay.finite_rank->criterion : unfitted);
}

/// What the path does on the test set.
void write_test(Hdf5File& file, const RatesResult& r) {
    const std::string at = "/rates/stopping";
    const auto set = [&](const char* key, const auto& value) { file.set_attribute(at, key, value); };
    if (!r.test_mse.empty()) {
        file.write(at + "/test_mse", r.test_mse);
        file.write(at + "/test_accuracy", r.test_accuracy);
        file.write(at + "/ridge_test_mse", r.ridge_test_mse);
        file.write(at + "/ridge_test_accuracy", r.ridge_test_accuracy);
        set("model_test_mse", r.model_alone->mse);
        set("model_test_accuracy", r.model_alone->accuracy);
    }
    if (r.learnt) {
        file.write(at + "/test_squared_error", r.at_stop.squared_errors);
        if (!r.at_stop.right.empty())
            file.write(at + "/test_right",
                       std::vector<Index>(r.at_stop.right.begin(), r.at_stop.right.end()));
        set("learnt_mse", r.learnt->error_fall);
        set("learnt_mse_standard_error", r.learnt->standard_error);
        set("learnt_gained", r.learnt->gained);
        set("learnt_lost", r.learnt->lost);
        set("learnt_p_value", r.learnt->p_value);
    }
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
    if (r.stop_interval) {
        set("stopping_step_low", r.stop_interval->low);
        set("stopping_step_high", r.stop_interval->high);
    }
    set("stopping_step_half_radius", r.sensitivity.half_radius);
    set("stopping_step_double_radius", r.sensitivity.double_radius);
    set("stopping_step_half_noise", r.sensitivity.half_noise);
    set("stopping_step_double_noise", r.sensitivity.double_noise);
    set("error_bound", r.bound.value);
    set("error_bound_reason", r.bound.none);
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
    write_test(file, r);
    if (std::isfinite(r.stop)) {
        TableColumn batch{"batch"}, passes{"epochs"};
        for (Index b = 1; b < r.examples; b *= 2) batch.integers.push_back(b);
        batch.integers.push_back(r.examples);
        for (const Index b : batch.integers) passes.numbers.push_back(epochs(r.stop, b, r.examples));
        file.write_table(at + "/epochs", {batch, passes});
    }
}

void write_source(Hdf5File& file, const RatesResult& r) {
    const std::string at = "/rates/source_capacity";
    file.set_attribute(at, "reason", r.source_reason);
    const auto write_interval = [&](const std::string& key, const Interval& interval) {
        file.set_attribute(at, key, interval.value);
        file.set_attribute(at, key + "_low", interval.low);
        file.set_attribute(at, key + "_high", interval.high);
    };
    constexpr Interval none{not_known, not_known, not_known};
    write_interval("tail_exponent", r.power ? r.power->tail_exponent : none);
    write_interval("noise", r.power ? r.power->noise : none);
    file.set_attribute(at, "constant", r.power ? r.power->constant : not_known);
    file.set_attribute(at, "onset", r.power ? r.power->onset : not_known);
    write_interval("capacity", r.source ? r.source->capacity : none);
    write_interval("source", r.source ? r.source->source : none);
    file.set_attribute(at, "crossover", r.source ? r.source->crossover : not_known);
}

void write_curve(Hdf5File& file, const LearningCurve& curve) {
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
    std::vector<Index> orders;
    for (const std::vector<Index>& order : curve.orders)
        for (const Index example : order) orders.push_back(example + 1);  // the file counts from 1
    if (!orders.empty())
        file.write(at + "orders", orders,
                   {std::ssize(curve.orders), std::ssize(orders) / std::ssize(curve.orders)});
    write(at + "mse_stop", of([](const SubsetResult& s) { return s.at_stop.mse; }));
    write(at + "mse_best", of([](const SubsetResult& s) { return s.at_best.mse; }));
    write(at + "mse_ridge", of([](const SubsetResult& s) { return s.at_ridge.mse; }));
    write(at + "mse_gcv_ridge", of([](const SubsetResult& s) { return s.at_gcv_ridge.mse; }));
    write(at + "mse_own_stop", of([](const SubsetResult& s) { return s.at_own_stop.mse; }));
    write(at + "own_noise", of([](const SubsetResult& s) { return s.own_noise; }));
    write(at + "own_radius", of([](const SubsetResult& s) { return s.own_radius; }));
    write(at + "own_stopping_step", of([](const SubsetResult& s) { return s.own_stopping_step; }));
    write(at + "accuracy_stop", of([](const SubsetResult& s) { return s.at_stop.accuracy; }));
    write(at + "accuracy_best", of([](const SubsetResult& s) { return s.at_best.accuracy; }));
    write(at + "accuracy_ridge", of([](const SubsetResult& s) { return s.at_ridge.accuracy; }));
    write(at + "gcv", of([](const SubsetResult& s) { return s.cross_validation; }));
    write(at + "stopping_step", of([](const SubsetResult& s) { return s.stopping_step; }));
    write(at + "eta", of([](const SubsetResult& s) { return s.eta; }));
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
    file.set_attribute(at, "names", tasks.names);
    file.set_attribute(at, "joint_stopping_step", joint_stop);
    write_task_vectors(file, at + "/", tasks.vectors);
    file.write(at + "/stopping_step", tasks.stop);
    file.write(at + "/critical_radius", tasks.critical);
    file.write(at + "/noise", tasks.noise);
    file.write(at + "/radius", tasks.radius);
    file.write(at + "/examples", tasks.examples);
    if (tasks.judged.empty()) return;
    TableColumn weights{"weights"}, task{"task"}, accuracies{"accuracy"}, base{"base_accuracy"},
        intercept{"intercept_accuracy"}, intercept_mse{"intercept_mse"}, mse{"mse"},
        examples{"test_examples"};
    for (const TasksResult::Judged& judged : tasks.judged) {
        weights.texts.push_back(judged.weights);
        task.texts.push_back(judged.task);
        accuracies.numbers.push_back(judged.score.accuracy);
        mse.numbers.push_back(judged.score.mse);
        intercept.numbers.push_back(judged.intercept.accuracy);
        intercept_mse.numbers.push_back(judged.intercept.mse);
        examples.integers.push_back(judged.test_examples);
        // The start's rows, with no vector added, come first.
        for (const TasksResult::Judged& start : tasks.judged)
            if (start.task == judged.task) {
                base.numbers.push_back(start.score.accuracy);
                break;
            }
    }
    file.write_table(at + "/arithmetic",
                     {weights, task, accuracies, base, mse, examples, intercept, intercept_mse});
}

}  // namespace

void write_task_vectors(Hdf5File& file, const std::string& prefix, const TaskVectors& vectors) {
    const auto flat = [](const auto& entries) {  // of a symmetric matrix: either order
        return std::vector<double>(entries.data(), entries.data() + entries.size());
    };
    const Index count = vectors.inner.rows();
    file.write(prefix + "norms", flat(vectors.norms()));
    file.write(prefix + "cosines", flat(vectors.cosines()), {count, count});
    file.write(prefix + "inner", flat(vectors.inner), {count, count});
}

void write_rates(Hdf5File& file, const RatesResult& r) {
    write_decay(file, r);
    write_stopping(file, r);
    write_source(file, r);
    file.set_attribute("/rates", "sentence", r.sentence);
    if (r.sketch > 0) {
        file.set_attribute("/rates", "sketched", r.sketch);
        file.set_attribute("/rates", "sketch_count", r.eigenvalues_at_stop);
        file.set_attribute("/rates", "sketch_needed", r.sketch_needed());
        file.set_attribute("/rates", "sketch_trusted", Index{r.stop_trusted() ? 1 : 0});
    }
    TableColumn source{"source"}, value{"value"}, low{"low"}, high{"high"}, note{"note"};
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
    if (!r.curve.sizes.empty()) write_curve(file, r.curve);
    if (r.neighbours) write_neighbours(file, *r.neighbours);
    if (r.tasks) write_tasks(file, *r.tasks, r.stop);
    file.write("/rates/summary", lines_of(rates_summary(r)));
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t first = 0; first <= text.size();) {
        const std::size_t end = std::min(text.find('\n', first), text.size());
        lines.push_back(text.substr(first, end - first));
        first = end + 1;
    }
    return lines;
}

void tell_rates(const RatesResult& r, Log& log) {
    log.result(rates_summary(r));
    for (const auto& [name, value] :
         {std::pair{"stopping_step", r.stop}, std::pair{"critical_radius", r.critical},
          std::pair{"step_size", r.step_sizes.front()}, std::pair{"noise", r.noise},
          std::pair{"radius", r.radius}, std::pair{"error_bound", r.bound.value}})
        log.number(name, value);
    tell_exponents(r.exponents, "", log);
}

void tell_exponents(const std::vector<RateExponent>& exponents, const std::string& of, Log& log) {
    for (const RateExponent& exponent : exponents) {
        const std::string name = fmt::format("exponent {}{}", exponent.source, of);
        log.number(name, exponent.exponent.value);
        log.number(name + " low", exponent.exponent.low);
        log.number(name + " high", exponent.exponent.high);
    }
}

}  // namespace tangram
