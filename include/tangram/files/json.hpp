#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "tangram/error.hpp"
#include "tangram/files/files_read.hpp"

namespace tangram {

/// What a key that stands twice in one object means.
enum class DuplicateKeys { last_counts, refused };

/// A JSON text, which may hold the numbers NaN, Infinity and -Infinity as Python writes them. Local.
/// @param name    what messages call it
/// @param advice  what to do with a text that is none
/// @throws Error(input) naming it and the byte at which it stops being JSON, a number beyond float64, that it
///         nests deeper than 200 levels, or a key that stands twice where that is refused
nlohmann::json parse_json(std::string_view text, const std::string& name,
                          DuplicateKeys duplicates = DuplicateKeys::last_counts,
                          const std::string& advice = "the file is damaged, fetch it again");

/// A JSON file, which goes into the record. Local. @throws Error(input) as parse_json and read_text
nlohmann::json read_json(const std::filesystem::path& file, FilesRead& files);

/// All bytes of a file, which goes into the record. Local. @throws Error of this status naming the file where
/// it is missing, cannot be read, fails while it is read, or ends before the size that it had; std::bad_alloc
/// where it does not fit
std::string read_text(const std::filesystem::path& file, FilesRead& files,
                      ExitStatus status = ExitStatus::input);

}  // namespace tangram
