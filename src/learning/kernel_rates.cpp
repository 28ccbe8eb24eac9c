#include "tangram/learning/kernel_rates.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "tangram/learning/centring.hpp"
#include "tangram/not_known.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/rates/eigenlearning.hpp"
#include "tangram/rates/functionals.hpp"
#include "tangram/rates/stopping_rules.hpp"

namespace tangram {

namespace {

constexpr const char* no_targets = "not known: it is estimated from targets and all eigenpairs; give it";

std::vector<double> power_of(const KernelRegression& regression) {
    std::vector<double> power = regression.squares();
    for (double& value : power) value /= static_cast<double>(regression.rows());
    return power;
}

/// Eigenvalues, those at the noise floor as zero.
std::vector<double> above(double floor, std::span<const double> l) {
    std::vector<double> modes(l.begin(), l.end());
    for (double& value : modes) value = value > floor ? value : 0.0;
    return modes;
}

Functionals functionals(const RatesResult& r, std::span<const double> l, const KernelRegression* regression,
                        const StepSizes& steps) {
    Functionals f{};
    f.effective_rank = effective_rank(l);
    f.stable_rank = stable_rank(l);
    f.participation_ratio = participation_ratio(l);
    f.alignment_labels = f.alignment_residual = f.alignment_slope = not_known;
    if (regression != nullptr) {
        f.alignment_labels = kernel_target_alignment(l, r.labels, r.outputs);
        f.alignment_residual = kernel_target_alignment(l, regression->coefficients(), r.outputs);
        Index last = std::ssize(l);
        while (last > 0 && !(l[static_cast<std::size_t>(last - 1)] > r.noise_floor)) --last;
        last = std::min(last, r.trusted_ranks());
        f.alignment_slope = alignment_slope(l, regression->squares(), 1, last);
    }
    // What stands at the noise floor is rounding: at an infinite T it would count like any other.
    const std::vector<double> modes = above(r.noise_floor, l);
    const double eta = steps.eta(std::min(r.stop, 1e300));
    f.effective_dimension_at_stop =
        !r.stop_known()                    ? not_known
        : r.stop > 0 && std::isfinite(eta) ? effective_dimension(modes, 1 / eta)
        : r.stop > 0
            ? static_cast<double>(modes.size() - static_cast<std::size_t>(std::ranges::count(modes, 0.0)))
            : 0;
    // Of a prior of the target's own size, R^2 k: so the kernel's scale leaves it as it is.
    f.information_gain_at_noise = r.noise > 0 ? information_gain(l, r.noise / r.radius, r.rows) : not_known;
    const double lowest = std::max(r.noise_floor, 1e-14 * l.front());  // below l_1, as was checked
    for (double t = l.front(); t >= lowest; t /= std::pow(10, 0.2)) {
        f.t.push_back(t);
        f.effective_dimension.push_back(effective_dimension(l, t));
        f.information_gain.push_back(information_gain(l, std::sqrt(static_cast<double>(r.rows) * t), r.rows));
    }
    return f;
}

/// The rates of one kernel, part after part into one result. Members that say so are collective over the
/// grid of the matrices, the others local.
class RatesOfKernel {
  public:
    RatesOfKernel(const RatesInput& input, const RatesOptions& options, const Listener& listener)
        : input_(input), options_(options), listener_(listener) {}

    /// Collective.
    RatesResult computed() {
        together([&] { check_input(); });
        if (input_.vectors != nullptr) regress();
        together([&] {
            take_noise_and_radius();
            find_stopping_step();
            warn_of_sketch();
            warn_of_missing_eigenvalues();
            draw_path();
        });
        if (regression_ && regression_->has_test()) test_path();
        if (regression_) learning_curve();
        together([&] { fit_decay_and_exponents(); });
        if (!input_.task_names.empty()) r_.tasks = task_arithmetic(input_, options_, listener_);
        if (options_.neighbours > 0) nearest();
        return std::move(r_);
    }

  private:
    /// Work without collective calls, failing on all ranks; from eigenvalues alone there are no others.
    void together(const std::function<void()>& work) const {
        if (input_.vectors == nullptr)
            work();
        else
            collectively(input_.vectors->grid().comm().get(), work);
    }
    bool both_given() const { return options_.noise && options_.radius; }
    /// Eigenvalues of K above a level.
    Index count_above(double level) const {
        return std::count_if(l_.begin(), l_.end(), [&](double value) { return value > level; });
    }
    const std::vector<double>& squares() const {
        static const std::vector<double> none;
        return regression_ ? regression_->squares() : none;
    }

    void check_input() {
        r_.rows = input_.rows;
        r_.has_matrix = input_.gram != nullptr;
        r_.sketch = input_.sketch;
        r_.no_stop = input_.no_stop.value_or(r_.no_stop);
        const auto n = static_cast<double>(r_.rows);
        r_.noise_floor = input_.noise_floor / n;
        l_ = input_.eigenvalues;
        for (double& value : l_) value /= n;
        check_window(options_.window, std::ssize(l_));
        r_.window_given = options_.window.has_value();
        if (!(l_.front() > 0))
            throw Error(ExitStatus::numerical, ErrorKind::degenerate,
                        "the kernel is zero: there is nothing to learn with these parameters");
        if (!(l_.front() > r_.noise_floor))
            throw Error(
                ExitStatus::numerical, ErrorKind::failed_check,
                fmt::format("the matrix is not positive semidefinite: its largest eigenvalue {:.4g} does "
                            "not stand above its "
                            "noise floor {:.4g}, the smallest is {:.4g}; a Gram matrix J J^T is needed",
                            input_.eigenvalues.front(), input_.noise_floor, input_.eigenvalues.back()));
        if (options_.neighbours > 0 && input_.gram == nullptr)
            throw Error(ExitStatus::study, ErrorKind::contradiction,
                        "rates.neighbours needs the Gram matrix; set output.save_gram = true");
        if (input_.gram == nullptr && !input_.task_names.empty())
            throw Error(ExitStatus::study, ErrorKind::contradiction,
                        "the rates of [[tasks]] need the Gram matrix; set output.save_gram = true");
        if (input_.gram == nullptr && input_.vectors != nullptr)
            listener_.warn(
                "the Gram matrix was not kept: no learning curve and no intervals by resampling; set "
                "output.save_gram = true and spectrum.matrix = \"formed\" for them");
    }

    /// Where only some eigenvalues are known the others count as zero; none is larger than the smallest.
    void warn_of_missing_eigenvalues() const {
        const Index missing = r_.rows - std::ssize(l_);
        if (missing <= 0 || !r_.stop_known()) return;
        const double smallest = std::max(0.0, l_.back());
        double sum = 0;
        for (const double value : l_) sum += std::max(0.0, value);
        std::string text = fmt::format(
            "{} of {} eigenvalues are given, the others count as zero: those given hold between {:.0f} and "
            "100 % of the trace",
            l_.size(), r_.rows, 100 * sum / (sum + static_cast<double>(missing) * smallest));
        constexpr Index most_rows = 10'000'000;  // of any kernel that was ever formed
        if (r_.rows <= most_rows) {
            std::vector<double> most(l_);
            most.resize(static_cast<std::size_t>(r_.rows), smallest);
            text += fmt::format(
                ", and T lies between {:.0f}, if the others were as large as the smallest given, and {:.0f}",
                stopping_step(most, r_.noise / r_.radius, *steps_, r_.rows), r_.stop);
        }
        listener_.warn(text);
    }

    /// The residual in the eigenvectors, its cumulative power, and the ridge by cross-validation. Collective.
    void regress() {
        regression_.emplace(input_.eigenvalues, *input_.vectors, *input_.train,
                            options_.center != Centring::none);
        if (input_.cross != nullptr) regression_->set_test(*input_.cross, *input_.test);
        together([&] {
            r_.outputs = regression_->outputs();
            r_.examples = input_.train->examples();
            r_.residual_mean = regression_->residual_mean();
            r_.residual_square = regression_->residual_mean_square();
            r_.mean_share = regression_->mean_share();
            if (!(r_.residual_square > 0))
                throw Error(ExitStatus::numerical, ErrorKind::degenerate,
                            "the residual is zero after taking out its mean: there is nothing to "
                            "learn; use more examples, or rates.center = false");
            r_.residual = regression_->coefficients();
            if (r_.rows > r_.examples)
                listener_.say(
                    fmt::format("rates: the rows of an example come together, and the decay and predicted "
                                "errors take them for {} that came one by one: right where the outputs are "
                                "alike, else the exponent may be read 0.2 off and predicted errors be wrong "
                                "(docs/mathematics.md, Several rows); compare with what is observed",
                                r_.rows));
        });
        r_.labels = coefficients(*input_.vectors, input_.train->labels, r_.outputs);
        together([&] {
            add_cumulative_power();
            ridge_ = cross_validated_ridge(l_, regression_->squares(), r_.noise_floor);
            if (ridge_->limited && !both_given())
                listener_.warn(fmt::format(
                    "cross-validation takes the {} ridge that it tries: to this kernel the labels look {}. "
                    "sigma and R are the end of that search and no measurements, and T follows from them; "
                    "give rates.noise and rates.radius where you know them",
                    ridge_->ridge > l_.front() ? "largest" : "smallest",
                    ridge_->ridge > l_.front() ? "like noise alone" : "free of noise"));
        });
    }

    void add_cumulative_power() {
        const auto outputs = static_cast<std::size_t>(r_.outputs);
        r_.cumulative.resize(r_.residual.size());
        for (std::size_t o = 0; o < outputs; ++o) {
            std::vector<double> of_output;
            for (std::size_t i = o; i < r_.residual.size(); i += outputs)
                of_output.push_back(r_.residual[i] * r_.residual[i]);
            const std::vector<double> power = cumulative_power(of_output);
            for (std::size_t i = 0; i < power.size(); ++i) r_.cumulative[i * outputs + o] = power[i];
        }
    }

    /// Without targets neither can be estimated: sigma unknown makes T unknown, and the bounds are over the
    /// unit ball.
    void take_noise_and_radius() {
        r_.noise_source = options_.noise ? "given" : regression_ ? noise_from_ridge : no_targets;
        r_.radius_source = options_.radius ? "given" : regression_ ? radius_from_ridge : no_targets;
        r_.noise = options_.noise ? *options_.noise : regression_ ? ridge_->noise : not_known;
        if (const double most = regression_ ? std::sqrt(regression_->residual_mean_square()) : r_.noise;
            options_.noise && r_.noise > most)
            listener_.warn(
                fmt::format("rates.noise = {:.4g} is above {:.4g}, the root mean square of the "
                            "residual: at it there is nothing but noise",
                            r_.noise, most));
        r_.radius = options_.radius ? *options_.radius
                    : regression_   ? target_radius(l_, squares(), ridge_->ridge, r_.noise_floor)
                                    : 1.0;
    }

    void find_stopping_step() {
        r_.step_sizes = step_sizes(options_, l_.front());
        steps_.emplace(r_.step_sizes);
        if (steps_->first() * l_.front() > 2)
            throw Error(ExitStatus::study, ErrorKind::out_of_range,
                        fmt::format("rates.step_size = {} diverges: gradient descent needs at most "
                                    "2/l_1 = {:.6g}; \"auto\" takes 1/l_1",
                                    steps_->first(), 2 / l_.front()));
        if (r_.stop_known()) {
            r_.critical = critical_radius(l_, r_.noise / r_.radius, r_.rows);
            r_.stop = stopping_step(l_, r_.noise / r_.radius, *steps_, r_.rows);
            r_.sensitivity = stopping_sensitivity(l_, r_.noise, r_.radius, *steps_, r_.rows);
        } else {
            r_.critical = r_.stop = not_known;
            r_.sensitivity = {not_known, not_known, not_known, not_known};
        }
        const double eta = steps_->eta(std::min(r_.stop, 1e300));
        r_.eigenvalues_at_stop = count_above(1 / eta);
        if (r_.stop_known() && r_.noise > 0 && 1 / eta < r_.noise_floor)
            listener_.warn(fmt::format(
                "T = {:.4g} fits what stands at the noise floor: 1/eta_T is {:.2g}, below {:.2g}, "
                "where the eigenvalues are rounding, and T and its errors with them; give a larger "
                "rates.noise (a kernel in double precision has a lower floor)",
                r_.stop, 1 / eta, r_.noise_floor));
        if (ridge_ && !both_given()) r_.eigenvalues_at_ridge = count_above(ridge_->ridge);
    }

    void warn_of_sketch() const {
        if (r_.sketch > 0 && ridge_ && !both_given())
            listener_.warn(
                "sigma and R are estimated from a sketched spectrum, and T moves with them (by 6 to 40 % "
                "where it was compared); give rates.noise and rates.radius where you know them");
        if (r_.stop_trusted()) return;
        listener_.warn(fmt::format(
            "T = {:.0f} cannot be trusted: {} eigenvalues lie above 1/eta_T{}, and the sketch has {} "
            "dimensions, fewer than ten times as many; take a larger kernel.sketch",
            r_.stop, r_.eigenvalues_at_stop,
            r_.eigenvalues_at_ridge > 0
                ? fmt::format(", {} above the ridge that sigma and R are estimated with",
                              r_.eigenvalues_at_ridge)
                : "",
            r_.sketch));
    }

    /// Of the directions, that holds nothing: an estimated sigma is of the others alone.
    double empty_share() const {
        return regression_ && !options_.noise
                   ? static_cast<double>(empty_directions(l_, squares(), r_.noise_floor)) /
                         static_cast<double>(r_.rows)
                   : 0.0;
    }

    void draw_path() {
        if (r_.stop_known())
            r_.path = stopping_path(
                l_, squares(),
                {r_.noise, r_.radius, r_.stop, r_.noise_floor, r_.rows, options_.noise.has_value()}, *steps_);
        if (!regression_) return;
        r_.discrepancy_step =
            discrepancy_step(l_, squares(), r_.noise * std::sqrt(1 - empty_share()), *steps_);
        r_.cross_validated_step = cross_validated_step(l_, squares(), r_.noise_floor, *steps_, r_.path.step);
    }

    /// What the path of the whole sample shows on the test set, by step: descent and its ridge twin.
    /// Collective.
    void test_path() {
        const Index count = std::ssize(r_.path.step);
        const auto step = [&](Index k) { return r_.path.step[static_cast<std::size_t>(k)]; };
        const std::vector<TestScore> of_descent =
            regression_->scores(count, [&](Index k) { return regression_->descent(*steps_, step(k)); });
        const std::vector<TestScore> of_ridge = regression_->scores(count, [&](Index k) {
            return step(k) > 0 ? regression_->ridge(1 / r_.path.eta[static_cast<std::size_t>(k)])
                               : std::vector<double>(l_.size(), 0.0);
        });
        together([&] {
            for (const TestScore& score : of_descent) {
                r_.test_mse.push_back(score.mse);
                r_.test_accuracy.push_back(score.accuracy);
            }
            for (const TestScore& score : of_ridge) {
                r_.ridge_test_mse.push_back(score.mse);
                r_.ridge_test_accuracy.push_back(score.accuracy);
            }
        });
        const auto best = std::min_element(r_.test_mse.begin(), r_.test_mse.end());
        r_.best_step = r_.path.step[static_cast<std::size_t>(best - r_.test_mse.begin())];
        compare_with_start();
    }

    /// Collective.
    void compare_with_start() {
        std::vector<std::vector<double>> start_and_stop;
        together([&] {
            r_.model_alone = score_of(*input_.test, input_.test->initial);
            if (std::isfinite(r_.stop))
                start_and_stop = {regression_->descent(*steps_, 0), regression_->descent(*steps_, r_.stop)};
        });
        if (!std::isfinite(r_.stop)) return;
        const std::vector<std::vector<double>> predicted = regression_->predictions(start_and_stop);
        together([&] {
            r_.at_stop = judgement(*input_.test, predicted.back());
            r_.learnt = compare_paired(judgement(*input_.test, predicted.front()), r_.at_stop);
        });
    }

    /// Subsets: the learning curve, and halves for the intervals. Collective.
    void learning_curve() {
        LearningCurve& curve = r_.curve;
        const Index half = r_.examples / 2;
        std::optional<StepSizes> given;
        std::vector<Index> sizes;
        together([&] {
            if (!options_.step_sizes.empty()) given.emplace(options_.step_sizes);
            for (const Index size : options_.sizes)
                if (size > r_.examples)
                    listener_.say(
                        fmt::format("rates.sizes: {} is dropped, there are {} examples", size, r_.examples));
            curve.sizes = curve_sizes(options_.sizes, r_.examples);
            if (input_.gram == nullptr) curve.sizes = {r_.examples};
            sizes = curve.sizes;
            if (input_.gram != nullptr && half > 0) sizes.push_back(half);
            std::erase(sizes, r_.examples);
            std::sort(sizes.begin(), sizes.end());
            sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
        });
        const SubsetInputs subsets{input_.gram,        input_.cross,
                                   *input_.train,      input_.test ? &*input_.test : nullptr,
                                   options_.center,    input_.mixed_precision,
                                   r_.noise,           r_.radius,
                                   options_.noise,     options_.radius,
                                   std::move(given),   options_.seed,
                                   r_.trusted_ranks(), outputs(),
                                   options_.window};
        const auto found = nested_subsets(subsets, sizes, options_.repeats, half, listener_);
        const bool with_whole = !curve.sizes.empty() && curve.sizes.back() == r_.examples;
        SubsetResult whole;
        if (with_whole) whole = learned(*regression_, subsets, r_.noise_floor);
        together([&] {
            curve.orders = subset_orders(r_.examples, options_.repeats, options_.seed);
            for (std::size_t s = 0; s < sizes.size(); ++s) {
                if (sizes[s] == half) halves_ = found[s];
                if (std::find(curve.sizes.begin(), curve.sizes.end(), sizes[s]) != curve.sizes.end())
                    curve.results.push_back(found[s]);
            }
            whole.examples = r_.examples;
            if (with_whole) curve.results.emplace_back(static_cast<std::size_t>(options_.repeats), whole);
            judge_curve();
        });
        if (!halves_.empty() && options_.center != Centring::none) warn_of_centring(subsets, half);
    }

    /// Whether T of the first half is another with the other centring. Collective.
    void warn_of_centring(const SubsetInputs& subsets, Index half) {
        const bool kernel = options_.center == Centring::kernel;
        std::optional<SubsetInputs> inputs;
        std::vector<Index> sizes;
        Listener silent;
        together([&] {
            inputs.emplace(subsets);
            if (kernel) inputs->gram = input_.uncentred_gram;
            inputs->cross = nullptr;
            inputs->center = kernel ? Centring::residual : Centring::kernel;
            sizes = {half};
        });
        const auto other = nested_subsets(*inputs, sizes, 1, half, silent);
        together([&] {
            // In eta, the sum of the steps: without the common direction l_1 is smaller, and steps are
            // larger.
            const auto time = [&](const SubsetResult& of) {
                const double stop = of.own_stopping_step;
                return options_.step_sizes.empty() ? stop / of.l.front() : steps_->eta(stop);
            };
            if (!std::isfinite(halves_.front().own_stopping_step) ||
                !std::isfinite(other.front().front().own_stopping_step))
                return;
            const double here = time(halves_.front()), there = time(other.front().front());
            if (std::abs(there - here) > 0.5 * here)
                listener_.warn(fmt::format(
                    "centring moves T: on half of the examples its steps add up to {:.3g}, with "
                    "rates.center = {} to {:.3g}. \"kernel\" is for kernels whose functions hold no "
                    "constant, or hold it in their leading space",
                    here, kernel ? "true" : "\"kernel\"", there));
        });
    }

    /// Who judges the curve, what eigenlearning says of it, and the step that the held-out halves choose.
    void judge_curve() {
        LearningCurve& curve = r_.curve;
        const Targets& judged = input_.test ? *input_.test : *input_.train;
        curve.base_rate = base_rate(judged);
        curve.observed_on = input_.test ? on_test_set : on_other_half;
        curve.test_examples = input_.test ? input_.test->examples() : r_.examples - r_.examples / 2;
        const std::vector<double> power = power_of(*regression_);
        // What stands at the noise floor is rounding, and no mode that an example could determine.
        const std::vector<double> modes = above(r_.noise_floor, l_);
        const Index empty = empty_directions(l_, power, r_.noise_floor);
        if (empty > std::max<Index>(std::ssize(r_.residual_mean), r_.rows / 100))
            r_.unpredictable = fmt::format(
                "{} of the {} directions are empty, as repeated examples leave them: what one row "
                "says of its twin no spectrum tells",
                empty, r_.rows);
        for (std::size_t s = 0; s < curve.sizes.size(); ++s) {
            const double rows = static_cast<double>(r_.rows) * static_cast<double>(curve.sizes[s]) /
                                static_cast<double>(r_.examples);
            const auto predicted = [&](double on_K) {
                if (!r_.unpredictable.empty()) return not_known;
                if (std::isinf(on_K))
                    return std::accumulate(power.begin(), power.end(), 0.0);  // nothing is learned
                return on_K >= 0 ? predict_unseen(modes, power, rows, rows * on_K).value_or(not_known)
                                 : not_known;
            };
            curve.predicted_ridge.emplace_back();
            curve.predicted_descent.emplace_back();
            for (const SubsetResult& subset : curve.results[s]) {
                curve.predicted_ridge.back().push_back(predicted(subset.ridge));
                curve.predicted_descent.back().push_back(predicted(1 / subset.eta));
            }
        }
        std::vector<double> held;
        for (const SubsetResult& subset : halves_)
            if (!std::isnan(subset.holdout_step)) held.push_back(subset.holdout_step);
        std::sort(held.begin(), held.end());
        if (!held.empty()) r_.holdout_step = held[held.size() / 2];
    }

    /// T by the halves' spectra, each with its own sigma and R, by the rule for all rows: what resampling the
    /// examples makes of it.
    void find_interval_of_stop() {
        std::vector<double> logarithms;
        for (const SubsetResult& half : halves_) {
            if (!(half.own_noise > 0) || !(half.own_radius > 0)) continue;
            const double stop = stopping_step(half.l, half.own_noise / half.own_radius, *steps_, r_.rows);
            if (std::isfinite(stop)) logarithms.push_back(std::log1p(stop));
        }
        if (!std::isfinite(r_.stop)) return;
        const auto found = with_spread(std::log1p(r_.stop), logarithms);
        if (!found) return;
        const auto step = [](double logarithm) { return std::round(std::expm1(logarithm)); };
        r_.stop_interval = Interval{r_.stop, step(found->low), step(found->high)};
    }

    /// Rows of an example; one where there are no targets, and no examples are counted.
    Index outputs() const { return r_.examples > 0 ? r_.rows / r_.examples : 1; }

    void fit_decay_and_exponents() {
        // A window that was given decides alone: what lies past it is not asked for a finite rank either.
        const Index trusted =
            options_.window ? std::min(options_.window->last, r_.trusted_ranks()) : r_.trusted_ranks();
        r_.decay = fit_decay(l_, r_.noise_floor, r_.rows, options_.window, trusted, outputs());
        if (options_.window && r_.decay.window.last < options_.window->last)
            listener_.warn(fmt::format(
                "rates.window = [{}, {}]: the fit ends at rank {}, the last that {}", options_.window->first,
                options_.window->last, r_.decay.window.last,
                r_.decay.window.last == r_.trusted_ranks()
                    ? "this sketch shows"
                    : fmt::format("lies above ten times the noise floor {:.3g}", r_.noise_floor)));
        std::vector<DecayFit> replicas;
        for (const SubsetResult& half : halves_)
            if (r_.decay.window.last <= std::ssize(half.l))
                replicas.push_back(fit_decay(half.l, half.noise_floor, 0, r_.decay.window, trusted));
        r_.intervals = decay_intervals(l_, r_.noise_floor, r_.rows, r_.decay, replicas);
        if (r_.decay.selected != DecayFamily::none && replicas.size() < 2)
            listener_.warn("the interval of the decay is not known: " + r_.intervals.none);
        r_.functionals = functionals(r_, l_, regression_ ? &*regression_ : nullptr, *steps_);
        if (steps_->first() * l_.front() <= 1 + 1e-9) find_interval_of_stop();
        tabulate_exponents(r_, l_, squares(), halves_);
        judge_bound();
        r_.sentence = rates_sentence(r_);
    }

    void judge_bound() {
        BoundPremises premises{r_.critical, r_.noise, r_.radius, r_.stop};
        premises.no_noise = input_.no_stop.value_or(premises.no_noise);
        premises.first_step = steps_->first() * l_.front();
        premises.search_ended = ridge_ && ridge_->limited && !both_given();
        premises.radius_assumed = !regression_ && !options_.radius;
        premises.sketch_too_small = !r_.stop_trusted();
        premises.radius_given = options_.radius.has_value();
        if (r_.source) premises.source = r_.source->source;
        premises.no_source = r_.source_reason;
        if (regression_) premises.residual_mean_square = r_.residual_square;
        premises.empty_share = empty_share();
        r_.bound = error_bound(premises);
        if (!r_.bound.none.empty()) std::ranges::fill(r_.path.bound, not_known);
    }

    /// Collective.
    void nearest() {
        if (input_.cross == nullptr || input_.test_diagonal == nullptr)
            throw Error(ExitStatus::study, ErrorKind::missing, "rates.neighbours needs a test set");
        if (options_.neighbours > r_.examples)
            listener_.say(fmt::format("rates.neighbours = {} is lowered to the {} examples",
                                      options_.neighbours, r_.examples));
        const double twin = r_.stop > 0 && std::isfinite(r_.stop) ? 1 / steps_->eta(r_.stop) : ridge_->ridge;
        r_.neighbours = nearest_examples(input_, *regression_, std::min(options_.neighbours, r_.examples),
                                         twin, listener_);
    }

    const RatesInput& input_;
    const RatesOptions& options_;
    const Listener& listener_;
    RatesResult r_;
    std::vector<double> l_;  ///< eigenvalues of K = G/n, descending
    std::optional<KernelRegression> regression_;
    std::optional<CrossValidatedRidge> ridge_;
    std::optional<StepSizes> steps_;
    std::vector<SubsetResult> halves_;
};

}  // namespace

std::vector<Index> curve_sizes(std::vector<Index> asked, Index examples) {
    const bool usual = asked.empty();
    if (usual)
        for (Index size = 128; size < examples; size *= 2) asked.push_back(size);
    std::erase_if(asked, [&](Index size) { return size > examples; });
    if (usual || asked.empty()) asked.push_back(examples);
    std::ranges::sort(asked);
    asked.erase(std::unique(asked.begin(), asked.end()), asked.end());
    return asked;
}

std::vector<double> step_sizes(const RatesOptions& options, double largest) {
    return options.step_sizes.empty() ? std::vector<double>{1 / largest} : options.step_sizes;
}

void check_window(const std::optional<DecayWindow>& window, Index known) {
    if (!window) return;
    const std::string is = fmt::format("rates.window = [{}, {}]", window->first, window->last);
    if (window->first < 1 || window->last > known)
        throw Error(
            ExitStatus::study, ErrorKind::out_of_range,
            fmt::format("{}: the ranks must lie in 1 to {}, the eigenvalues that are known", is, known));
    if (window->size() < smallest_window)
        throw Error(ExitStatus::study, ErrorKind::too_few,
                    fmt::format("{} holds {} ranks; a fit of the decay takes {}", is, window->size(),
                                smallest_window));
}

RatesResult compute_rates(const RatesInput& input, const RatesOptions& options, const Listener& listener) {
    if (options.center != Centring::kernel || input.vectors == nullptr)
        return RatesOfKernel(input, options, listener).computed();
    const CentredKernel centred(input);
    return RatesOfKernel(centred.input(), options, listener).computed();
}

}  // namespace tangram
