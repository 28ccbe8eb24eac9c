#pragma once
#include <memory>

#include "found_gpus.hpp"
#include "runtime.hpp"
#include "tangram/spectrum/whole_solver.hpp"

/// What device.cpp needs of CUDA, in a build that has it.
namespace tangram::device {

FoundGpus cuda_gpus();
/// One of them. @throws Error(numerical) naming it and the node
std::unique_ptr<Runtime> cuda_runtime(int gpu);
/// Bytes of one of them that are free, once this process uses it. @throws as cuda_runtime()
double cuda_free_memory(int gpu);
/// cuSOLVER on one of them. @param memory  bytes that it may take
std::unique_ptr<WholeSolver> cuda_solver(int gpu, double memory);

}  // namespace tangram::device
