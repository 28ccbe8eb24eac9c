#include "tangram/jacobian/token_blocks.hpp"

#include <algorithm>

#include "tangram/arithmetic.hpp"

namespace tangram {

Index examples_per_block(const DataSet& data, const Program& program, Index entry_bytes) {
    Index sequences = 1, tokens = 1, width = 0;
    for (Index e = 0; e < data.examples(); ++e) {
        sequences = std::max(sequences, data.sequences(e));
        tokens = std::max(tokens, data.passed(e).tokens);
    }
    for (const ValueShape& value : program.values())
        if (value.rows == RowSet::tokens) width += value.width;
    const Index fit = arithmetic::block_bytes / std::max<Index>(1, 2 * tokens * width * entry_bytes);
    return std::max(Index{1}, std::min(arithmetic::examples_per_block / sequences, fit));
}

std::vector<Index> block_starts(const DataSet& data, std::span<const Index> examples, Index together,
                                Index tokens) {
    std::vector<Index> starts;
    Index in_block = 0;
    for (Index i = 0; i < std::ssize(examples); ++i) {
        const Index own = data.passed(examples[static_cast<std::size_t>(i)]).tokens;
        if (starts.empty() || i - starts.back() == together || (tokens > 0 && in_block + own > tokens)) {
            starts.push_back(i);
            in_block = 0;
        }
        in_block += own;
    }
    starts.push_back(std::ssize(examples));
    return starts;
}

TokenBlock token_block(const DataSet& data, std::span<const Index> examples) {
    TokenBlock block;
    block.offsets.push_back(0);
    if (data.scores_answers()) block.predicted_offsets.push_back(0);
    for (const Index e : examples) {
        const auto tokens = data.tokens(e);
        for (Index s = 0; s < data.sequences(e); ++s) {
            const auto answer = data.answer(e, s);
            block.reads.push_back(block.offsets.back() +
                                  (data.scores_answers() ? std::ssize(tokens) - 1 : data.read(e)));
            block.token_ids.insert(block.token_ids.end(), tokens.begin(), tokens.end());
            if (data.scores_answers()) {
                block.token_ids.insert(block.token_ids.end(), answer.begin(), answer.end() - 1);
                block.predicted.insert(block.predicted.end(), answer.begin(), answer.end());
                block.predicted_offsets.push_back(std::ssize(block.predicted));
            }
            block.offsets.push_back(std::ssize(block.token_ids));
        }
    }
    return block;
}

RowRange sequences_of(const DataSet& data, const KernelOutputs& outputs, Index example, Index pass) {
    if (data.scores_answers() && outputs.of_one_label(data.task(example))) return {pass, pass + 1};
    return {0, data.sequences(example)};
}

Index backward_passes(const DataSet& data, const KernelOutputs& outputs) {
    return data.scores_answers() ? 1 : outputs.passes();
}

Index gradient_rows(const DataSet& data, const KernelOutputs& outputs, RowSet set, Index example,
                    Index pass) {
    PassedRows rows;
    const RowRange sequences = sequences_of(data, outputs, example, pass);
    for (Index s = sequences.first; s < sequences.last; ++s) rows += data.passed(example, s);
    return set == RowSet::tokens ? rows.tokens : rows.reads;
}

}  // namespace tangram
