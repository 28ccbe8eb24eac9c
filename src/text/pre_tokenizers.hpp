#pragma once
#include <array>
#include <functional>
#include <string>
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

/// GPT-2's printable stand-in for each byte, as UTF-8: printable ASCII and Latin-1 stand for themselves, the
/// other bytes for U+0100 onwards in order (Radford et al. 2019, encoder.py: bytes_to_unicode).
std::array<std::string, 256> byte_stand_ins();

}  // namespace tangram
