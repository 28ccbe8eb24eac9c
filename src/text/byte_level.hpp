#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// GPT-2's printable stand-in for a byte, as UTF-8: printable ASCII and Latin-1 stand for themselves, the
/// other bytes for U+0100 onwards in order (Radford et al. 2019, encoder.py: bytes_to_unicode).
std::string byte_stand_in(unsigned char byte);

/// Byte ranges [first, last) of the words that GPT-2's pattern cuts a text into:
/// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::vector<std::pair<Index, Index>> gpt2_words(std::string_view text);

}  // namespace tangram
