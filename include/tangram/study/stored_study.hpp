#pragma once
#include <filesystem>
#include <string>

#include "tangram/io/hdf5_file.hpp"

namespace tangram {

/// The study in an output file: TOML text, which study_keys() can read. Local.
/// @throws Error(output) naming the file where it is missing or no TOML
std::string stored_study(const Hdf5File& file, const std::filesystem::path& name);

}  // namespace tangram
