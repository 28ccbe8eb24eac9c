#include "cuda_network.hpp"

#include "cuda_block.hpp"

namespace tangram::device {

namespace {

template <class Kernel>
__global__ void __launch_bounds__(kernel_threads) run_kernel(const __grid_constant__ Kernel kernel) {
    __shared__ typename Kernel::Memory memory;
    CudaBlock<typename Kernel::Memory, typename Kernel::Registers, false> block(memory);
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
