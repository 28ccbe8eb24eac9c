#include "tangram/learning/kernel_rates.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tangram/rates/eigenlearning.hpp"
#include "tangram/rates/functionals.hpp"
#include "tangram/rates/stopping_rules.hpp"

namespace tangram {

namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
constexpr const char* no_targets = "not estimated: the output has no targets";

std::vector<double> power_of(const KernelRegression& regression) {
    std::vector<double> power = regression.squares();
    for (double& value : power) value /= static_cast<double>(regression.rows());
    return power;
}

/// The sizes of the learning curve, rising, none above `examples`.
std::vector<Index> curve_sizes(const RatesOptions& options, Index examples, const Listener& listener) {
    std::vector<Index> sizes = options.sizes;
    if (sizes.empty()) {
        for (Index size = 128; size < examples; size *= 2) sizes.push_back(size);
        sizes.push_back(examples);
    }
    std::sort(sizes.begin(), sizes.end());
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    while (!sizes.empty() && sizes.back() > examples) {
        listener.say(
            fmt::format("rates.sizes: {} is dropped, there are {} examples", sizes.back(), examples));
        sizes.pop_back();
    }
    if (sizes.empty()) sizes.push_back(examples);
    return sizes;
}

Functionals functionals(const RatesResult& r, std::span<const double> l, const KernelRegression* regression,
                        const StepSizes& steps) {
    Functionals f{};
    f.effective_rank = effective_rank(l);
    f.stable_rank = stable_rank(l);
    f.participation_ratio = participation_ratio(l);
    f.alignment_labels = f.alignment_residual = f.alignment_slope = unknown;
    if (regression != nullptr) {
        const auto outputs = static_cast<std::size_t>(r.outputs);
        std::vector<double> labels(l.size(), 0.0);
        for (std::size_t i = 0; i < r.labels.size(); ++i) labels[i / outputs] += r.labels[i] * r.labels[i];
        f.alignment_labels = kernel_target_alignment(l, labels);
        f.alignment_residual = kernel_target_alignment(l, regression->squares());
        Index last = std::ssize(l);
        while (last > 0 && !(l[static_cast<std::size_t>(last - 1)] > r.noise_floor)) --last;
        last = std::min(last, r.trusted_ranks());
        f.alignment_slope = alignment_slope(l, regression->squares(), 1, last);
    }
    const double eta = steps.eta(std::min(r.stop, 1e300));
    f.effective_dimension_at_stop = !r.stop_known()                    ? unknown
                                    : r.stop > 0 && std::isfinite(eta) ? effective_dimension(l, 1 / eta)
                                    : r.stop > 0                       ? static_cast<double>(l.size())
                                                                       : 0;
    f.information_gain_at_noise = r.noise > 0 ? information_gain(l, r.noise, r.rows) : unknown;
    const double lowest = std::max(r.noise_floor, 1e-14 * l.front());  // below l_1, as was checked
    for (double t = l.front(); t >= lowest; t /= std::pow(10, 0.2)) {
        f.t.push_back(t);
        f.effective_dimension.push_back(effective_dimension(l, t));
        f.information_gain.push_back(information_gain(l, std::sqrt(static_cast<double>(r.rows) * t), r.rows));
    }
    return f;
}

/// What the path of the whole sample shows on the test set, by step: descent and its ridge twin.
void test_path(const KernelRegression& regression, const StepSizes& steps, RatesResult& r) {
    std::vector<std::vector<double>> descent, ridge;
    for (std::size_t k = 0; k < r.path.step.size(); ++k) {
        descent.push_back(regression.descent(steps, r.path.step[k]));
        ridge.push_back(r.path.step[k] > 0 ? regression.ridge(1 / r.path.eta[k])
                                           : std::vector<double>(regression.l().size(), 0.0));
    }
    for (const TestScore& score : regression.scores(descent)) {
        r.test_mse.push_back(score.mse);
        r.test_accuracy.push_back(score.accuracy);
    }
    for (const TestScore& score : regression.scores(ridge)) {
        r.ridge_test_mse.push_back(score.mse);
        r.ridge_test_accuracy.push_back(score.accuracy);
    }
    const auto best = std::min_element(r.test_mse.begin(), r.test_mse.end());
    r.best_step = r.path.step[static_cast<std::size_t>(best - r.test_mse.begin())];
}

}  // namespace

RatesResult compute_rates(const RatesInput& input, const RatesOptions& options, const Listener& listener) {
    RatesResult r;
    r.rows = input.rows;
    r.sketch = input.sketch;
    const auto n = static_cast<double>(r.rows);
    r.noise_floor = input.noise_floor / n;
    std::vector<double> l = input.eigenvalues;
    for (double& value : l) value /= n;
    if (!(l.front() > 0))
        throw Error(ExitStatus::numerical,
                    "the kernel is zero: there is nothing to learn with these parameters");
    if (!(l.front() > r.noise_floor))
        throw Error(ExitStatus::numerical,
                    fmt::format("the matrix is not positive semidefinite: its largest eigenvalue {:.4g} does "
                                "not stand above its "
                                "noise floor {:.4g}, the smallest is {:.4g}; a Gram matrix J J^T is needed",
                                input.eigenvalues.front(), input.noise_floor, input.eigenvalues.back()));
    if (input.gram == nullptr && options.neighbours > 0)
        throw Error(ExitStatus::study, "rates.neighbours needs the Gram matrix; set output.save_gram = true");
    if (input.gram == nullptr && !input.task_names.empty())
        throw Error(ExitStatus::study,
                    "the rates of [[tasks]] need the Gram matrix; set output.save_gram = true");
    if (input.gram == nullptr && input.vectors != nullptr)
        listener.warn(
            "the Gram matrix was not kept: no learning curve and no intervals by resampling; set "
            "output.save_gram = "
            "true for them");

    std::optional<KernelRegression> regression;
    std::optional<CrossValidatedRidge> ridge;
    if (input.vectors != nullptr) {
        regression.emplace(input.eigenvalues, *input.vectors, *input.train, options.center);
        if (input.cross != nullptr) regression->set_test(*input.cross, *input.test);
        r.outputs = regression->outputs();
        r.examples = input.train->examples();
        r.residual_mean = regression->residual_mean();
        r.residual_square = regression->residual_mean_square();
        r.mean_share = regression->mean_share();
        if (!(r.residual_square > 0))
            throw Error(ExitStatus::numerical,
                        "the residual is zero after taking out its mean: there is nothing to "
                        "learn; use more examples, or rates.center = false");
        r.residual = regression->coefficients();
        r.labels = coefficients(*input.vectors, input.train->labels, r.outputs);
        const auto outputs = static_cast<std::size_t>(r.outputs);
        r.cumulative.resize(r.residual.size());
        for (std::size_t o = 0; o < outputs; ++o) {
            std::vector<double> squares;
            for (std::size_t i = o; i < r.residual.size(); i += outputs)
                squares.push_back(r.residual[i] * r.residual[i]);
            const std::vector<double> power = cumulative_power(squares);
            for (std::size_t i = 0; i < power.size(); ++i) r.cumulative[i * outputs + o] = power[i];
        }
        ridge = cross_validated_ridge(l, regression->squares(), r.noise_floor);
        if (ridge->limited && !(options.noise && options.radius))
            listener.warn(
                "cross-validation finds no ridge that tells signal from noise: sigma and R are what the end "
                "of its search makes them; give rates.noise and rates.radius where you know them");
    }

    // Noise, radius, stopping. Without targets neither can be estimated: sigma unknown makes T unknown, and
    // the bounds are over the unit ball.
    r.noise_source = options.noise ? "given" : regression ? noise_from_ridge : no_targets;
    r.radius_source = options.radius ? "given" : regression ? radius_from_ridge : no_targets;
    r.noise = options.noise ? *options.noise : regression ? ridge->noise : unknown;
    r.radius = options.radius ? *options.radius
               : regression   ? target_radius(l, regression->squares(), ridge->ridge, r.noise_floor)
                              : 1.0;
    r.step_sizes = options.step_sizes.empty() ? std::vector<double>{1 / l.front()} : options.step_sizes;
    const StepSizes steps(r.step_sizes);
    if (steps.first() * l.front() > 2)
        throw Error(ExitStatus::study,
                    fmt::format("rates.step_size = {} diverges: gradient descent needs at most "
                                "2/l_1 = {:.6g}; \"auto\" takes 1/l_1",
                                steps.first(), 2 / l.front()));
    if (r.stop_known()) {
        r.critical = critical_radius(l, r.noise / r.radius, r.rows);
        r.stop = stopping_step(l, r.noise / r.radius, steps, r.rows);
        r.sensitivity = stopping_sensitivity(l, r.noise, r.radius, steps, r.rows);
    } else {
        r.critical = r.stop = unknown;
        r.sensitivity = {unknown, unknown, unknown, unknown};
    }
    const double at_stop = 1 / steps.eta(std::min(r.stop, 1e300));
    const auto count_above = [&](double level) {
        return std::count_if(l.begin(), l.end(), [&](double value) { return value > level; });
    };
    r.eigenvalues_at_stop = count_above(at_stop);
    if (ridge && !(options.noise && options.radius)) r.eigenvalues_at_ridge = count_above(ridge->ridge);
    if (r.sketch > 0 && ridge && !(options.noise && options.radius))
        listener.warn(
            "sigma and R are estimated from a sketched spectrum, and T moves with them (by 6 to 40 % where "
            "it was compared); give rates.noise and rates.radius where you know them");
    if (!r.stop_trusted())
        listener.warn(fmt::format(
            "T = {:.0f} cannot be trusted: {} eigenvalues lie above 1/eta_T{}, and the sketch has {} "
            "dimensions, fewer than ten times as many; take a larger kernel.sketch",
            r.stop, r.eigenvalues_at_stop,
            r.eigenvalues_at_ridge > 0
                ? fmt::format(", {} above the ridge that sigma and R are estimated with",
                              r.eigenvalues_at_ridge)
                : "",
            r.sketch));
    const std::vector<double> no_squares;
    const std::vector<double>& squares = regression ? regression->squares() : no_squares;
    if (r.stop_known())
        r.path = stopping_path(l, squares, r.noise, r.radius, steps, r.stop, r.noise_floor, r.rows);
    r.bound = error_bound(r.critical, r.radius,
                          regression ? r.residual_square : std::numeric_limits<double>::infinity());
    if (regression) {
        r.discrepancy_step = discrepancy_step(l, squares, r.noise, steps);
        r.cross_validated_step = cross_validated_step(l, squares, r.noise_floor, steps, r.path.step);
        if (regression->has_test()) test_path(*regression, steps, r);
    }

    // Subsets: the learning curve, and halves for the intervals.
    std::optional<SubsetInputs> subsets;
    std::vector<SubsetResult> halves;
    if (regression) {
        std::optional<StepSizes> given;
        if (!options.step_sizes.empty()) given.emplace(options.step_sizes);
        subsets.emplace(SubsetInputs{
            input.gram, input.cross, *input.train, input.test ? &*input.test : nullptr, options.center,
            input.mixed_precision, r.noise, r.radius, given, options.seed, r.trusted_ranks()});
        LearningCurve& curve = r.curve;
        curve.sizes = curve_sizes(options, r.examples, listener);
        if (input.gram == nullptr) curve.sizes = {r.examples};
        std::vector<Index> sizes = curve.sizes;
        const Index half = r.examples / 2;
        if (input.gram != nullptr && half > 0) sizes.push_back(half);
        std::erase(sizes, r.examples);
        std::sort(sizes.begin(), sizes.end());
        sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
        const auto found = nested_subsets(*subsets, sizes, options.repeats, half, listener);
        for (std::size_t s = 0; s < sizes.size(); ++s) {
            if (sizes[s] == half) halves = found[s];
            if (std::find(curve.sizes.begin(), curve.sizes.end(), sizes[s]) != curve.sizes.end())
                curve.results.push_back(found[s]);
        }
        if (!curve.sizes.empty() && curve.sizes.back() == r.examples) {
            SubsetResult whole = learned(*regression, *subsets, r.noise_floor);
            whole.examples = r.examples;
            curve.results.emplace_back(static_cast<std::size_t>(options.repeats), whole);
        }
        const Targets& judged = input.test ? *input.test : *input.train;
        curve.base_rate = base_rate(judged);
        curve.observed_on = input.test ? on_test_set : on_other_half;
        curve.test_examples = input.test ? input.test->examples() : r.examples - half;
        const std::vector<double> power = power_of(*regression);
        for (std::size_t s = 0; s < curve.sizes.size(); ++s) {
            const double rows = n * static_cast<double>(curve.sizes[s]) / static_cast<double>(r.examples);
            curve.predicted_ridge.emplace_back();
            curve.predicted_descent.emplace_back();
            for (const SubsetResult& subset : curve.results[s]) {
                const auto at_ridge = [&](double on_K) {
                    if (std::isinf(on_K))
                        return std::accumulate(power.begin(), power.end(), 0.0);  // nothing is learned
                    const auto prediction =
                        on_K >= 0 ? predict_ridge(l, power, rows, rows * on_K) : std::nullopt;
                    return prediction ? prediction->test_mse : unknown;
                };
                curve.predicted_ridge.back().push_back(at_ridge(subset.ridge));
                curve.predicted_descent.back().push_back(at_ridge(1 / subset.eta));
            }
        }
        std::vector<double> held;
        for (const SubsetResult& subset : halves)
            if (std::isfinite(subset.holdout_step)) held.push_back(subset.holdout_step);
        std::sort(held.begin(), held.end());
        if (!held.empty()) r.holdout_step = held[held.size() / 2];
    }

    r.decay = fit_decay(l, r.noise_floor, r.rows, std::nullopt, r.trusted_ranks());
    std::vector<DecayFit> replicas;
    for (const SubsetResult& half : halves)
        if (r.decay.window.last <= std::ssize(half.l))
            replicas.push_back(fit_decay(half.l, half.noise_floor, 0, r.decay.window, r.trusted_ranks()));
    if (r.decay.selected != DecayFamily::none && replicas.size() < 2)
        listener.warn("the interval of the decay holds the window's drift alone: no resampled fits");
    r.intervals = decay_intervals(l, r.noise_floor, r.rows, r.decay, replicas);
    r.functionals = functionals(r, l, regression ? &*regression : nullptr, steps);
    tabulate_exponents(r, l, squares, halves);

    if (!input.task_names.empty()) r.tasks = task_arithmetic(input, options, listener);
    if (options.neighbours > 0) {
        if (input.cross == nullptr || input.test_diagonal == nullptr)
            throw Error(ExitStatus::study, "rates.neighbours needs a test set");
        const double twin = r.stop > 0 && std::isfinite(r.stop) ? 1 / steps.eta(r.stop) : ridge->ridge;
        r.neighbours =
            nearest_examples(input, *regression, std::min(options.neighbours, r.examples), twin, listener);
    }
    return r;
}

}  // namespace tangram
