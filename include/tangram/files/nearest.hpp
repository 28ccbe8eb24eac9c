#pragma once
#include <span>
#include <string>
#include <string_view>

namespace tangram {

/// The candidate with the smallest edit distance to `word` (the first of equals; empty where there is none);
/// that its beginning alone was typed counts as two edits. Local.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace tangram
