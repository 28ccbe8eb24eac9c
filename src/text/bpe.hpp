#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// The BPE model of a tokenizer.json: vocabulary and ranked merges (Sennrich, Haddow, Birch 2016).
class Bpe {
  public:
    /// One symbol of a word: its text in the vocabulary's spelling and the bytes of the input it stands for.
    struct Symbol {
        std::string_view text;
        Index first, last;
    };
    struct Token {
        std::int32_t id;
        Index first, last;
    };

    /// @throws Error(input) naming `file` and the entry that is malformed or not supported
    Bpe(const nlohmann::json& model, const std::string& file);

    /// Appends the tokens of one word: symbols joined by the merge of lowest rank, leftmost first, until none applies.
    /// O(n log n) in the symbols.
    void encode(const std::vector<Symbol>& word, std::vector<Token>& out) const;

    const std::unordered_map<std::string, std::int32_t>& vocabulary() const { return vocabulary_; }

  private:
    struct Merge {
        std::int32_t rank, id;
    };
    static std::uint64_t key(std::int32_t a, std::int32_t b) {
        return static_cast<std::uint64_t>(static_cast<std::uint32_t>(a)) << 32 | static_cast<std::uint32_t>(b);
    }
    std::optional<std::int32_t> find(std::string_view text) const;

    std::unordered_map<std::string, std::int32_t> vocabulary_;
    std::unordered_map<std::uint64_t, Merge> merges_;
    std::optional<std::int32_t> unknown_;
    bool fuse_unknown_ = false, byte_fallback_ = false, ignore_merges_ = false;
    std::int32_t byte_ids_[256];
};

}  // namespace tangram
