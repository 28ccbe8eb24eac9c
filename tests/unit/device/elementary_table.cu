#include "elementary_table.hpp"

#include <cuda_runtime.h>

namespace tangram::testing {

namespace {

template <class Real>
__global__ void fill(int f, Real* x, std::size_t count) {
    const std::size_t i = blockIdx.x * std::size_t{256} + threadIdx.x;
    if (i < count) x[i] = elementary_value(f, x[i]);
}

template <class Real>
std::vector<Real> values(int f, const std::vector<Real>& x) {
    Real* on_gpu = nullptr;
    const std::size_t bytes = x.size() * sizeof(Real);
    std::vector<Real> found(x.size());
    bool done = cudaMalloc(&on_gpu, bytes) == cudaSuccess &&
                cudaMemcpy(on_gpu, x.data(), bytes, cudaMemcpyHostToDevice) == cudaSuccess;
    if (done) fill<<<static_cast<unsigned>((x.size() + 255) / 256), 256>>>(f, on_gpu, x.size());
    done = done && cudaMemcpy(found.data(), on_gpu, bytes, cudaMemcpyDeviceToHost) == cudaSuccess;
    static_cast<void>(cudaFree(on_gpu));
    return done ? found : std::vector<Real>{};
}

}  // namespace

std::vector<float> elementary_values_on_gpu(int f, const std::vector<float>& x) { return values(f, x); }
std::vector<double> elementary_values_on_gpu(int f, const std::vector<double>& x) { return values(f, x); }

}  // namespace tangram::testing
