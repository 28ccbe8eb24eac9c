#pragma once
#include <string>
#include <vector>

#include "tangram/model/program.hpp"

namespace tangram {

/// The parameters that the kernel differentiates by, in the program's order. Local.
/// @param patterns  "all", a kind ("attention", "mlp", "norm", "embedding", "head") or glob patterns on
/// tensor names;
///                  a tensor is selected where any matches
/// @throws Error(study) naming kernel.parameters and the first pattern that selects nothing, with the nearest
/// name
std::vector<ParameterId> select_parameters(const Program& program, const std::vector<std::string>& patterns);

}  // namespace tangram
