#pragma once
#include <string>
#include <vector>

namespace tangram {

/// What `tangram help <topic>` prints; without a topic, the topics. Local.
/// @throws Error(study) for an unknown topic, with the nearest
std::string help(const std::string& topic);
/// Every topic, with those that the program itself answers.
const std::vector<std::string>& help_topics();

}  // namespace tangram
