#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "json_parts.hpp"
#include "model.hpp"

namespace tangram {

/// The BPE model of a tokenizer.json: vocabulary and ranked merges (Sennrich, Haddow, Birch 2016).
class Bpe final : public TokenModel {
  public:
    /// @throws Error(input) naming the file and the entry that is malformed or not supported
    explicit Bpe(const JsonPart& model);

    /// Symbols joined by the merge of lowest rank, leftmost first, until none applies. O(n log n) in the
    /// symbols.
    void encode(const NormalizedText& word, std::vector<Token>& out) const override;
    const Vocabulary& vocabulary() const override { return vocabulary_; }
    std::optional<std::int32_t> unknown() const override { return unknown_; }

  private:
    struct Merge {
        std::int32_t rank, id;
    };
    static std::uint64_t key(std::int32_t a, std::int32_t b) {
        return static_cast<std::uint64_t>(static_cast<std::uint32_t>(a)) << 32 |
               static_cast<std::uint32_t>(b);
    }
    void read_merges(const JsonPart& model);
    std::vector<Token> symbols(const NormalizedText& word) const;
    void merge(std::vector<Token>& tokens, std::vector<Token>& out) const;

    bool fuse_unknown_, ignore_merges_;
    std::string prefix_, suffix_;  // of every symbol but a word's first; of its last
    Vocabulary vocabulary_;
    std::unordered_map<std::uint64_t, Merge> merges_;
    std::optional<std::int32_t> unknown_;
    std::array<std::optional<std::int32_t>, 256> bytes_;  // byte fallback: the tokens <0x00> to <0xFF>
};

}  // namespace tangram
