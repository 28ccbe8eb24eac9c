#pragma once
#include <string>

#include "tangram/error.hpp"
#include "tangram/study/configuration.hpp"

namespace tangram {

/// A study that cannot be: throws Error(study). Local.
[[noreturn]] void refuse(ErrorKind kind, const std::string& message);

/// What each key may hold, by its declaration, and the order of the step sizes. Local.
/// @throws Error(study) naming the key in full
void check_values(Study& study);

/// What keys ask of each other, of a whole study; label words only where they are `needed`. Local.
/// @throws Error(study) naming them
void check_together(const Study& study, LabelWords words = LabelWords::needed);

}  // namespace tangram
