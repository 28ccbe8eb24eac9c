#pragma once
#include <string>

namespace tangram {

/// What `tangram help <topic>` prints; without a topic, the topics. Local.
/// @throws Error(study) for an unknown topic, with the nearest
std::string help(const std::string& topic);

}  // namespace tangram
