#pragma once
#include <cuda_runtime.h>

#include <string>

#include "tangram/error.hpp"

namespace tangram::device {

/// @throws Error(numerical) naming the GPU and the node, where a call of CUDA failed
void check(cudaError_t status, const std::string& gpu, const char* what);

}  // namespace tangram::device
