#include "tangram/rates/sample_bias.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tangram {

namespace {

/// y^2 of lam = x + iy on the curve of real levels, for x one of the values. Newton's method from below: the
/// sum falls with y^2 and is convex, so that no step goes too far.
double height_above(const Population& p, double x, double n) {
    double t = x * x / n;
    for (int round = 0; round < 100; ++round) {
        double sum = 0, slope = 0;
        for (std::size_t j = 0; j < p.values.size(); ++j) {
            const double value = p.values[j], distance = (x - value) * (x - value) + t;
            const double term = p.counts[j] * value * value / distance;
            sum += term;
            slope += term / distance;
        }
        const double excess = sum / n - 1;
        if (!(excess > 1e-12)) break;
        t += excess / (slope / n);
    }
    return t;
}

}  // namespace

Population population_of(const std::function<double(double)>& log_law, std::span<const double> leading,
                         Index last, std::optional<double> behind, Index n) {
    const Index near = 2 * last;
    Population p;
    double next_ones = 0;
    for (Index k = 1; k <= near; ++k) {
        p.values.push_back(k <= std::ssize(leading) ? leading[static_cast<std::size_t>(k - 1)]
                                                    : std::exp(log_law(static_cast<double>(k))));
        p.counts.push_back(1);
        if (k > last) next_ones += p.values.back();
    }
    // Where the sum behind is known, ranks past the sample's are in `rest`; else as far as the law reaches.
    const double end = behind ? static_cast<double>(std::max(n, near)) : 1e9;
    double far = 0, last_share = 0;
    for (auto begin = static_cast<double>(near); begin < end;) {
        const double next = std::min(end, std::max(begin + 1, std::floor(begin * std::exp(0.1))));
        p.values.push_back(std::exp(log_law(std::sqrt((begin + 1) * next))));
        p.counts.push_back(next - begin);
        last_share = p.values.back() * p.counts.back();
        far += last_share;
        begin = next;
    }
    if (!std::isfinite(next_ones + far) || (!behind && last_share > 0.001 * (next_ones + far))) return {};
    if (!behind) return p;
    const double left = std::max(0.0, *behind - next_ones);
    p.rest = std::max(0.0, left - far);
    if (far > left)
        for (auto j = static_cast<std::size_t>(near); j < p.counts.size(); ++j) p.counts[j] *= left / far;
    return p;
}

std::vector<RankBias> sample_bias(const Population& p, Index rows, std::span<const Index> ranks) {
    const auto n = static_cast<double>(rows);
    std::vector<RankBias> result;
    for (const Index k : ranks) {
        const double x = p.values[static_cast<std::size_t>(k - 1)], t = height_above(p, x, n),
                     y = std::sqrt(t), square = x * x + t, angle = std::atan2(y, x);
        double level = x + p.rest / n, above = 0;
        for (std::size_t j = 0; j < p.values.size(); ++j) {
            const double value = p.values[j], from = x - value;
            level += p.counts[j] * value * (x * from + t) / (from * from + t) / n;
            above += p.counts[j] * (std::atan2(y, from) - angle);
        }
        above += n * angle - n * level * y / square + p.rest * y / square;
        const RankBias found{above / std::numbers::pi + 0.5, std::log(level / x)};
        if (!std::isfinite(found.rank + found.bias) ||
            (!result.empty() && !(found.rank > result.back().rank)))
            return {};
        result.push_back(found);
    }
    return result;
}

}  // namespace tangram
