#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// `samples` of the rows 0 .. rows-1, drawn without replacement: the first entries of one random permutation
/// that rows and seed alone decide (Fisher-Yates on std::mt19937_64, bounds by rejection, the same on every
/// machine), so that fewer samples are a prefix of more. 0 draws all rows. Local.
/// @param name  what is drawn from, for the message
/// @throws Error(study) where samples > rows
std::vector<Index> draw_rows(Index rows, Index samples, std::uint64_t seed, const std::string& name);

}  // namespace tangram
