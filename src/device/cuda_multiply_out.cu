#include "cuda_multiply_out.hpp"

#include <cuda_pipeline.h>

#include "multiply_out_kernel.hpp"

namespace tangram::device {

namespace {

/// A block of threads of the GPU.
template <class Real>
class CudaOuterBlock {
  public:
    __device__ explicit CudaOuterBlock(OuterMemory<Real>& memory) : memory_(memory) {}
    __device__ __forceinline__ OuterMemory<Real>& memory() { return memory_; }
    template <class Phase>
    __device__ __forceinline__ void phase(Phase run) {
        run(static_cast<int>(threadIdx.x), chains_);
        __pipeline_commit();
        __pipeline_wait_prior(0);
        __syncthreads();
    }
    template <int entries>
    __device__ __forceinline__ void copy(Real* to, const Real* from, bool there) {
        constexpr std::size_t bytes = entries * sizeof(Real);
        __pipeline_memcpy_async(to, from, bytes, there ? 0 : bytes);
    }

  private:
    OuterMemory<Real>& memory_;
    OuterChains<Real> chains_;
};

template <class Real>
__global__ void __launch_bounds__(block_threads) run_multiply_out(const OuterWork<Real>* blocks) {
    extern __shared__ __align__(16) unsigned char memory[];
    const OuterWork<Real> work = blocks[blockIdx.x];
    CudaOuterBlock<Real> block(*reinterpret_cast<OuterMemory<Real>*>(memory));
    MultiplyOutKernel<Real, CudaOuterBlock<Real>>(block, work).run();
}

template <class Real>
cudaError_t begin(const OuterWork<Real>* blocks, Index count, cudaStream_t stream) {
    run_multiply_out<Real>
        <<<static_cast<unsigned>(count), block_threads, sizeof(OuterMemory<Real>), stream>>>(blocks);
    return cudaGetLastError();
}

template <class Real>
cudaError_t allow() {
    return cudaFuncSetAttribute(run_multiply_out<Real>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                static_cast<int>(sizeof(OuterMemory<Real>)));
}

}  // namespace

cudaError_t allow_multiply_out() {
    const cudaError_t status = allow<float>();
    return status == cudaSuccess ? allow<double>() : status;
}

cudaError_t begin_multiply_out(const OuterWork<float>* blocks, Index count, cudaStream_t stream) {
    return begin(blocks, count, stream);
}
cudaError_t begin_multiply_out(const OuterWork<double>* blocks, Index count, cudaStream_t stream) {
    return begin(blocks, count, stream);
}

}  // namespace tangram::device
