#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// What goes through a model of some examples: tokens of all their sequences, and those that are read.
struct PassedRows {
    Index examples = 0, tokens = 0, reads = 0;

    PassedRows& operator+=(const PassedRows& more) {
        examples += more.examples;
        tokens += more.tokens;
        reads += more.reads;
        return *this;
    }
};

/// Tokenised, labelled examples: n sequences of token ids, one after the other. Where answers are scored
/// behind an example (its label words, or its completion), each of them makes a sequence of its own that goes
/// through the model: the example's tokens and all of the answer's but the last, read where they predict the
/// answer's tokens.
struct DataSet {
    std::vector<std::int32_t> token_ids;
    std::vector<Index> offsets{0};     ///< n + 1: example e owns token_ids[offsets[e] .. offsets[e+1])
    std::vector<std::int32_t> labels;  ///< n, 0 .. C-1
    std::vector<Index> rows;           ///< n, source row of each example, 0-based, header not counted
    std::vector<std::int32_t> tasks;   ///< n, the task each example belongs to; empty: there is one
    /// n, place in its example of the token at which the outputs are read; empty: the last one of each
    std::vector<std::int32_t> reads;
    std::vector<std::int32_t> answer_ids;  ///< tokens of all answers, one after the other
    std::vector<Index> answer_offsets;     ///< where each answer's begin, and the last one's end
    std::vector<Index>
        first_answers;  ///< n + 1: example e owns answers first_answers[e] .. [e+1]-1; or empty

    bool scores_answers() const { return !first_answers.empty(); }
    Index examples() const { return static_cast<Index>(offsets.size()) - 1; }
    std::span<const std::int32_t> tokens(Index example) const {
        const auto e = static_cast<std::size_t>(example);
        return {token_ids.data() + offsets[e], static_cast<std::size_t>(offsets[e + 1] - offsets[e])};
    }
    Index read(Index example) const {
        return reads.empty() ? static_cast<Index>(tokens(example).size()) - 1
                             : reads[static_cast<std::size_t>(example)];
    }
    /// Sequences of an example.
    Index sequences(Index example) const {
        const auto e = static_cast<std::size_t>(example);
        return scores_answers() ? first_answers[e + 1] - first_answers[e] : 1;
    }
    /// The answer of an example's sequence; empty where answers are not scored.
    std::span<const std::int32_t> answer(Index example, Index sequence) const {
        if (!scores_answers()) return {};
        const auto a = static_cast<std::size_t>(first_answers[static_cast<std::size_t>(example)] + sequence);
        return {answer_ids.data() + answer_offsets[a],
                static_cast<std::size_t>(answer_offsets[a + 1] - answer_offsets[a])};
    }
    /// The t-th token of a sequence, t < passed(example, sequence).tokens.
    std::int32_t token(Index example, Index sequence, Index t) const {
        const auto text = tokens(example);
        return t < std::ssize(text)
                   ? text[static_cast<std::size_t>(t)]
                   : answer(example, sequence)[static_cast<std::size_t>(t - std::ssize(text))];
    }
    PassedRows passed(Index example, Index sequence) const {
        const Index text = std::ssize(tokens(example)), answered = std::ssize(answer(example, sequence));
        return scores_answers() ? PassedRows{0, text + answered - 1, answered} : PassedRows{0, text, 1};
    }
    PassedRows passed(Index example) const {
        PassedRows all{1};
        for (Index s = 0; s < sequences(example); ++s) all += passed(example, s);
        return all;
    }
    PassedRows passed() const {
        PassedRows all;
        for (Index e = 0; e < examples(); ++e) all += passed(e);
        return all;
    }
    Index task(Index example) const { return tasks.empty() ? 0 : tasks[static_cast<std::size_t>(example)]; }
    void append(std::span<const std::int32_t> tokens, std::int32_t label, Index row) {
        token_ids.insert(token_ids.end(), tokens.begin(), tokens.end());
        offsets.push_back(static_cast<Index>(token_ids.size()));
        labels.push_back(label);
        rows.push_back(row);
    }
    /// What is scored behind the example that was appended last, one answer after the other.
    void append_answers(std::span<const std::int32_t> ids, std::span<const Index> offsets_of_them) {
        if (first_answers.empty()) first_answers = answer_offsets = {0};
        const Index before = answer_offsets.back();
        answer_ids.insert(answer_ids.end(), ids.begin(), ids.end());
        for (std::size_t a = 1; a < offsets_of_them.size(); ++a)
            answer_offsets.push_back(before + offsets_of_them[a]);
        first_answers.push_back(std::ssize(answer_offsets) - 1);
    }
    /// An example of another data set, with all that belongs to it.
    void append_from(const DataSet& other, Index example) {
        const auto e = static_cast<std::size_t>(example);
        append(other.tokens(example), other.labels[e], other.rows[e]);
        if (!other.tasks.empty()) tasks.push_back(other.tasks[e]);
        if (!other.reads.empty()) reads.push_back(other.reads[e]);
        if (!other.scores_answers()) return;
        std::vector<std::int32_t> ids;
        std::vector<Index> ends{0};
        for (Index s = 0; s < other.sequences(example); ++s) {
            const auto answered = other.answer(example, s);
            ids.insert(ids.end(), answered.begin(), answered.end());
            ends.push_back(std::ssize(ids));
        }
        append_answers(ids, ends);
    }
};

}  // namespace tangram
