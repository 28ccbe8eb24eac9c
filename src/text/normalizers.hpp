#pragma once
#include <functional>
#include <vector>

#include "json_parts.hpp"
#include "normalized_text.hpp"

namespace tangram {

using Normalizer = std::function<void(NormalizedText&)>;

/// The "normalizer" of a tokenizer.json, in order: BertNormalizer, Lowercase, NFC, NFD, NFKC, NFKD,
/// Precompiled, Prepend, Replace, Strip, StripAccents, Sequence.
/// @throws Error(input) naming a type that is not supported
std::vector<Normalizer> read_normalizers(const JsonPart& part);

}  // namespace tangram
