#pragma once

/// Stands before a function that CUDA kernels call too; means nothing to other compilers.
#if defined(__CUDACC__)
#define TANGRAM_HOST_DEVICE __host__ __device__
#else
#define TANGRAM_HOST_DEVICE
#endif
