#pragma once
#include <functional>
#include <string>
#include <vector>

#include "tangram/files/safetensors.hpp"
#include "tangram/model/program.hpp"

namespace tangram {

/// Gives the tensors of a checkpoint the names that the program knows: without what torch.compile, FSDP,
/// DataParallel and PEFT put before and into all of them, and to a second copy of a tied tensor that was
/// stored alone the tensor's own. Local. @return what was taken off, for a message; empty: nothing
std::string adopt_names(Weights& weights, const Program& program);

/// Judges the tensors that the program does not use. Buffers, heads of pretraining, and a language model's
/// head beside a classifier pass; trained heads, further layers and unknown tensors are named, one line for
/// each kind. Local.
/// @param drawn  parameters that are drawn although the checkpoint may hold them
/// @throws Error(input, unsupported) naming a tensor that belongs to the model's body or output, or holds
///         integers
std::vector<std::string> check_unused(const Program& program, const Weights& weights,
                                      const std::function<bool(const Parameter&)>& drawn);

}  // namespace tangram
