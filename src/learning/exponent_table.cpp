#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tangram/learning/kernel_rates.hpp"
#include "tangram/rates/eigenlearning.hpp"
#include "tangram/rates/falling_error.hpp"
#include "tangram/rates/student.hpp"

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

const std::string needs_matrix =
    "takes subsets, and the Gram matrix that they are of: set output.save_gram = true";

/// Why a curve of errors has no slope; proposes sizes where there are examples enough.
std::string too_few_sizes(const RatesResult& r, const Curve& curve) {
    if (!r.has_matrix) return needs_matrix;
    const bool by_half = r.curve.observed_on == on_other_half;
    const Index largest = by_half ? r.examples / 2 : r.examples;
    return fmt::format(
        "takes three sizes{}, there {}{}",
        by_half ? fmt::format(" up to {}, as the other half of the examples judges", largest) : "",
        curve.sizes.size() == 1 ? "is 1" : fmt::format("are {}", curve.sizes.size()),
        largest < 16 ? ""
                     : fmt::format("; give for example rates.sizes = [{}, {}, {}]", largest / 4, largest / 2,
                                   largest));
}

/// A row for the slope of a curve of at least three sizes, or why there is none.
RateExponent slope_of(const std::string& source, const Curve& curve, std::size_t repeats,
                      const std::string& not_positive, const std::string& note) {
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
    const double last = mean_and_deviation(curve, curve.sizes.size() - 1, repeats).first;
    // The repeats of the whole sample are one; it spreads no more than the size before.
    double least_spread = first_spread;
    for (std::size_t s = 1; s < curve.sizes.size(); ++s)
        if (const double spread = mean_and_deviation(curve, s, repeats).second; spread > 1e-12 * last)
            least_spread = spread;
    const double spread = student_quantile(static_cast<Index>(repeats) - 1) *
                          std::hypot(first_spread / std::sqrt(static_cast<double>(repeats)), least_spread);
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
            return unknown_rate(source,
                                r.decay.polynomial ? "no single law fits the eigenvalues" : r.decay.reason);
        case DecayFamily::polynomial: {
            // An interval that holds more than 1.05 does not say that the eigenvalues have no sum.
            const Interval& a = r.intervals.polynomial.exponent;
            const auto rate = [](double exponent) { return exponent / (exponent + 1); };
            if (a.known() ? a.low <= 1 && a.high < 1.05 : a.value <= 1)
                return unknown_rate(
                    source, fmt::format("the eigenvalues fall like rank^-{:.3f} {}: no rate follows from "
                                        "a <= 1",
                                        a.value, bounds_text(a, 3)));
            if (!a.known())
                return {source, {rate(a.value), a.low, a.high}, "bound a/(a+1) over the unit ball"};
            if (r.decay.exponential_fits_too())
                return {
                    source,
                    {rate(a.value), rate_exponent(a.low).value_or(0), 1},
                    "bound over the unit ball; an exponential, with x = 1, is not told from an onset here"};
            return {source,
                    {rate(a.value), rate_exponent(a.low).value_or(0), rate(a.high)},
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

/// The last rank above the noise floor that is trusted.
Index last_rank(const RatesResult& r, const std::vector<double>& l) {
    Index last = std::min(std::ssize(l), r.trusted_ranks());
    while (last > 0 && !(l[static_cast<std::size_t>(last - 1)] > r.noise_floor)) --last;
    return last;
}

/// Of the decay. One that does not fit is extrapolated far past the window; there both slopes are the
/// window's own.
double onset_of(const RatesResult& r) {
    return r.decay.polynomial && r.decay.selected != DecayFamily::none ? r.decay.power_law().onset : 0.0;
}

/// The labels' noise, where it is known.
double least_noise(const RatesResult& r) { return r.noise_source == "given" ? r.noise : 0.0; }

/// Sets r.source and r.power, or r.source_reason.
void find_source(RatesResult& r, const std::vector<double>& l, const std::vector<double>& squares) {
    if (squares.empty()) {
        r.source_reason = "needs labels and all eigenpairs";
        return;
    }
    r.power = fit_target_power(
        squares, {onset_of(r), least_noise(r), {r.decay.window.first, last_rank(r, l)}}, r.source_reason);
    if (!r.power) return;
    Interval a = r.intervals.polynomial.exponent;
    if (r.decay.polynomial && onset_of(r) != r.decay.power_law().onset) {
        const double plain = r.decay.polynomial->exponent;
        a = {plain, plain - (a.value - a.low), plain + (a.high - a.value)};
    }
    if (!r.decay.polynomial || !(a.value > 0)) {
        r.source_reason = "the eigenvalues show no power of the rank";
        return;
    }
    r.source =
        source_and_capacity(*r.power, a, onset_of(r),
                            r.decay.selected == DecayFamily::polynomial && !r.decay.onset_is_at_its_limit());
    // Ranks are of rows, n is of examples.
    r.source->crossover *= static_cast<double>(r.examples) / static_cast<double>(r.rows);
}

std::string text_of(const Interval& value) {
    return fmt::format("{:.2f} {}", value.value, bounds_text(value, 2));
}

RateExponent from_source(const RatesResult& r) {
    const std::string source = "source_capacity";
    if (!r.source) return unknown_rate(source, r.source_reason);
    const SourceCapacity& found = *r.source;
    const double largest = static_cast<double>(r.examples),
                 smallest = r.curve.sizes.empty() ? largest : static_cast<double>(r.curve.sizes.front());
    // Where sigma is estimated the floor is what no rank resolves: it acts as noise at these sizes.
    const bool noisy = largest > found.crossover, changes = noisy && smallest < found.crossover;
    Interval rate = noisy ? found.noisy : found.noiseless;
    if (changes) rate.high = found.noiseless.high;
    return {
        source, rate,
        fmt::format("a = {}, s = {} ({} the kernel's space); x = {} where noise dominates ({}), {} where it "
                    "does not{}",
                    text_of(found.capacity), text_of(found.source),
                    found.inside()    ? "the target lies inside"
                    : found.outside() ? "the target lies outside"
                                      : "undecided whether the target lies inside",
                    text_of(found.noisy),
                    changes ? fmt::format("above n = {:.0f}", found.crossover)
                    : noisy ? "here, at every size"
                            : "not at these sizes",
                    text_of(found.noiseless), found.source.value > 1 ? "; ridge saturates at s = 1" : "")};
}

/// Why a stopping step shows no rate; empty where it does.
std::string nothing_learnt(const RatesResult& r) {
    if (!r.stop_known()) return r.no_stop;
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
    if (r.rows < 16) return unknown_rate(source, fmt::format("goes from n/16 to n, of {} rows", r.rows));
    Curve population;
    for (const Index times : {1, 2, 4, 8, 16}) {
        const Index n = r.rows / 16 * times;
        population.sizes.push_back(static_cast<double>(n));
        population.values.push_back(std::pow(critical_radius(l, r.noise / r.radius, n), 2));
    }
    return slope_of(source, population, 1, none,
                    "slope of eps_n^2 with the eigenvalues taken for the population's, n/16 to n");
}

const char* const not_found =
    "no error was found at every size: T is infinite, or a given rates.step_size diverges on the smaller "
    "subsets";

/// A curve of errors, and why it has no rate whatever it does.
struct Errors {
    const char* source;
    Curve curve;
    std::string note;
    std::optional<std::string> idle;
};

/// Why a row has no rate: nothing is learnt, or errors are missing.
std::optional<std::string> no_errors(const RatesResult& r, const Errors& errors) {
    if (!std::all_of(errors.curve.values.begin(), errors.curve.values.end(),
                     [](double v) { return std::isfinite(v); }))
        return not_found;
    if (errors.idle) return errors.idle;
    if (errors.curve.sizes.size() < 3) return too_few_sizes(r, errors.curve);
    return std::nullopt;
}

/// The least of a curve's means over the repeats.
double least_mean(const Curve& curve, std::size_t repeats) {
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < curve.values.size(); i += repeats)
        least =
            std::min(least, std::accumulate(curve.values.data() + i, curve.values.data() + i + repeats, 0.0) /
                                static_cast<double>(repeats));
    return least;
}

/// The rate of an error above a limit that no n takes away and that is not known; where sigma is given, the
/// limit is not below its square, but where an error is: test labels without noise, or another sigma.
RateExponent above_limit(const RatesResult& r, const Errors& errors, std::size_t repeats) {
    if (const auto reason = no_errors(r, errors)) return unknown_rate(errors.source, *reason);
    const double on_test = std::sqrt(2.0 / static_cast<double>(std::max<Index>(1, r.curve.test_examples))),
                 variance = r.noise_source == "given" ? r.noise * r.noise : 0.0,
                 least = std::max(0.0, variance * (1 - 1.96 * on_test));
    const bool below = least_mean(errors.curve, repeats) < least;
    const FallingError found = falling_error({errors.curve.sizes, errors.curve.values,
                                              static_cast<Index>(repeats), static_cast<double>(r.examples),
                                              below ? 0.0 : least, errors.curve.values.back() * on_test});
    const std::string given =
        below ? fmt::format("; errors fall below sigma^2 = {:.3g} as given, which bounds no A", variance)
              : "";
    if (!found.none.empty()) return unknown_rate(errors.source, "no rate: " + found.none + given);
    return {errors.source, found.exponent,
            fmt::format("A + B n^-x with A = {:.4g} [{:.4g}, {:.4g}], {}{}", found.limit.value,
                        found.limit.low, found.limit.high, errors.note, given)};
}

/// The rate of the whole error.
RateExponent of_whole_error(const RatesResult& r, const Errors& errors, std::size_t repeats) {
    if (const auto reason = no_errors(r, errors)) return unknown_rate(errors.source, *reason);
    if (const auto flat = does_not_fall(errors.curve, repeats)) return unknown_rate(errors.source, *flat);
    return slope_of(errors.source, errors.curve, repeats, not_found,
                    fmt::format("of the whole error, noise included, over n = {} to {}",
                                errors.curve.sizes.front(), errors.curve.sizes.back()));
}

/// Where eigenlearning's exponents are read (predicted_exponents).
std::string over_predicted_sizes(const RatesResult& r) {
    return fmt::format("over n = {} to {}", r.examples / 32, r.examples / 4);
}

/// Eigenlearning's two rows: of the error above the noise, and of the whole error.
struct PredictedRates {
    RateExponent excess, whole;

    static PredictedRates unknown(const std::string& why) {
        return {unknown_rate("eigenlearning", why), unknown_rate("eigenlearning_mse", why)};
    }
};

/// The spread over halves, each with a noise of its own, is that of the whole.
PredictedRates from_eigenlearning(const RatesResult& r, const std::vector<double>& l,
                                  const std::vector<double>& squares,
                                  const std::vector<SubsetResult>& halves) {
    if (const std::string why = nothing_learnt(r); !why.empty()) return PredictedRates::unknown(why);
    if (!r.power) return PredictedRates::unknown(r.source_reason);
    if (!r.unpredictable.empty()) return PredictedRates::unknown(r.unpredictable);
    constexpr Index fewest_rows = 256;  // n/32 is 8 then
    if (r.rows < fewest_rows)
        return PredictedRates::unknown(fmt::format(
            "predictions go from n/32 to n/4 and take {} rows, there are {}", fewest_rows, r.rows));
    std::string why;  // of the last half that shows nothing
    const auto value = predicted_exponents(l, squares, r.noise_floor, r.power->noise.value, why);
    if (!value) return PredictedRates::unknown(why);
    std::vector<double> excess, whole;
    for (const SubsetResult& half : halves) {
        if (half.l.empty() || !(half.l.front() > half.noise_floor)) continue;
        const DecayWindow ranks{r.decay.window.first, std::min(r.trusted_ranks(), std::ssize(half.l))};
        const auto power = fit_target_power(half.squares, {onset_of(r), least_noise(r), ranks}, why);
        if (!power) continue;
        const auto found =
            predicted_exponents(half.l, half.squares, half.noise_floor, power->noise.value, why);
        if (!found) continue;
        excess.push_back(found->excess);
        whole.push_back(found->whole);
    }
    const auto of_excess = with_spread(value->excess, excess), of_whole = with_spread(value->whole, whole);
    if (!of_excess || !of_whole)
        return PredictedRates::unknown(
            !r.has_matrix ? needs_matrix
            : why.empty()
                ? std::string("no two halves of the sample show its spread; take more rates.repeats")
                : fmt::format("no two halves of the sample show its spread, of one: {}", why));
    const Interval& noise = r.power->noise;
    // No noise is found as a rounding error of the residual.
    const auto square = [&](double sigma) {
        return sigma * sigma < 1e-9 * r.residual_square ? 0.0 : sigma * sigma;
    };
    const std::string variance = fmt::format("{:.4g} [{:.4g}, {:.4g}], the noise of the fit of s",
                                             square(noise.value), square(noise.low), square(noise.high));
    const std::string sizes = over_predicted_sizes(r);
    return {
        {"eigenlearning", *of_excess, fmt::format("of the best ridge's error above {}, {}", variance, sizes)},
        {"eigenlearning_mse", *of_whole,
         fmt::format("of the best ridge's whole error, noise included, {}", sizes)}};
}

/// Whether errors of subsets of this size are those of a rate: half of the rest judges them without a test
/// set.
bool is_observed(const RatesResult& r, Index size) {
    return r.curve.observed_on == on_test_set || size <= r.examples / 2;
}

/// " over n = 128 to 1024": where errors are observed.
std::string over_observed_sizes(const RatesResult& r) {
    const auto& sizes = r.curve.sizes;
    const auto last =
        std::find_if(sizes.rbegin(), sizes.rend(), [&](Index size) { return is_observed(r, size); });
    return last == sizes.rend() ? "" : fmt::format(" over n = {} to {}", sizes.front(), *last);
}

/// The rows of the learning curves, and beside their whole error the predicted one's.
void add_error_rows(RatesResult& r, const RateExponent& predicted) {
    const LearningCurve& curve = r.curve;
    const std::size_t repeats = curve.results.empty() ? 0 : curve.results.front().size();
    const auto observed = [&](auto score) {
        return curve_of(
            curve, [&](std::size_t s, std::size_t k) { return score(curve.results[s][k]).mse; },
            [&](Index size) { return is_observed(r, size); });
    };
    const Curve at_stop = observed([](const SubsetResult& s) { return s.at_stop; });
    const Curve at_best = observed([](const SubsetResult& s) { return s.at_best; });
    std::optional<std::string> idle;
    if (std::string why = nothing_learnt(r); !why.empty()) idle = std::move(why);
    for (const Errors& errors :
         {Errors{"observed", at_stop, "gradient descent at T", idle},
          Errors{"observed_best", at_best, "gradient descent at its best step", std::nullopt}})
        r.exponents.push_back(above_limit(r, errors, repeats));
    r.exponents.push_back(predicted);
    r.exponents.push_back(of_whole_error(r, {"observed_mse", at_stop, "", idle}, repeats));
}

}  // namespace

std::string rates_sentence(const RatesResult& r) {
    if (const std::string why = nothing_learnt(r); r.stop_known() && !why.empty()) return "no rate: " + why;
    // Where no ball is known to hold the target the bounds over it say nothing; and eps_n is of sigma and R.
    const bool no_ball = !(r.source && r.source->inside()) && r.radius_source != "given",
               no_radius = no_ball || !r.bound.none.empty();
    std::string words;
    RateExponent seen = unknown_rate("observed", "");
    for (const RateExponent& exponent : r.exponents) {
        if (exponent.source == "observed") {
            seen = exponent;
            break;
        }
        const bool has_no_premise =
            (exponent.source == "decay" && no_ball) || (exponent.source == "critical_radius" && no_radius);
        if (exponent.known() && !has_no_premise)
            words += fmt::format("{}{} ({})", words.empty() ? "" : ", ", text_of(exponent.exponent),
                                 exponent.source == "decay"             ? "decay, a bound"
                                 : exponent.source == "critical_radius" ? "critical radius, a bound"
                                 : exponent.source == "source_capacity"
                                     ? "source and capacity"
                                     : "eigenlearning " + over_predicted_sizes(r));
    }
    return fmt::format(
        "{}: predicted x = {}; observed x = {}",
        seen.known() ? "the error falls to a limit like n^-x" : "rates x of n^-x",
        words.empty() ? "none" : words,
        seen.known() ? text_of(seen.exponent) + over_observed_sizes(r) : "none (" + seen.note + ")");
}

void tabulate_exponents(RatesResult& r, const std::vector<double>& l, const std::vector<double>& squares,
                        const std::vector<SubsetResult>& halves) {
    find_source(r, l, squares);
    r.exponents.push_back(from_decay(r));
    r.exponents.push_back(from_critical_radius(r, l));
    r.exponents.push_back(from_source(r));
    if (squares.empty()) {
        for (const char* source :
             {"eigenlearning", "observed", "observed_best", "eigenlearning_mse", "observed_mse"})
            r.exponents.push_back(unknown_rate(source, "needs labels and all eigenpairs"));
    } else {
        const PredictedRates predicted = from_eigenlearning(r, l, squares, halves);
        r.exponents.push_back(predicted.excess);
        add_error_rows(r, predicted.whole);
    }
}

}  // namespace tangram
