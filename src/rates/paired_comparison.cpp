#include "tangram/rates/paired_comparison.hpp"

#include <algorithm>
#include <cmath>

#include "tangram/error.hpp"
#include "tangram/not_known.hpp"

namespace tangram {

namespace {

/// Twice the binomial's tail up to min(gained, lost), at most 1.
double exact_p_value(Index gained, Index lost) {
    const auto n = static_cast<double>(gained + lost);
    double tail = 0;
    for (Index k = 0; k <= std::min(gained, lost); ++k) {
        const auto x = static_cast<double>(k);
        tail +=
            std::exp(std::lgamma(n + 1) - std::lgamma(x + 1) - std::lgamma(n - x + 1) - n * std::log(2.0));
    }
    return std::min(1.0, 2 * tail);
}

}  // namespace

PairedComparison compare_paired(const Judgement& before, const Judgement& after) {
    const std::size_t count = before.squared_errors.size();
    if (count == 0 || after.squared_errors.size() != count || before.right.size() != after.right.size())
        throw Error(ExitStatus::numerical, ErrorKind::contradiction,
                    "a paired comparison needs the same examples twice");
    const auto examples = static_cast<double>(count);
    PairedComparison result{0, not_known, 0, 0, 1, static_cast<Index>(count)};
    const auto fall = [&](std::size_t e) { return before.squared_errors[e] - after.squared_errors[e]; };
    for (std::size_t e = 0; e < count; ++e) result.error_fall += fall(e) / examples;
    double squares = 0;
    for (std::size_t e = 0; e < count; ++e) squares += std::pow(fall(e) - result.error_fall, 2);
    if (count > 1) result.standard_error = std::sqrt(squares / (examples - 1) / examples);
    for (std::size_t e = 0; e < before.right.size(); ++e) {
        result.gained += after.right[e] && !before.right[e] ? 1 : 0;
        result.lost += before.right[e] && !after.right[e] ? 1 : 0;
    }
    result.p_value = exact_p_value(result.gained, result.lost);
    return result;
}

}  // namespace tangram
