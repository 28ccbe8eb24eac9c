#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// Tokenised, labelled examples: n sequences of token ids, one after the other.
struct DataSet {
    std::vector<std::int32_t> token_ids;
    std::vector<Index> offsets{0};     ///< n + 1: example e owns token_ids[offsets[e] .. offsets[e+1])
    std::vector<std::int32_t> labels;  ///< n, 0 .. C-1
    std::vector<Index> rows;           ///< n, source row of each example, 0-based, header not counted
    std::vector<std::int32_t> tasks;   ///< n, the task each example belongs to; empty: there is one
    /// n, place in its example of the token at which the outputs are read; empty: the last one of each
    std::vector<std::int32_t> reads;

    Index examples() const { return static_cast<Index>(offsets.size()) - 1; }
    std::span<const std::int32_t> tokens(Index example) const {
        const auto e = static_cast<std::size_t>(example);
        return {token_ids.data() + offsets[e], static_cast<std::size_t>(offsets[e + 1] - offsets[e])};
    }
    Index read(Index example) const {
        return reads.empty() ? static_cast<Index>(tokens(example).size()) - 1
                             : reads[static_cast<std::size_t>(example)];
    }
    Index task(Index example) const { return tasks.empty() ? 0 : tasks[static_cast<std::size_t>(example)]; }
    void append(std::span<const std::int32_t> tokens, std::int32_t label, Index row) {
        token_ids.insert(token_ids.end(), tokens.begin(), tokens.end());
        offsets.push_back(static_cast<Index>(token_ids.size()));
        labels.push_back(label);
        rows.push_back(row);
    }
};

}  // namespace tangram
