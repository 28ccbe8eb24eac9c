#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "normalized_text.hpp"

namespace tangram {

struct Token {
    std::int32_t id;
    Range source;  ///< bytes of the input
};

struct StringHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
using Vocabulary = std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>>;

/// What turns a word into tokens: BPE; WordPiece would be another.
class TokenModel {
  public:
    virtual ~TokenModel() = default;
    /// Appends the tokens of text[word].
    virtual void encode(const NormalizedText& text, Range word, std::vector<Token>& out) const = 0;
    virtual const Vocabulary& vocabulary() const = 0;
};

}  // namespace tangram
