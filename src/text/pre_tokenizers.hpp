#pragma once
#include <functional>
#include <vector>

#include "json_parts.hpp"
#include "normalized_text.hpp"

namespace tangram {

/// Changes the pieces of a text or cuts them further; what all leave are the words that the model sees one by
/// one.
using PreTokenizer = std::function<void(std::vector<NormalizedText>&)>;

/// The "pre_tokenizer" of a tokenizer.json, in order: BertPreTokenizer, ByteLevel, CharDelimiterSplit,
/// Digits, Metaspace, Punctuation, Split, Whitespace, WhitespaceSplit, Sequence.
/// @throws Error(input) naming a type or an option that is not supported
std::vector<PreTokenizer> read_pre_tokenizers(const JsonPart& part);

}  // namespace tangram
