#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tangram/learning/kernel_rates.hpp"

namespace tangram {

namespace {

/// What of a curve goes into a fit, over the sizes that `use` allows.
struct Curve {
    std::vector<double> sizes, values;  ///< values: sizes x repeats
};

template <class Value, class Use>
Curve curve_of(const LearningCurve& curve, Value&& value, Use&& use) {
    Curve result;
    for (std::size_t s = 0; s < curve.sizes.size(); ++s) {
        if (!use(curve.sizes[s])) continue;
        result.sizes.push_back(static_cast<double>(curve.sizes[s]));
        for (std::size_t k = 0; k < curve.results[s].size(); ++k) result.values.push_back(value(s, k));
    }
    return result;
}

/// A row for the slope of a curve, or why there is none.
RateExponent slope_of(const std::string& source, const Curve& curve, std::size_t repeats,
                      const std::string& not_positive, const std::string& note) {
    if (curve.sizes.size() < 3)
        return unknown_rate(source, fmt::format("{} sizes are too few for a slope", curve.sizes.size()));
    if (!std::all_of(curve.values.begin(), curve.values.end(),
                     [](double v) { return std::isfinite(v) && v > 0; }))
        return unknown_rate(source, not_positive);
    return {source, power_law(curve.sizes, curve.values, static_cast<Index>(repeats)), note};
}

/// Mean and standard deviation over the repeats of one size.
std::pair<double, double> mean_and_deviation(const Curve& curve, std::size_t size, std::size_t repeats) {
    double mean = 0, squares = 0;
    const auto first = curve.values.begin() + static_cast<std::ptrdiff_t>(size * repeats);
    for (std::size_t k = 0; k < repeats; ++k)
        mean += first[static_cast<std::ptrdiff_t>(k)] / static_cast<double>(repeats);
    for (std::size_t k = 0; k < repeats; ++k)
        squares += std::pow(first[static_cast<std::ptrdiff_t>(k)] - mean, 2);
    return {mean, repeats > 1 ? std::sqrt(squares / static_cast<double>(repeats - 1)) : 0.0};
}

/// An observed curve has a rate only where it falls by more than its spread (docs/mathematics.md, Rates in
/// n).
std::optional<std::string> does_not_fall(const Curve& curve, std::size_t repeats) {
    if (curve.sizes.size() < 2) return std::nullopt;
    if (repeats < 2) return "one repeat shows no spread to judge a fall by; take more rates.repeats";
    const auto [first, first_spread] = mean_and_deviation(curve, 0, repeats);
    const auto [last, last_spread] = mean_and_deviation(curve, curve.sizes.size() - 1, repeats);
    const double spread = 1.96 * std::hypot(first_spread, last_spread);
    if (first - last > spread) return std::nullopt;
    return fmt::format(
        "no observed rate: the error goes from {:.4g} at n = {:.0f} to {:.4g} at n = {:.0f}, its spread over "
        "repeats is {:.2g}",
        first, curve.sizes.front(), last, curve.sizes.back(), spread);
}

RateExponent from_decay(const RatesResult& r) {
    const std::string source = "decay";
    switch (r.decay.selected) {
        case DecayFamily::none:
            return unknown_rate(source, r.decay.reason);
        case DecayFamily::polynomial: {
            const Interval& a = r.intervals.polynomial.exponent;
            const auto rate = rate_exponent(a.value);
            if (!rate)
                return unknown_rate(
                    source, fmt::format("the eigenvalues fall like rank^-{:.3f}: no rate follows from a <= 1",
                                        a.value));
            return {source,
                    {*rate, rate_exponent(a.low).value_or(0), rate_exponent(a.high).value_or(*rate)},
                    a.low <= 1
                        ? "bound a/(a+1) over the unit ball; a <= 1, where no rate follows, is not excluded"
                        : "bound a/(a+1) over the unit ball"};
        }
        case DecayFamily::exponential:
            // The logarithm bends the rate: its local slope at this n is the lower end.
            return {
                source,
                {1, 1 - 1 / (r.intervals.exponential_power.value * std::log(static_cast<double>(r.rows))), 1},
                fmt::format("bound over the unit ball, n^-1 times (log n)^{:.3g}, whose slope at this n is "
                            "the lower end",
                            1 / r.intervals.exponential_power.value)};
        case DecayFamily::finite_rank:
            return {source, {1, 1, 1}, "bound over the unit ball, for n well above the rank"};
    }
    return unknown_rate(source, "");
}

/// Sets r.source.
RateExponent from_source(RatesResult& r, const std::vector<double>& squares,
                         const std::vector<SubsetResult>& halves) {
    const std::string source = "source_capacity";
    if (squares.empty()) return unknown_rate(source, "needs labels");
    if (!r.decay.polynomial) return unknown_rate(source, "needs a polynomial fit of the decay");
    std::string why;
    // An onset that does not fit is extrapolated far past the window; there both slopes are the window's own.
    const PolynomialDecay& law =
        r.decay.selected == DecayFamily::none ? *r.decay.polynomial : r.decay.power_law();
    if (!(law.exponent > 0)) return unknown_rate(source, "the eigenvalues do not fall with the rank");
    const auto fit = [&](const std::vector<double>& powers, DecayWindow window) {
        return fit_source(powers, r.noise, law.exponent, law.onset, window, why);
    };
    const auto whole = fit(squares, r.decay.window);
    r.source = whole;
    if (!whole) return unknown_rate(source, why);
    const double largest = static_cast<double>(r.rows),
                 smallest =
                     static_cast<double>(r.curve.sizes.front()) * largest / static_cast<double>(r.examples);
    const bool noisy = largest > whole->crossover;
    const auto rate = [&](const SourceCapacity& s) { return noisy ? s.noisy : s.noiseless; };
    // The interval as the decay's: spread over halves, and drift between the window and its first half.
    std::vector<double> spread;
    for (const SubsetResult& half : halves)
        if (r.decay.window.last <= std::ssize(half.squares))
            if (const auto of_half = fit(half.squares, r.decay.window)) spread.push_back(rate(*of_half));
    double mean = 0, squared = 0;
    for (const double value : spread) mean += value / static_cast<double>(spread.size());
    for (const double value : spread) squared += (value - mean) * (value - mean);
    const double se = spread.size() > 1 ? std::sqrt(squared / static_cast<double>(spread.size() - 1)) : 0;
    const DecayWindow first_half{
        r.decay.window.first, std::max(r.decay.window.last / 2, r.decay.window.first + smallest_window - 1)};
    const auto early = fit(squares, first_half);
    const double half_width = 1.96 * std::hypot(se, early ? rate(*early) - rate(*whole) : 0.0);
    const double value = rate(*whole);
    return {
        source,
        {value, std::max(0.0, value - half_width), value + half_width},
        fmt::format("a = {:.3f}, s = {:.3f}; noise dominates above n = {:.3g}, {} at the sizes here; "
                    "n^-{:.3f} with noise, "
                    "n^-{:.3f} without{}",
                    whole->capacity, whole->source, whole->crossover,
                    smallest > whole->crossover ? "it does"
                    : noisy                     ? "it does only at the larger"
                                                : "it does not",
                    whole->noisy, whole->noiseless, whole->source > 1 ? "; ridge saturates at s = 1" : "")};
}

std::string text_of(const Interval& value) {
    return fmt::format("{:.2f} [{:.2f}, {:.2f}]", value.value, value.low, value.high);
}

/// Why a stopping step shows no rate; empty where it does.
std::string nothing_learnt(const RatesResult& r) {
    if (!r.stop_known()) return "sigma is not known: the output has no targets";
    if (!(r.noise > 0)) return "sigma = 0: the critical radius is zero, and the rule never stops";
    if (r.stop == 0) return "T = 0: at this noise nothing is learnt";
    return {};
}

/// The slope of eps_n^2 over the subsets, or with the eigenvalues at hand.
RateExponent from_critical_radius(const RatesResult& r, const std::vector<double>& l) {
    const LearningCurve& curve = r.curve;
    const std::string source = "critical_radius", none = "a critical radius is zero";
    if (const std::string why = nothing_learnt(r); !why.empty()) return unknown_rate(source, why);
    if (curve.sizes.size() >= 3) {
        const auto squared = [&](std::size_t s, std::size_t k) {
            return std::pow(curve.results[s][k].critical_radius, 2);
        };
        const Curve radii = curve_of(curve, squared, [](Index) { return true; });
        return slope_of(source, radii, curve.results.front().size(), none,
                        "slope of eps_n^2 over the subsets, bound over the unit ball");
    }
    // The eigenvalues at hand stand for the population's; sizes up to theirs.
    Curve population;
    for (const Index times : {1, 2, 4, 8, 16}) {
        const Index n = r.rows / 16 * times;
        if (n == 0) continue;
        population.sizes.push_back(static_cast<double>(n));
        population.values.push_back(std::pow(critical_radius(l, r.noise / r.radius, n), 2));
    }
    return slope_of(source, population, 1, none,
                    "slope of eps_n^2 with the eigenvalues taken for the population's, n/16 to n");
}

const char* const not_found =
    "no error was found at every size: T is infinite, or a given rates.step_size diverges on the smaller "
    "subsets";

/// A curve of errors, and how well the noise's level in it is known.
struct Errors {
    const char* source;
    Curve curve;
    double relative_variance;  ///< of sigma^2
    std::string note;
    std::optional<std::string> flat;  ///< why it has no rate
};

/// Why a row has no rate whatever its noise.
std::optional<std::string> no_errors(const Errors& errors) {
    if (!std::all_of(errors.curve.values.begin(), errors.curve.values.end(),
                     [](double v) { return std::isfinite(v); }))
        return not_found;
    return errors.flat;
}

/// The rate of the error above sigma^2: the labels' noise where it is given, else what this kernel leaves
/// unexplained at this n.
RateExponent above_noise(const RatesResult& r, const Errors& errors, std::size_t repeats) {
    if (errors.curve.sizes.size() < 3)
        return unknown_rate(errors.source,
                            fmt::format("{} sizes are too few for a slope", errors.curve.sizes.size()));
    if (const auto reason = no_errors(errors)) return unknown_rate(errors.source, *reason);
    const double variance = r.noise * r.noise, doubt = 1.96 * variance * std::sqrt(errors.relative_variance);
    std::optional<Interval> result;
    for (const double level : {variance, variance - doubt, variance + doubt}) {
        Curve above = errors.curve;
        for (double& value : above.values) value -= level;
        if (!std::all_of(above.values.begin(), above.values.end(), [](double v) { return v > 0; }))
            return unknown_rate(
                errors.source,
                fmt::format("the error is not above sigma^2 = {:.4g} +- {:.2g} ({}) at every size", variance,
                            doubt, r.noise_source));
        const Interval slope = power_law(above.sizes, above.values, static_cast<Index>(repeats));
        if (!result) result = slope;
        result->low = std::min(result->low, slope.low);
        result->high = std::max(result->high, slope.high);
    }
    return {errors.source, *result,
            fmt::format("of the error above sigma^2{} = {:.4g} +- {:.2g}, {}",
                        r.noise_source == "given" ? "" : "(n)", variance, doubt, errors.note)};
}

/// The rate of the whole error.
RateExponent of_whole_error(const Errors& errors, std::size_t repeats) {
    if (const auto reason = no_errors(errors)) return unknown_rate(errors.source, *reason);
    return slope_of(errors.source, errors.curve, repeats, not_found, "of the whole error, noise included");
}

/// The rows of the learning curves.
void add_error_rows(RatesResult& r) {
    const LearningCurve& curve = r.curve;
    const std::size_t repeats = curve.results.empty() ? 0 : curve.results.front().size();
    const Curve predicted = curve_of(
        curve, [&](std::size_t s, std::size_t k) { return curve.predicted_ridge[s][k]; },
        [&](Index size) { return 2 * size <= r.examples; });
    const auto observed = [&](auto score) {
        return curve_of(
            curve, [&](std::size_t s, std::size_t k) { return score(curve.results[s][k]).mse; },
            [&](Index size) { return curve.observed_on == on_test_set || size <= r.examples / 2; });
    };
    const Curve at_stop = observed([](const SubsetResult& s) { return s.at_stop; });
    const Curve at_best = observed([](const SubsetResult& s) { return s.at_best; });
    std::optional<std::string> idle;
    if (std::string why = nothing_learnt(r); !why.empty()) idle = std::move(why);
    const auto flat = idle ? idle : does_not_fall(at_stop, repeats),
               flat_best = does_not_fall(at_best, repeats);
    // How well the noise's level sigma^2 is known: an estimate from N rows errs by sigma^2 sqrt(2/N), the
    // noise of M test rows by sigma^2 sqrt(2/M).
    const double estimated = r.noise_source == "given" ? 0 : 2 / static_cast<double>(r.rows);
    const double on_test = estimated + 2.0 / static_cast<double>(std::max<Index>(1, curve.test_examples));
    for (const Errors& errors :
         {Errors{"eigenlearning", predicted, estimated, "ridge at its GCV choice, n up to N/2", idle},
          Errors{"observed", at_stop, on_test, "gradient descent at T", flat},
          Errors{"observed_best", at_best, on_test, "gradient descent at its best step", flat_best}})
        r.exponents.push_back(above_noise(r, errors, repeats));
    for (const Errors& errors :
         {Errors{"eigenlearning_mse", predicted, 0, "", idle}, Errors{"observed_mse", at_stop, 0, "", flat}})
        r.exponents.push_back(of_whole_error(errors, repeats));
}

}  // namespace

std::string rates_sentence(const RatesResult& r) {
    if (const std::string why = nothing_learnt(r); r.stop_known() && !why.empty()) return "no rate: " + why;
    // Outside the kernel's space no ball holds the target; and eps_n is of sigma and R, as T is.
    const bool outside = r.source && r.source->source < 0.5, no_radius = outside || !r.bound.none.empty();
    std::string words;
    RateExponent seen = unknown_rate("observed", "");
    for (const RateExponent& exponent : r.exponents) {
        if (exponent.source == "observed") {
            seen = exponent;
            break;
        }
        const bool has_no_premise =
            (exponent.source == "decay" && outside) || (exponent.source == "critical_radius" && no_radius);
        if (exponent.known() && !has_no_premise)
            words += fmt::format("{}{} ({})", words.empty() ? "" : ", ", text_of(exponent.exponent),
                                 exponent.source == "decay"             ? "decay, a bound"
                                 : exponent.source == "critical_radius" ? "critical radius, a bound"
                                 : exponent.source == "source_capacity" ? "source and capacity"
                                                                        : exponent.source);
    }
    return fmt::format("{}: predicted x = {}; observed x = {}",
                       seen.known() ? "the error falls like n^-x" : "rates x of n^-x",
                       words.empty() ? "none" : words,
                       seen.known() ? text_of(seen.exponent) : "none (" + seen.note + ")");
}

void tabulate_exponents(RatesResult& r, const std::vector<double>& l, const std::vector<double>& squares,
                        const std::vector<SubsetResult>& halves) {
    r.exponents.push_back(from_decay(r));
    r.exponents.push_back(from_critical_radius(r, l));
    r.exponents.push_back(from_source(r, squares, halves));
    if (squares.empty()) {
        for (const char* source :
             {"eigenlearning", "observed", "observed_best", "eigenlearning_mse", "observed_mse"})
            r.exponents.push_back(unknown_rate(source, "needs labels"));
    } else {
        add_error_rows(r);
    }
}

}  // namespace tangram
