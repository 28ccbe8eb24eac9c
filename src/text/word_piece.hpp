#pragma once
#include <optional>
#include <string>
#include <vector>

#include "longest_starts.hpp"
#include "model.hpp"

namespace tangram {

/// The WordPiece model of a tokenizer.json: from the left, the longest token that fits (Wu et al. 2016;
/// Devlin et al. 2019, tokenization.py).
class WordPiece final : public TokenModel {
  public:
    /// @throws Error(input) naming the file and the entry that is malformed
    explicit WordPiece(const JsonPart& model);

    /// A word that is too long or that no tokens spell is the unknown token.
    void encode(const NormalizedText& word, std::vector<Token>& out) const override;
    const Vocabulary& vocabulary() const override { return vocabulary_; }
    std::optional<std::int32_t> unknown() const override { return unknown_; }

  private:
    Vocabulary vocabulary_;
    std::string prefix_;                // of every token but a word's first
    Index longest_word_;                // characters
    LongestStarts first_, continuing_;  // tokens at a word's beginning, and behind it without the prefix
    std::vector<std::pair<std::int32_t, Index>> found_;  // of each entry there its id, and its bytes
    std::int32_t unknown_;
};

}  // namespace tangram
