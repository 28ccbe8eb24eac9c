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
    /// @param byte_level  the symbols are bytes, spelt by GPT-2's stand-ins; else characters
    /// @throws Error(input) naming the file and the entry that is malformed or not supported
    Bpe(const JsonPart& model, bool byte_level);

    /// Symbols joined by the merge of lowest rank, leftmost first, until none applies. O(n log n) in the
    /// symbols.
    void encode(const NormalizedText& text, Range word, std::vector<Token>& out) const override;
    const Vocabulary& vocabulary() const override { return vocabulary_; }

  private:
    struct Merge {
        std::int32_t rank, id;
    };
    static std::uint64_t key(std::int32_t a, std::int32_t b) {
        return static_cast<std::uint64_t>(static_cast<std::uint32_t>(a)) << 32 |
               static_cast<std::uint32_t>(b);
    }
    std::optional<std::int32_t> find(std::string_view text) const;
    void read_merges(const JsonPart& model);
    std::vector<Token> symbols(const NormalizedText& text, Range word) const;
    void merge(std::vector<Token>& tokens, std::vector<Token>& out) const;

    bool byte_level_, fuse_unknown_ = false, byte_fallback_ = false, ignore_merges_ = false;
    Vocabulary vocabulary_;
    std::unordered_map<std::uint64_t, Merge> merges_;
    std::optional<std::int32_t> unknown_;
    std::array<std::string, 256> stand_ins_;              // byte-level: each byte's spelling
    std::array<std::optional<std::int32_t>, 256> bytes_;  // token of each byte: its stand-in's or <0x..>
};

}  // namespace tangram
