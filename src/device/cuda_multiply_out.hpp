#pragma once
#include <cuda_runtime.h>

#include "tangram/index.hpp"

namespace tangram::device {

template <class Real>
struct OuterWork;

/// Lets the kernels have their blocks' memory; before the first one.
cudaError_t allow_multiply_out();
/// Begins one block of MultiplyOutKernel for each of `count`. @param blocks  in the GPU's memory
cudaError_t begin_multiply_out(const OuterWork<float>* blocks, Index count, cudaStream_t stream);
cudaError_t begin_multiply_out(const OuterWork<double>* blocks, Index count, cudaStream_t stream);

}  // namespace tangram::device
