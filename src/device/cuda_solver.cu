#include <cusolverDn.h>
#include <dlfcn.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cuda_check.hpp"
#include "cuda_runtime.hpp"

namespace tangram::device {

namespace {

void check_solver(cusolverStatus_t status, const std::string& gpu, const char* what) {
    if (status == CUSOLVER_STATUS_SUCCESS) return;
    const bool memory = status == CUSOLVER_STATUS_ALLOC_FAILED;
    throw Error(ExitStatus::numerical, memory ? ErrorKind::no_memory : ErrorKind::library,
                gpu + ": cuSOLVER: " + what + " failed with status " + std::to_string(status) +
                    "; use --device cpu or another spectrum.solver");
}

/// The functions of cuSOLVER that are called here. The library is looked for when the first problem comes, so
/// that the program starts without it.
struct Cusolver {
    decltype(&cusolverDnCreate) create;
    decltype(&cusolverDnDestroy) destroy;
    decltype(&cusolverDnCreateParams) create_params;
    decltype(&cusolverDnDestroyParams) destroy_params;
    decltype(&cusolverDnXsyevd_bufferSize) buffer_size;
    decltype(&cusolverDnXsyevd) solve;

    /// @throws Error(numerical): the library is not where libraries are
    explicit Cusolver(const std::string& gpu) {
        const std::string name = "libcusolver.so." + std::to_string(CUSOLVER_VER_MAJOR);
        void* library = dlopen(name.c_str(), RTLD_NOW);
        if (library == nullptr) library = dlopen(("/usr/local/cuda/lib64/" + name).c_str(), RTLD_NOW);
        if (library == nullptr) fail(gpu);
        find(library, "cusolverDnCreate", create, gpu);
        find(library, "cusolverDnDestroy", destroy, gpu);
        find(library, "cusolverDnCreateParams", create_params, gpu);
        find(library, "cusolverDnDestroyParams", destroy_params, gpu);
        find(library, "cusolverDnXsyevd_bufferSize", buffer_size, gpu);
        find(library, "cusolverDnXsyevd", solve, gpu);
    }

  private:
    template <class Function>
    static void find(void* library, const char* name, Function& function, const std::string& gpu) {
        function = reinterpret_cast<Function>(dlsym(library, name));
        if (function == nullptr) fail(gpu);
    }
    [[noreturn]] static void fail(const std::string& gpu) {
        throw Error(ExitStatus::numerical, ErrorKind::missing,
                    gpu + ": cuSOLVER: " + dlerror() +
                        "; name its folder in LD_LIBRARY_PATH, or use another spectrum.solver");
    }
};

/// Memory of the GPU, given back in the end.
class GpuMemory {
  public:
    GpuMemory(std::size_t bytes, const std::string& gpu) {
        check(cudaMalloc(&data_, std::max<std::size_t>(bytes, 1)), gpu, "allocating its memory");
    }
    GpuMemory(const GpuMemory&) = delete;
    GpuMemory& operator=(const GpuMemory&) = delete;
    ~GpuMemory() { static_cast<void>(cudaFree(data_)); }
    void* data() const { return data_; }

  private:
    void* data_ = nullptr;
};

/// cusolverDnXsyevd, divide and conquer with 64-bit sizes.
class CudaSolver final : public WholeSolver {
  public:
    CudaSolver(int gpu, double memory) : name_(take_gpu(gpu)), memory_(memory) {}
    CudaSolver(const CudaSolver&) = delete;
    CudaSolver& operator=(const CudaSolver&) = delete;
    ~CudaSolver() override {
        if (parameters_ != nullptr) static_cast<void>(library_->destroy_params(parameters_));
        if (handle_ != nullptr) static_cast<void>(library_->destroy(handle_));
    }
    std::string name() const override { return name_; }
    Room room(Index n, bool vectors) override {
        const Workspace workspace = workspace_of(n, vectors);
        std::size_t free = 0, all = 0;
        check(cudaMemGetInfo(&free, &all), name_, "asking for free memory");
        const std::size_t order = static_cast<std::size_t>(n);
        return {static_cast<double>(sizeof(double) * (order * order + order) + workspace.gpu),
                std::min(memory_, static_cast<double>(free))};
    }
    void solve(std::span<double> A, Index n, bool vectors, std::span<double> w) override {
        const Workspace workspace = workspace_of(n, vectors);
        const GpuMemory matrix(A.size_bytes(), name_), values(w.size_bytes(), name_),
            work(workspace.gpu, name_), state(sizeof(int), name_);
        std::vector<std::byte> work_of_host(workspace.host);
        check(cudaMemcpy(matrix.data(), A.data(), A.size_bytes(), cudaMemcpyHostToDevice), name_,
              "sending the matrix");
        check_solver(library_->solve(handle_, parameters_, job(vectors), CUBLAS_FILL_MODE_LOWER, n, CUDA_R_64F,
                              matrix.data(), n, CUDA_R_64F, values.data(), CUDA_R_64F, work.data(),
                              workspace.gpu, work_of_host.data(), workspace.host,
                              static_cast<int*>(state.data())),
              name_, "Xsyevd");
        int info = 0;
        check(cudaMemcpy(&info, state.data(), sizeof info, cudaMemcpyDeviceToHost), name_,
              "the eigenproblem");
        if (info != 0)
            throw Error(ExitStatus::numerical, ErrorKind::not_converged,
                        name_ + ": cusolver did not converge (info = " + std::to_string(info) +
                            "); try another spectrum.solver");
        check(cudaMemcpy(w.data(), values.data(), w.size_bytes(), cudaMemcpyDeviceToHost), name_,
              "bringing eigenvalues");
        if (vectors)
            check(cudaMemcpy(A.data(), matrix.data(), A.size_bytes(), cudaMemcpyDeviceToHost), name_,
                  "bringing eigenvectors");
    }

  private:
    struct Workspace {
        std::size_t gpu = 0, host = 0;  ///< bytes
    };
    static cusolverEigMode_t job(bool vectors) {
        return vectors ? CUSOLVER_EIG_MODE_VECTOR : CUSOLVER_EIG_MODE_NOVECTOR;
    }
    Workspace workspace_of(Index n, bool vectors) {
        if (!library_) library_.emplace(name_);
        if (handle_ == nullptr) check_solver(library_->create(&handle_), name_, "beginning");
        if (parameters_ == nullptr) check_solver(library_->create_params(&parameters_), name_, "beginning");
        Workspace bytes;
        // Matrix and eigenvalues are not looked at; some versions refuse a null pointer.
        const GpuMemory unused(sizeof(double), name_);
        check_solver(library_->buffer_size(handle_, parameters_, job(vectors), CUBLAS_FILL_MODE_LOWER, n,
                                           CUDA_R_64F, unused.data(), n, CUDA_R_64F, unused.data(),
                                           CUDA_R_64F, &bytes.gpu, &bytes.host),
              name_, "asking for Xsyevd's workspace");
        return bytes;
    }

    std::string name_;
    double memory_;
    std::optional<Cusolver> library_;
    cusolverDnHandle_t handle_ = nullptr;
    cusolverDnParams_t parameters_ = nullptr;
};

}  // namespace

std::unique_ptr<WholeSolver> cuda_solver(int gpu, double memory) {
    return std::make_unique<CudaSolver>(gpu, memory);
}

}  // namespace tangram::device
