#pragma once
#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <cuda/atomic>
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

/// A block's memory, which the compiler does not know of: it is asked for when the block begins. How many
/// blocks a multiprocessor has, and so how many registers a thread may have, the compiler is told.
template <class Work>
__device__ __forceinline__ void do_work(const Work& work) {
    using Memory = typename Work::Memory;
    using Block = CudaBlock<Memory, typename Work::Registers, true>;
    extern __shared__ __align__(16) unsigned char memory[];
    Block block(*reinterpret_cast<Memory*>(memory));
    typename Work::template Kernel<Block>(block, work).run();
}

/// Block b does works[b].
template <class Work>
__global__ void __launch_bounds__(block_threads, Work::together) run_work(const Work* works) {
    const Work work = works[blockIdx.x];
    do_work(work);
}

/// Blocks do works in the order in which they begin: whoever waits for its turn waits for one that runs. What
/// has been stored before *done is counted up is seen by who has read the count: a release and an acquire of
/// one thread, whose block's other threads it meets at the barriers.
template <class Work>
__global__ void __launch_bounds__(block_threads, Work::together) run_in_turn(const Work* works, int* begun) {
    using Count = cuda::atomic_ref<int, cuda::thread_scope_device>;
    __shared__ int place;
    if (threadIdx.x == 0) {
        place = Count(*begun).fetch_add(1, cuda::std::memory_order_relaxed);
        const Work& next = works[place];
        if (next.turn > 0)
            while (Count(*next.done).load(cuda::std::memory_order_acquire) != next.turn) __nanosleep(100);
    }
    __syncthreads();
    const Work work = works[place];
    do_work(work);
    __syncthreads();
    if (threadIdx.x == 0 && work.done != nullptr)
        Count(*work.done).store(work.turn + 1, cuda::std::memory_order_release);
}

/// Lets the blocks of a kernel have their memory: more than 48 KiB only those that ask.
template <class Work, class... Arguments>
cudaError_t allow_memory(void (*kernel)(Arguments...)) {
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                static_cast<int>(sizeof(typename Work::Memory)));
}

/// @param works  in the GPU's memory
template <class Work>
cudaError_t begin_work(const Work* works, Index count, cudaStream_t stream) {
    const cudaError_t allowed = allow_memory<Work>(run_work<Work>);
    if (allowed != cudaSuccess) return allowed;
    run_work<Work>
        <<<static_cast<unsigned>(count), block_threads, sizeof(typename Work::Memory), stream>>>(works);
    return cudaGetLastError();
}

/// @param works, begun  in the GPU's memory
template <class Work>
cudaError_t begin_in_turn(const Work* works, Index count, int* begun, cudaStream_t stream) {
    const cudaError_t allowed = allow_memory<Work>(run_in_turn<Work>);
    if (allowed != cudaSuccess) return allowed;
    run_in_turn<Work><<<static_cast<unsigned>(count), block_threads, sizeof(typename Work::Memory), stream>>>(
        works, begun);
    return cudaGetLastError();
}

}  // namespace tangram::device
