#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "longest_starts.hpp"
#include "model.hpp"

namespace tangram {

/// The Unigram model of a tokenizer.json: of all ways to spell a word in tokens the one whose scores (log
/// probabilities) have the largest sum (Kudo 2018), as Hugging Face's tokenizers find it.
class Unigram final : public TokenModel {
  public:
    /// @throws Error(input) naming the file and the entry or key that is malformed or not supported
    explicit Unigram(const JsonPart& model);

    /// Of equal sums the one whose last token that differs begins first counts. Characters that are no token
    /// of their own may be the unknown token, 10 below the lowest score; neighbours are one unknown piece,
    /// which falls back to bytes where the model says so and has a token for each. Linear in the word, times
    /// how many tokens begin in one place.
    /// @throws Error(input) naming the file where the model has no unknown token and needs it
    void encode(const NormalizedText& word, std::vector<Token>& out) const override;
    const Vocabulary& vocabulary() const override { return vocabulary_; }
    std::optional<std::int32_t> unknown() const override { return unknown_; }

  private:
    /// The best spelling of a word's beginning: its score, and the byte at which its last token begins.
    struct Spelling {
        double score = 0;
        Index first = -1;  ///< -1: none
        std::int32_t last_token = -1;
    };
    void read_tokens(const JsonPart& model);
    void link_tokens();
    std::vector<Spelling> spellings(const NormalizedText& word) const;
    void add_unknown(const NormalizedText& word, Range bytes, std::vector<Token>& out) const;

    std::string file_;  // for messages
    Vocabulary vocabulary_;
    std::vector<double> scores_;         // by id, as all that follow
    std::vector<Index> sizes_;           // bytes
    std::vector<std::int32_t> shorter_;  // the longest other token that begins it, or -1
    LongestStarts tokens_;
    double unknown_score_ = 0;
    std::optional<std::int32_t> unknown_;
    std::array<std::optional<std::int32_t>, 256> bytes_;  // byte fallback: the tokens <0x00> to <0xFF>
};

}  // namespace tangram
