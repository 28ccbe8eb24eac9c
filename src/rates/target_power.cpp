#include "tangram/rates/target_power.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "least.hpp"
#include "tangram/error.hpp"

namespace tangram {

namespace {

/// Exponents of the tail that are searched; with -1 the power is the same at every rank.
constexpr double lowest_tail = -0.9, highest_tail = 12;

/// Signal and floor in units of the mean square, and half of minus twice the log-likelihood.
struct Levels {
    double signal = 1, floor = 1;  ///< signal: of the mean over the ranks
    double loss = std::numeric_limits<double>::infinity();
};

/// The likelihood over some ranks, floor and signal at their best for an exponent.
class Profile {
  public:
    Profile(std::span<const double> squares, const PowerInputs& inputs, DecayWindow ranks)
        : log_ranks_(static_cast<std::size_t>(ranks.size())), squares_(log_ranks_.size()) {
        double sum = 0;
        for (std::size_t i = 0; i < squares_.size(); ++i) {
            const Index k = ranks.first + static_cast<Index>(i);
            log_ranks_[i] = std::log(static_cast<double>(k) + inputs.onset);
            squares_[i] = squares[static_cast<std::size_t>(k - 1)];
            sum += squares_[i];
        }
        mean_ = sum / static_cast<double>(squares_.size());
        if (!(mean_ > 0)) return;
        for (double& value : squares_) value /= mean_;
        least_ = inputs.least_noise * inputs.least_noise / mean_;
    }
    /// Mean of the squares; 0: there is no power at all.
    double mean() const { return mean_; }
    Index ranks() const { return std::ssize(squares_); }
    double least_floor() const { return least_; }
    /// Sum of (k + onset)^-(1 + tail) over the ranks.
    double sum_of_shape(double tail) const {
        double sum = 0;
        for (const double value : log_ranks_) sum += std::exp(-(1 + tail) * value);
        return sum;
    }

    /// No signal: the floor alone.
    double flat() const {
        const double level = std::max(1.0, least_);
        return 0.5 * static_cast<double>(squares_.size()) * (std::log(level) + 1 / level);
    }

    /// Scoring in the logarithms of signal and floor, damped where a step gains nothing (Levenberg,
    /// Marquardt), from `start`.
    Levels at(double tail, Levels start) const {
        std::vector<double> shape(log_ranks_.size());
        const double scale = static_cast<double>(shape.size()) / sum_of_shape(tail);
        for (std::size_t i = 0; i < shape.size(); ++i)
            shape[i] = scale * std::exp(-(1 + tail) * log_ranks_[i]);
        Levels best{std::max(start.signal, 1e-6), std::max(start.floor, 1e-6), 0};
        best.loss = loss(shape, best);
        for (double damping = 1e-3; damping < 1e6;) {
            const Levels next = step(shape, best, damping);
            if (!(next.loss < best.loss)) {
                damping *= 10;
                continue;
            }
            const double gain = best.loss - next.loss;
            best = next;
            damping = std::max(damping / 10, 1e-9);
            if (gain < 1e-9) break;
        }
        return best;
    }

  private:
    double loss(const std::vector<double>& shape, const Levels& levels) const {
        double sum = 0;
        for (std::size_t i = 0; i < shape.size(); ++i) {
            const double mean = levels.signal * shape[i] + levels.floor + least_;
            sum += std::log(mean) + squares_[i] / mean;
        }
        return 0.5 * sum;
    }
    Levels step(const std::vector<double>& shape, const Levels& from, double damping) const {
        double gs = 0, gf = 0, ss = 0, sf = 0, ff = 0;
        for (std::size_t i = 0; i < shape.size(); ++i) {
            const double signal = from.signal * shape[i], mean = signal + from.floor + least_;
            const double s = signal / mean, f = from.floor / mean, excess = squares_[i] / mean - 1;
            gs += s * excess;
            gf += f * excess;
            ss += s * s;
            sf += s * f;
            ff += f * f;
        }
        ss += damping * ss + 1e-12;
        ff += damping * ff + 1e-12;
        const double determinant = ss * ff - sf * sf;
        const auto limited = [](double x) { return std::exp(std::clamp(x, -2.0, 2.0)); };
        Levels next{std::max(1e-12, from.signal * limited((ff * gs - sf * gf) / determinant)),
                    std::max(1e-12, from.floor * limited((ss * gf - sf * gs) / determinant)), 0};
        next.loss = loss(shape, next);
        return next;
    }

    std::vector<double> log_ranks_, squares_;
    double mean_ = 0, least_ = 0;
};

struct Best {
    double tail;
    Levels levels;
};

/// From both sides: with all power in the signal, or nearly all in the floor, scoring may rest.
Levels levels_at(const Profile& profile, double tail, const Levels& warm) {
    const Levels found = profile.at(tail, warm), fresh = profile.at(tail, {0.5, 0.5});
    return found.loss < fresh.loss ? found : fresh;
}

/// Of all exponents, also of powers that fall slower than 1/k and have no sum.
Best best_of(const Profile& profile) {
    Levels warm;
    const double tail = argument_of_least(lowest_tail, highest_tail, 43, 18, [&](double t) {
        warm = levels_at(profile, t, warm);
        return warm.loss;
    });
    return {tail, profile.at(tail, warm)};
}
/// Of those that have one.
Best best_with_sum(const Profile& profile, const Best& of_all) {
    return of_all.tail > 0 ? of_all : Best{0, levels_at(profile, 0, of_all.levels)};
}

/// Where the profile leaves `allowed` above the best, from the best towards `end`; `end` where it does not.
double end_of_interval(const Profile& profile, const Best& best, double end, double allowed) {
    double inside = best.tail, outside = end;
    Levels warm = best.levels;
    const auto fits = [&](double tail) {
        warm = levels_at(profile, tail, warm);
        return warm.loss <= best.levels.loss + allowed;
    };
    if (fits(outside)) return end;
    warm = best.levels;
    for (int round = 0; round < 16; ++round) {
        const double middle = 0.5 * (inside + outside);
        (fits(middle) ? inside : outside) = middle;
    }
    return inside;
}

std::string short_text(double value) { return fmt::format("{:.3g}", value); }

}  // namespace

std::optional<TargetPower> fit_target_power(std::span<const double> squares, const PowerInputs& inputs,
                                            std::string& why) {
    for (const double value : squares)
        if (!std::isfinite(value))
            throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                        "a coefficient of the residual is not finite");
    const DecayWindow ranks{inputs.ranks.first, std::min(inputs.ranks.last, std::ssize(squares))};
    if (ranks.size() < 2 * smallest_window_of_three) {
        why = std::to_string(ranks.size()) +
              " ranks stand above the noise floor; the target's power is read from " +
              std::to_string(2 * smallest_window_of_three) + " or more";
        return std::nullopt;
    }
    const Profile profile(squares, inputs, ranks);
    if (!(profile.mean() > 0)) {
        why = "the residual has no power at these ranks";
        return std::nullopt;
    }
    const Best of_all = best_of(profile), best = best_with_sum(profile, of_all);
    constexpr double allowed = 0.5 * 3.8415;
    const DecayWindow first_half{ranks.first, ranks.first + ranks.size() / 2};
    const Profile of_half(squares, inputs, first_half);
    const Best half = best_of(of_half);
    if (of_all.tail < 0 &&
        !(of_all.tail + std::hypot(end_of_interval(profile, of_all, highest_tail, allowed) - of_all.tail,
                                   1.96 * (half.tail - of_all.tail)) >
          0)) {
        why = "the target's power does not fall with the rank";
        return std::nullopt;
    }
    // Two parameters more than a floor alone.
    if (!(profile.flat() - best.levels.loss > 0.5 * 5.99)) {
        why = "the target is not told from noise: its power is that of sigma = " +
              short_text(std::sqrt(profile.mean() * std::max(1.0, profile.least_floor()))) + " at every rank";
        return std::nullopt;
    }
    double low = end_of_interval(profile, best, 0, allowed),
           high = end_of_interval(profile, best, highest_tail, allowed);
    const auto floor_at = [&](double tail) {
        return profile.at(tail, best.levels).floor + profile.least_floor();
    };
    const double floor = best.levels.floor + profile.least_floor(), at_low = floor_at(low),
                 at_high = floor_at(high);
    const double drift = 1.96 * (best_with_sum(of_half, half).tail - best.tail);
    low = best.tail - std::hypot(best.tail - low, drift);
    high = best.tail + std::hypot(high - best.tail, drift);
    const double sampling = 1.96 * std::sqrt(2 / static_cast<double>(ranks.size()));
    const auto noise = [&](double level) { return std::sqrt(profile.mean() * std::max(0.0, level)); };
    TargetPower result{};
    result.onset = inputs.onset;
    result.tail_exponent = {best.tail, std::max(0.0, low), high};
    result.noise = {noise(floor), noise(std::min({floor, at_low, at_high}) * (1 - sampling)),
                    noise(std::max({floor, at_low, at_high}) * (1 + sampling))};
    result.noise.low = std::max(result.noise.low, std::min(inputs.least_noise, result.noise.value));
    const double rows = static_cast<double>(squares.size());
    result.constant = best.levels.signal * profile.mean() * static_cast<double>(ranks.size()) /
                      profile.sum_of_shape(best.tail) / rows;
    return result;
}

}  // namespace tangram
