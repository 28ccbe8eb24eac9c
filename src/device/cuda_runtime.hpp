#pragma once
#include <memory>

#include "found_gpus.hpp"
#include "runtime.hpp"

/// What device.cpp needs of CUDA, in a build that has it.
namespace tangram::device {

FoundGpus cuda_gpus();
/// One of them. @throws Error(numerical) naming it and the node
std::unique_ptr<Runtime> cuda_runtime(int gpu);

}  // namespace tangram::device
