#pragma once
#include <functional>
#include <string_view>
#include <vector>

#include "json_parts.hpp"
#include "normalized_text.hpp"

namespace tangram {

/// How a normalised stretch of text becomes the words that the model sees one by one.
struct PreTokenizer {
    std::function<void(NormalizedText&)> change;                ///< of the whole stretch; empty: none
    std::function<std::vector<Range>(std::string_view)> split;  ///< the words' bytes; empty: one word
    bool byte_level = false;                                    ///< the vocabulary spells bytes by stand-ins
};

/// The "pre_tokenizer" of a tokenizer.json: null, ByteLevel (with GPT-2's pattern or none), Metaspace, and a
/// Sequence of one of them. Another split pattern is one more function like gpt2_words.
/// @throws Error(input) naming a type that is not supported
PreTokenizer read_pre_tokenizer(const JsonPart& part);

}  // namespace tangram
