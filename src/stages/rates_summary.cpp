#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "tangram/rates/stopping_rules.hpp"
#include "tangram/stages/rates_file.hpp"

namespace tangram {

namespace {

// The paragraphs of the summary: lines that end in a new line each, none where the result has not what they
// say.

std::string sketch_text(const RatesResult& r) {
    if (r.sketch == 0) return "";
    return fmt::format(
        "sketched   to {} dimensions in all: no exponent past rank {}; {} eigenvalues above 1/eta_T{}, T "
        "needs ten times as many: {}\n",
        r.sketch, r.trusted_ranks(), r.eigenvalues_at_stop,
        r.eigenvalues_at_ridge > 0 ? fmt::format(" and {} above the GCV ridge", r.eigenvalues_at_ridge) : "",
        r.stop_trusted() ? "enough" : "NOT to be trusted");
}

/// What the fitted power is of.
std::string base_of_power(const RatesResult& r) {
    const double onset = r.decay.power_law().onset;
    return onset > 0 ? fmt::format("(rank + {:.3g})", onset) : "rank";
}

std::string selected_decay_text(const RatesResult& r) {
    const auto& window = r.decay.window;
    const Interval &exponent = r.intervals.polynomial.exponent, &rank = r.intervals.rank;
    const char* const given = r.window_given ? " (rates.window)" : "";
    switch (r.decay.selected) {
        case DecayFamily::none:
            break;
        case DecayFamily::polynomial:
            return fmt::format(
                "decay      polynomial: eigenvalues of G/n fall like {}^-{:.3f} {} over ranks {} to "
                "{}{}{}\n",
                base_of_power(r), exponent.value, bounds_text(exponent, 3), window.first, window.last, given,
                r.decay.onset_is_at_its_limit()
                    ? "; its onset is the latest that is looked for: no power shows"
                : r.decay.power_law().corrected ? ""
                                                : "; the sample's bias cannot be divided out here");
        case DecayFamily::exponential:
            return fmt::format(
                "decay      exponential: eigenvalues of G/n fall like exp(-{:.3g} rank^{:.3g}) over ranks {} "
                "to {}{}\n",
                r.intervals.exponential_rate.value, r.intervals.exponential_power.value, window.first,
                window.last, given);
        case DecayFamily::finite_rank:
            return fmt::format("decay      finite rank {:.0f} {}\n", rank.value, bounds_text(rank, 0));
    }
    return "decay      none: " + r.decay.reason + given + "\n";
}

/// The polynomial where another family was selected, an exponential that is not told from it.
std::string polynomial_beside_text(const RatesResult& r) {
    if (r.decay.exponential_fits_too())
        return fmt::format(
            "           beside it: exponential, exp(-{:.3g} rank^{:.3g}), BIC {:.1f} against {:.1f}: not "
            "told apart\n",
            r.intervals.exponential_rate.value, r.intervals.exponential_power.value,
            r.decay.exponential->criterion, r.decay.power_law().criterion);
    if (r.decay.selected == DecayFamily::polynomial || !r.decay.polynomial) return "";
    const Interval& a = r.intervals.polynomial.exponent;
    if (r.decay.selected == DecayFamily::none)
        return fmt::format("           beside it: polynomial, {}^-{:.3f} {}, which does not fit\n",
                           base_of_power(r), a.value, bounds_text(a, 3));
    const bool exponential = r.decay.selected == DecayFamily::exponential;
    return fmt::format("           beside it: polynomial, {}^-{:.3f} {}, BIC {:.1f} against {:.1f}{}\n",
                       base_of_power(r), a.value, bounds_text(a, 3), r.decay.power_law().criterion,
                       exponential ? r.decay.exponential->criterion : r.decay.finite_rank->criterion,
                       exponential && r.decay.exponential->power < 0.501
                           ? "; the power stands at its limit 1/2: the decay bends, and may be neither"
                           : "");
}

std::string residual_text(const RatesResult& r) {
    if (r.residual.empty()) return "";
    return r.mean_share != 0
               ? fmt::format(
                     "residual   targets less the model's outputs: mean square {:.4g} without "
                     "its mean, which held {:.0f} % of it\n",
                     r.residual_square, 100 * r.mean_share)
               : fmt::format("residual   targets less the model's outputs: mean square {:.4g}\n",
                             r.residual_square);
}

std::string step_text(double step) { return std::isfinite(step) ? fmt::format("{:.0f}", step) : "never"; }

/// A step that was looked for along the path; the path's end was not found, it is where the search ended.
std::string found_step_text(double step, const RatesResult& r) {
    if (!std::isfinite(step)) return "later than the path";
    return fmt::format("{:.0f}{}", step, step >= r.path.step.back() ? " or later (the path ends there)" : "");
}

/// "steps of size 0.1", or what the list of sizes makes of T steps.
std::string step_sizes_text(const RatesResult& r) {
    const std::vector<double>& sizes = r.step_sizes;
    if (sizes.size() == 1) return fmt::format("steps of size {:.4g}", sizes.front());
    return fmt::format("steps of sizes {:.4g} to {:.4g} (together {:.4g})", sizes.front(), sizes.back(),
                       StepSizes(sizes).eta(std::min(r.stop, 1e300)));
}

std::string stopping_text(const RatesResult& r) {
    if (!r.stop_known()) return fmt::format("stopping   no stopping step: sigma is {}\n", r.noise_source);
    return fmt::format("noise      sigma = {:.4g} ({}{}), radius R = {:.4g} ({})\n", r.noise, r.noise_source,
                       r.noise_source == noise_from_ridge
                           ? ": what this kernel leaves unexplained at this n, not the labels' noise"
                           : "",
                       r.radius, r.radius_source) +
           fmt::format(
               "stopping   T = {:.0f}{} {} on (1/2N) sum of squares over the N = {} rows ({:.0f} at half, "
               "{:.0f} at "
               "double sigma){}\n",
               r.stop,
               r.stop_interval ? fmt::format(" [{:.0f}, {:.0f}]", r.stop_interval->low, r.stop_interval->high)
                               : "",
               step_sizes_text(r), r.rows, r.sensitivity.half_noise, r.sensitivity.double_noise,
               std::isnan(r.critical) ? "" : fmt::format(", critical radius {:.4g}", r.critical));
}

std::string other_rules_text(const RatesResult& r) {
    if (!r.discrepancy_step) return "";
    return fmt::format(
        "           beside it: minimum discrepancy {}, GCV {}{}{}; minibatches of 32 at the same learning "
        "rate: {:.3g} epochs\n",
        step_text(*r.discrepancy_step), found_step_text(*r.cross_validated_step, r),
        r.holdout_step ? ", hold-out of half " + found_step_text(*r.holdout_step, r) : "",
        r.best_step ? ", best on the test set " + found_step_text(*r.best_step, r) : "",
        epochs(r.stop, std::min<Index>(32, r.examples), r.examples));
}

std::string bound_text(const RatesResult& r) {
    if (r.residual.empty()) return "";
    if (!r.bound.none.empty()) return "bound      none: " + r.bound.none + "\n";
    return fmt::format(
        "bound      the error at T, noise apart, is below {:.4g} with high probability{}{}\n", r.bound.value,
        r.source && r.source->inside()
            ? ""
            : ", if a ball of the given R holds the target, which its power does not show",
        r.bound.vacuous ? ": vacuous here, the start itself errs by less (mean square minus sigma^2)" : "");
}

/// What the steps up to T changed, by examples that were judged twice.
std::string verdict_on(const PairedComparison& learnt, bool classes) {
    if (classes && learnt.accuracy_rises())
        return learnt.error_rises() ? "its accuracy rises, and so does its error" : "it learns";
    if (classes && learnt.accuracy_falls())
        return learnt.error_falls() ? "its error falls, and so does its accuracy" : "its accuracy falls";
    if (learnt.error_falls())
        return classes ? "its error falls; that its accuracy rises is not shown" : "it learns";
    return learnt.error_rises() ? "its error rises" : "that it learns is not shown";
}

std::string learnt_text(const RatesResult& r) {
    if (!r.learnt) return "";
    if (r.stop == 0) return "learnt     nothing: T = 0\n";
    const bool classes = !std::isnan(r.model_alone->accuracy);
    return fmt::format("learnt     from step 0 to T the error falls by {:.3g} +- {:.2g}{}: {}\n",
                       r.learnt->error_fall, 1.96 * r.learnt->standard_error,
                       classes ? fmt::format(", {} examples are named rightly that were not, {} no more "
                                             "({:+.1f} points, p = {:.2g})",
                                             r.learnt->gained, r.learnt->lost,
                                             100 * static_cast<double>(r.learnt->gained - r.learnt->lost) /
                                                 static_cast<double>(r.curve.test_examples),
                                             r.learnt->p_value)
                               : "",
                       verdict_on(*r.learnt, classes));
}

std::string accuracy_text(const RatesResult& r, std::size_t stop) {
    if (!std::isfinite(r.test_accuracy[stop])) return "";
    const auto [low, high] = share_interval(r.test_accuracy[stop], r.curve.test_examples);
    return fmt::format(
        "accuracy   {:.3f} [{:.3f}, {:.3f}] at T on {} examples, {:.3f} at step 0{}, best {:.3f}; base rate "
        "{:.3f}{}\n",
        r.test_accuracy[stop], low, high, r.curve.test_examples, r.test_accuracy.front(),
        r.mean_share != 0 ? fmt::format(", {:.3f} of the model alone", r.model_alone->accuracy) : "",
        std::ranges::max(r.test_accuracy), r.curve.base_rate,
        low > r.curve.base_rate ? "" : ", not shown to be exceeded");
}

std::string test_text(const RatesResult& r) {
    if (r.test_mse.empty()) return "";
    const auto at = std::ranges::find(r.path.step, r.stop);
    const bool on_path = at != r.path.step.end();
    const auto stop = static_cast<std::size_t>(at - r.path.step.begin());
    const auto best = static_cast<std::size_t>(std::ranges::min_element(r.test_mse) - r.test_mse.begin());
    const std::string error = fmt::format(
        "test       mean squared error {:.4g} at step 0{}{}, best {:.4g} at step {}\n", r.test_mse.front(),
        r.mean_share != 0
            ? fmt::format(" (the residual's mean added; {:.4g} of the model alone)", r.model_alone->mse)
            : "",
        on_path ? fmt::format(", {:.4g} at T", r.test_mse[stop]) : "", r.test_mse[best],
        found_step_text(r.path.step[best], r));
    return (on_path ? error + accuracy_text(r, stop) : error) + learnt_text(r);
}

std::string functionals_text(const RatesResult& r) {
    const Functionals& f = r.functionals;
    const auto known = [](fmt::format_string<double&> words, double value) {
        return std::isnan(value) ? std::string() : fmt::format(words, value);
    };
    if (std::isnan(f.effective_rank)) return "";  // of the largest eigenvalues alone
    return fmt::format("spectrum   effective rank {:.4g}, stable rank {:.4g}{}{}{}\n", f.effective_rank,
                       f.stable_rank,
                       known(", effective dimension at T {:.4g}", f.effective_dimension_at_stop),
                       known(", information gain {:.4g} nats", f.information_gain_at_noise),
                       known(", alignment of the residual {:.3g}", f.alignment_residual));
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

/// Mean of a prediction over repeats; a dash where there is none.
std::string predicted_text(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value / static_cast<double>(values.size());
    return std::isfinite(sum) ? fmt::format("{:.4g}", sum) : std::string("-");
}

std::string curve_text(const LearningCurve& curve) {
    std::string text = fmt::format(
        "\nlearning curve: mean squared error on {} ({} examples), mean +- standard deviation over "
        "repeats (the whole sample is one); best step and best ridge are the best on these examples; "
        "predictions are of unseen examples\n"
        "  {:>7}  {:>17}  {:>17}  {:>9}  {:>17}  {:>17}  {:>9}  {:>17}  {:>17}\n",
        curve.observed_on, curve.test_examples, "n", "at T", "at best step", "pred. GD", "best ridge",
        "GCV ridge", "pred. GCV", "GCV's estimate", "accuracy at T");
    for (std::size_t s = 0; s < curve.sizes.size(); ++s) {
        const auto& results = curve.results[s];
        text += fmt::format("  {:>7}  {:>17}  {:>17}  {:>9}  {:>17}  {:>17}  {:>9}  {:>17}  {:>17}\n",
                            curve.sizes[s],
                            mean_text(results, [](const SubsetResult& x) { return x.at_stop.mse; }),
                            mean_text(results, [](const SubsetResult& x) { return x.at_best.mse; }),
                            predicted_text(curve.predicted_descent[s]),
                            mean_text(results, [](const SubsetResult& x) { return x.at_ridge.mse; }),
                            mean_text(results, [](const SubsetResult& x) { return x.at_gcv_ridge.mse; }),
                            predicted_text(curve.predicted_ridge[s]),
                            mean_text(results, [](const SubsetResult& x) { return x.cross_validation; }),
                            mean_text(results, [](const SubsetResult& x) { return x.at_stop.accuracy; }));
    }
    return text;
}

/// What somebody with so many examples would find: sigma(n), R(n), T by them and the error there.
std::string own_curve_text(const LearningCurve& curve, const RatesResult& r) {
    if (r.noise_source == "given" && r.radius_source == "given") return "";
    std::string text = fmt::format(
        "\nwhat n examples alone would say: sigma(n) and R(n), T by them, and the error at it (above, T is "
        "by the "
        "whole sample's)\n  {:>7}  {:>17}  {:>17}  {:>17}  {:>17}\n",
        "n", "sigma", "R", "T", "error at T");
    for (std::size_t s = 0; s < curve.sizes.size(); ++s) {
        const auto& results = curve.results[s];
        text += fmt::format("  {:>7}  {:>17}  {:>17}  {:>17}  {:>17}\n", curve.sizes[s],
                            mean_text(results, [](const SubsetResult& x) { return x.own_noise; }),
                            mean_text(results, [](const SubsetResult& x) { return x.own_radius; }),
                            mean_text(results, [](const SubsetResult& x) { return x.own_stopping_step; }),
                            mean_text(results, [](const SubsetResult& x) { return x.at_own_stop.mse; }));
    }
    return text;
}

std::string neighbours_text(const Neighbours& near) {
    std::string text = fmt::format(
        "\nneighbours: ridge regression on the k nearest examples; on all: mean squared error {:.4g}, "
        "accuracy {:.4g}\n",
        near.global_mse, near.global_accuracy);
    for (std::size_t s = 0; s < near.sizes.size(); ++s)
        text += fmt::format(
            "  k = {:>5}  mean squared error {:.4g}, accuracy {:.4g}, effective dimension {:.4g}\n",
            near.sizes[s], near.mse[s], near.accuracy[s], near.effective_dimension[s]);
    return text;
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
        text += fmt::format(
            "  with {:<24} {:<12} accuracy {:.3f} ({:.3f} by the intercept alone), mean squared error {:.4g} "
            "({:.4g}) ({} examples)\n",
            judged.weights, judged.task, judged.score.accuracy, judged.intercept.accuracy, judged.score.mse,
            judged.intercept.mse, judged.test_examples);
    return text;
}

std::string exponents_text(const std::vector<RateExponent>& exponents) {
    std::string text = "\nexponents x of n^-x\n";
    for (const RateExponent& row : exponents)
        text += row.known() ? fmt::format("  {:<18} {:>7.3f} {}  {}\n", row.source, row.exponent.value,
                                          bounds_text(row.exponent, 3), row.note)
                            : fmt::format("  {:<18}       - {}\n", row.source, row.note);
    return text;
}

}  // namespace

std::string rates_summary(const RatesResult& r) {
    std::string text;
    for (const auto paragraph : {sketch_text, selected_decay_text, polynomial_beside_text, residual_text,
                                 stopping_text, other_rules_text, bound_text, test_text, functionals_text})
        text += paragraph(r);
    if (!r.curve.sizes.empty()) text += curve_text(r.curve) + own_curve_text(r.curve, r);
    if (r.neighbours) text += neighbours_text(*r.neighbours);
    if (r.tasks) text += tasks_text(*r.tasks, r.stop);
    return text + exponents_text(r.exponents) + r.sentence;
}

}  // namespace tangram
