#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tangram/io/hdf5_file.hpp"
#include "tangram/study/configuration.hpp"

namespace tangram {

/// The study in an output file: TOML text, which study_keys() can read. Local.
/// @throws Error(output) naming the file where it is missing or no TOML
std::string stored_study(const Hdf5File& file, const std::filesystem::path& name);

/// What an output file keeps in the place of its study; empty: nothing. Local.
std::string study_or_remark(const Hdf5File& file);
/// Whether it is a command's without a study, a remark: "# merged of ...". Local.
bool is_remark(const std::string& stored);

/// The study that an output file keeps, with the sections of one stage, which makes its results anew, as
/// `study` has them: results of other stages were made with what stands there. TOML text. Local.
std::string with_sections(const std::string& stored_toml, const Study& study,
                          const std::vector<std::string>& sections);

/// Every key of a study that an output file keeps, in full, with its value as TOML. Local.
std::map<std::string, std::string> study_keys(const std::string& stored_toml);

/// study_keys(), and with their defaults the keys that an earlier version's file does not have. Local.
std::map<std::string, std::string> complete_study_keys(const std::string& stored_toml);

/// The first key that decides the kernel in which the study differs from one that an output file keeps, with
/// both values; nothing where they agree. Local.
std::optional<std::string> kernel_difference(const Study& study, const std::string& stored_toml);

/// What differs between two studies kept by output files: "key: value | other value".
struct StudyDifferences {
    std::vector<std::string> texts;
    bool results = false;  ///< whether a key among them decides a result
};
/// Local.
StudyDifferences study_differences(const std::string& first, const std::string& second);

}  // namespace tangram
