#pragma once
#include "tangram/study/configuration.hpp"

namespace tangram {

/// What each key may hold, by its declaration, and the order of the step sizes. Local.
/// @throws Error(study) naming the key in full
void check_values(Study& study);

/// What keys ask of each other, of a whole study. Local. @throws Error(study) naming them
void check_together(const Study& study);

}  // namespace tangram
