#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "json_parts.hpp"
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

/// The id of a token; nullopt where the vocabulary has no such token.
inline std::optional<std::int32_t> find(const Vocabulary& vocabulary, std::string_view token) {
    const auto found = vocabulary.find(token);
    if (found == vocabulary.end()) return std::nullopt;
    return found->second;
}

/// The "vocab" of a model, an object of tokens and ids. @throws Error(input) naming a token whose id is none
inline Vocabulary read_vocabulary(const JsonPart& model) {
    const nlohmann::json& entries = model.at("vocab").json;
    if (!entries.is_object()) model.refuse(ErrorKind::malformed, "model: \"vocab\" is not an object");
    Vocabulary vocabulary;
    vocabulary.reserve(entries.size());
    for (const auto& [token, id] : entries.items())
        vocabulary.emplace(token,
                           JsonPart{id, model.file, fmt::format("model: vocab of \"{}\"", token)}.id());
    return vocabulary;
}

/// What turns a word into tokens.
class TokenModel {
  public:
    virtual ~TokenModel() = default;
    /// Appends the tokens of a word (not empty).
    virtual void encode(const NormalizedText& word, std::vector<Token>& out) const = 0;
    virtual const Vocabulary& vocabulary() const = 0;
    /// The token of what the vocabulary does not spell.
    virtual std::optional<std::int32_t> unknown() const = 0;
};

}  // namespace tangram
