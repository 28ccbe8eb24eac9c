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

/// Disjoint groups of tensors whose Gram matrices are kept apart.
struct ParameterGroups {
    std::vector<std::string> names;
    std::vector<std::size_t> group_of;  ///< of each parameter, a place in `names`; empty: none
};

/// The groups of some parameters, in order of appearance. Local.
/// @param by  "none"; "kind": attention, mlp, norm, embedding, head; "layer": layer.0, layer.1, ... by the
///            first number in the tensor's name, the tensors outside the layers by kind
ParameterGroups group_parameters(const Program& program, const std::vector<ParameterId>& parameters,
                                 const std::string& by);

}  // namespace tangram
