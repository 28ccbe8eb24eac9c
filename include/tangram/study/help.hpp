#pragma once
#include <span>
#include <string>
#include <utility>

namespace tangram {

/// What `tangram help <topic>` prints; without a topic, the topics. Local.
/// @throws Error(study) for an unknown topic, with the nearest
std::string help(const std::string& topic);

/// A name and what it means.
using Explained = std::pair<const char*, const char*>;
/// Every key of a study file; of a task those of [data].
std::span<const Explained> explained_keys();
/// What an output file holds; <...> stands for any name.
std::span<const Explained> explained_paths();

}  // namespace tangram
