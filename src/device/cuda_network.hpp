#pragma once
#include <cuda_runtime.h>

#include "network_kernels.hpp"

namespace tangram::device {

/// Begins a kernel on the GPU of this thread; what CUDA says of it is asked for by cudaGetLastError.
void launch_on_gpu(const NetworkKernel<float>& kernel, cudaStream_t stream);
void launch_on_gpu(const NetworkKernel<double>& kernel, cudaStream_t stream);

}  // namespace tangram::device
