#pragma once
#include <filesystem>
#include <span>
#include <string>

namespace tangram {

/// SHA-256 in hexadecimal of the files' bytes one after the other (of one file: what sha256sum prints).
/// Local.
/// @throws Error(input) naming a file that cannot be read
std::string sha256_of_files(std::span<const std::filesystem::path> files);

/// SHA-256 in hexadecimal. Local.
std::string sha256_of_bytes(std::span<const std::byte> bytes);

}  // namespace tangram
