#pragma once
#include <filesystem>
#include <string_view>

#include "tangram/session/session.hpp"

namespace tangram {

/// What begins the study text of files that commands other than `run` make; what follows names their inputs.
namespace made_by {
inline constexpr std::string_view merge = "# merged of ", spectrum = "# spectrum of ", rates = "# rates of ";
}  // namespace made_by

/// Of a new output file: what stands at its name, if anything, is an earlier one of the same command.
/// Collective. @param words  one of made_by
/// @throws Error(output) on every rank: a finished run, or somebody else's file, would be lost
void check_replaced(const std::filesystem::path& output, std::string_view words, const Session& session);

}  // namespace tangram
