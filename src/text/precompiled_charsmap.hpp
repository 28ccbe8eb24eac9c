#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json_parts.hpp"

namespace tangram {

/// SentencePiece's "precompiled_charsmap": texts of a few characters and what becomes of each. In base64 the
/// size of a double array in bytes, the array (darts-clone's; 32 bits a unit, little-endian), and the
/// replacements, each ending with NUL.
class PrecompiledCharsmap {
  public:
    /// @throws Error(input) naming the file where the key is missing, no base64 or no such array
    explicit PrecompiledCharsmap(const JsonPart& part);

    /// What becomes of a text: of the shortest entry that begins it, as Hugging Face's library has it (Rust's
    /// spm_precompiled; SentencePiece itself takes the longest). nullopt: no entry begins it.
    /// @throws Error(input) naming the file where the array points nowhere
    std::optional<std::string_view> find(std::string_view text) const;

  private:
    [[noreturn]] void refuse(const std::string& problem) const;
    std::uint32_t unit(std::size_t node) const;
    std::string_view replacement(std::size_t first) const;

    std::string file_;
    std::vector<std::uint32_t> units_;
    std::string replacements_;
};

}  // namespace tangram
