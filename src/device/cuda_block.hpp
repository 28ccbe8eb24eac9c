#pragma once
#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <type_traits>

#include "tile_kernel.hpp"

/// Kernels in phases (tile_kernel.hpp) on a GPU.
namespace tangram::device {

/// A block of threads.
/// @tparam copies  phases copy, and what they copy has arrived behind them
template <class Memory, class Registers, bool copies>
class CudaBlock {
  public:
    __device__ explicit CudaBlock(Memory& memory) : memory_(memory) {}
    __device__ __forceinline__ Memory& memory() { return memory_; }
    template <class Phase>
    __device__ __forceinline__ void phase(Phase run) {
        run(static_cast<int>(threadIdx.x), registers_);
        if constexpr (copies) {
            __pipeline_commit();
            __pipeline_wait_prior(0);
        }
        if constexpr (!std::is_empty_v<Memory>) __syncthreads();
    }
    template <int entries, class Real>
    __device__ __forceinline__ void copy(Real* to, const Real* from, bool there) {
        constexpr std::size_t bytes = entries * sizeof(Real);
        __pipeline_memcpy_async(to, from, bytes, there ? 0 : bytes);
    }

  private:
    Memory& memory_;
    Registers registers_;
};

/// Block b does works[b], in memory that is asked for when it begins, which the compiler does not know of:
/// how many blocks a multiprocessor has, and so how many registers a thread may have, it is told.
template <class Work>
__global__ void __launch_bounds__(block_threads, Work::together) run_work(const Work* works) {
    using Memory = typename Work::Memory;
    using Block = CudaBlock<Memory, typename Work::Registers, true>;
    extern __shared__ __align__(16) unsigned char memory[];
    const Work work = works[blockIdx.x];
    Block block(*reinterpret_cast<Memory*>(memory));
    typename Work::template Kernel<Block>(block, work).run();
}

/// Lets blocks have their memory; before the first one.
template <class Work>
cudaError_t allow_work() {
    return cudaFuncSetAttribute(run_work<Work>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                static_cast<int>(sizeof(typename Work::Memory)));
}

/// @param works  in the GPU's memory
template <class Work>
cudaError_t begin_work(const Work* works, Index count, cudaStream_t stream) {
    run_work<Work>
        <<<static_cast<unsigned>(count), block_threads, sizeof(typename Work::Memory), stream>>>(works);
    return cudaGetLastError();
}

}  // namespace tangram::device
