#pragma once
#include "tangram/model/program.hpp"

namespace tangram {

/// The program with its first `layers` layers only, between the same tables and the same head: a piece that
/// shows the cost of a layer. Parameters and values keep their numbers; those of the layers that are left out
/// stand unused. A layer is known by the number in its tensors' names; it begins and ends where one value
/// alone is read later. Local. @throws Error(input) where the program has fewer layers, or none of that kind
Program first_layers(const Program& program, Index layers);

}  // namespace tangram
