#include "tangram/training/parts.hpp"

#include <algorithm>
#include <functional>
#include <optional>

#include "tangram/training/loss_gradient.hpp"

namespace tangram {

Index first_of_part(Index part, Index batch) { return part * batch / gradient_parts(batch); }

std::vector<Index> dealt_to_parts(const DataSet& data, std::span<const Index> batch) {
    const Index examples = std::ssize(batch), parts = gradient_parts(examples);
    std::vector<Index> longest_first(batch.begin(), batch.end());
    std::ranges::stable_sort(longest_first, std::greater(),
                             [&](Index example) { return data.tokens(example).size(); });
    std::vector<Index> dealt(batch.size()), place, tokens(static_cast<std::size_t>(parts), 0);
    for (Index part = 0; part < parts; ++part) place.push_back(first_of_part(part, examples));
    for (const Index example : longest_first) {
        std::optional<std::size_t> fewest;
        for (std::size_t part = 0; part < place.size(); ++part)
            if (place[part] < first_of_part(static_cast<Index>(part) + 1, examples) &&
                (!fewest || tokens[part] < tokens[*fewest]))
                fewest = part;
        dealt[static_cast<std::size_t>(place[*fewest]++)] = example;
        tokens[*fewest] += std::ssize(data.tokens(example));
    }
    return dealt;
}

}  // namespace tangram
