#include "tangram/text/labelled_text.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string_view>
#include <unordered_map>

namespace tangram {

std::vector<std::string> warnings_of(const DataSet& data, const std::string& file) {
    std::vector<std::string> warnings;
    if (data.examples() > 1 &&
        std::ranges::adjacent_find(data.labels, std::not_equal_to<>()) == data.labels.end())
        warnings.push_back(
            fmt::format("{}: all {} examples have the label {}: there is nothing to tell apart", file,
                        data.examples(), data.labels.front()));
    std::unordered_map<std::string_view, Index> first_of;  // by the bytes of the tokens
    std::set<std::pair<Index, std::int32_t>> labels;       // of each of those
    Index repeated = 0, contradicted = 0, first = -1;
    for (Index e = 0; e < data.examples(); ++e) {
        const auto bytes = std::as_bytes(data.tokens(e));
        const auto [known, is_new] =
            first_of.emplace(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), e);
        const bool new_label = labels.emplace(known->second, data.labels[static_cast<std::size_t>(e)]).second;
        if (is_new) continue;
        ++(new_label ? contradicted : repeated);
        if (first < 0) first = e;
    }
    if (first >= 0)
        warnings.push_back(fmt::format(
            "{}: {} examples repeat an earlier one with its label, {} with another label (the first: "
            "source row {}, counted from 0)",
            file, repeated, contradicted, data.rows[static_cast<std::size_t>(first)]));
    return warnings;
}

}  // namespace tangram
