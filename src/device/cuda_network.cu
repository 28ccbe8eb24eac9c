#include "cuda_network.hpp"

#include <type_traits>

namespace tangram::device {

namespace {

/// A block of threads of the GPU.
template <class Kernel>
class Threads {
  public:
    __device__ explicit Threads(typename Kernel::Memory& memory) : memory_(memory) {}
    __device__ __forceinline__ typename Kernel::Memory& memory() { return memory_; }
    template <class Phase>
    __device__ __forceinline__ void phase(Phase run) {
        run(static_cast<int>(threadIdx.x), registers_);
        if constexpr (!std::is_same_v<typename Kernel::Memory, None>) __syncthreads();
    }

  private:
    typename Kernel::Memory& memory_;
    typename Kernel::Registers registers_;
};

template <class Kernel>
__global__ void __launch_bounds__(kernel_threads) run_kernel(const __grid_constant__ Kernel kernel) {
    __shared__ typename Kernel::Memory memory;
    Threads<Kernel> block(memory);
    kernel.run(block, static_cast<Index>(blockIdx.x));
}

template <class Real>
void launch(const NetworkKernel<Real>& any, cudaStream_t stream) {
    std::visit(
        [&]<class Kernel>(const Kernel& kernel) {
            if (const Index blocks = kernel.blocks(); blocks > 0)
                run_kernel<Kernel><<<static_cast<unsigned>(blocks), kernel_threads, 0, stream>>>(kernel);
        },
        any);
}

}  // namespace

void launch_on_gpu(const NetworkKernel<float>& kernel, cudaStream_t stream) { launch(kernel, stream); }
void launch_on_gpu(const NetworkKernel<double>& kernel, cudaStream_t stream) { launch(kernel, stream); }

}  // namespace tangram::device
