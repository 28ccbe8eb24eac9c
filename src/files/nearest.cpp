#include "tangram/files/nearest.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace tangram {

namespace {

/// Levenshtein's distance: insertions, deletions and substitutions.
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row[b.size()];
}

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
    // The distance takes the product of the lengths; names that somebody mistypes are short.
    constexpr std::size_t most = 64;
    constexpr std::size_t of_beginning = 2;
    const auto distance = [&](std::string_view candidate) {
        const std::string_view typed = word.substr(0, most);
        return std::min(edit_distance(typed, candidate.substr(0, most)),
                        of_beginning + edit_distance(typed, candidate.substr(0, typed.size())));
    };
    const auto closest =
        std::min_element(candidates.begin(), candidates.end(),
                         [&](const auto& a, const auto& b) { return distance(a) < distance(b); });
    return closest == candidates.end() ? std::string() : *closest;
}

}  // namespace tangram
