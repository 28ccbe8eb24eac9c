#include <cublas_v2.h>
#include <cusolverDn.h>
#include <dlfcn.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cuda_check.hpp"
#include "cuda_runtime.hpp"
#include "staged_copies.hpp"

namespace tangram::device {

namespace {

/// @param status  0: success, in either library  @param no_memory  the status that says so
void check_library(const char* library, int status, int no_memory, const std::string& gpu, const char* what) {
    if (status == 0) return;
    throw Error(ExitStatus::numerical, status == no_memory ? ErrorKind::no_memory : ErrorKind::library,
                gpu + ": " + library + ": " + what + " failed with status " + std::to_string(status) +
                    "; use --device cpu or another spectrum.solver");
}
void check_solver(cusolverStatus_t status, const std::string& gpu, const char* what) {
    static_assert(CUSOLVER_STATUS_SUCCESS == 0);
    check_library("cuSOLVER", status, CUSOLVER_STATUS_ALLOC_FAILED, gpu, what);
}
void check_blas(cublasStatus_t status, const std::string& gpu, const char* what) {
    static_assert(CUBLAS_STATUS_SUCCESS == 0);
    check_library("cuBLAS", status, CUBLAS_STATUS_ALLOC_FAILED, gpu, what);
}

/// A library of CUDA's, looked for when the first problem comes, so that the program starts without it.
class Library {
  public:
    /// @throws Error(numerical): it is not where libraries are
    Library(const char* name, const std::string& file, const std::string& gpu) : name_(name), gpu_(gpu) {
        handle_ = dlopen(file.c_str(), RTLD_NOW);
        if (handle_ != nullptr) return;
        const std::string first = dlerror();
        handle_ = dlopen(("/usr/local/cuda/lib64/" + file).c_str(), RTLD_NOW);
        if (handle_ == nullptr) fail(first + "; " + dlerror());
    }
    template <class Function>
    void find(const char* name, Function& function) const {
        function = reinterpret_cast<Function>(dlsym(handle_, name));
        if (function == nullptr) fail(dlerror());
    }

  private:
    [[noreturn]] void fail(const std::string& why) const {
        throw Error(ExitStatus::numerical, ErrorKind::missing,
                    gpu_ + ": " + name_ + ": " + why +
                        "; name its folder in LD_LIBRARY_PATH, or use another spectrum.solver");
    }
    const char* name_;
    const std::string& gpu_;
    void* handle_;
};

/// The functions of cuSOLVER that are called here.
struct Cusolver {
    decltype(&cusolverDnCreate) create;
    decltype(&cusolverDnDestroy) destroy;
    decltype(&cusolverDnCreateParams) create_params;
    decltype(&cusolverDnDestroyParams) destroy_params;
    decltype(&cusolverDnXsyevd_bufferSize) buffer_size;
    decltype(&cusolverDnXsyevd) solve;

    explicit Cusolver(const std::string& gpu) {
        const Library library("cuSOLVER", "libcusolver.so." + std::to_string(CUSOLVER_VER_MAJOR), gpu);
        library.find("cusolverDnCreate", create);
        library.find("cusolverDnDestroy", destroy);
        library.find("cusolverDnCreateParams", create_params);
        library.find("cusolverDnDestroyParams", destroy_params);
        library.find("cusolverDnXsyevd_bufferSize", buffer_size);
        library.find("cusolverDnXsyevd", solve);
    }
};

/// The same of cuBLAS.
struct Cublas {
    decltype(&cublasCreate_v2) create;
    decltype(&cublasDestroy_v2) destroy;
    decltype(&cublasDgemm_v2) dgemm;

    explicit Cublas(const std::string& gpu) {
        const Library library("cuBLAS", "libcublas.so." + std::to_string(CUBLAS_VER_MAJOR), gpu);
        library.find("cublasCreate_v2", create);
        library.find("cublasDestroy_v2", destroy);
        library.find("cublasDgemm_v2", dgemm);
    }
};

const std::byte* bytes_of(std::span<const double> numbers) { return std::as_bytes(numbers).data(); }

/// Products by cublasDgemm.
class MatrixOnGpu final : public HeldMatrix {
  public:
    MatrixOnGpu(const Cublas& library, cublasHandle_t handle, Runtime& runtime, StagedCopies& copies,
                std::span<const double> A, Index rows, Index columns)
        : library_(library),
          handle_(handle),
          gpu_(runtime.name()),
          copies_(copies),
          rows_(rows),
          columns_(columns),
          A_(runtime, Memory::device),
          B_(runtime, Memory::device),
          C_(runtime, Memory::device) {
        copies_.to_device(A_.reserve(A.size_bytes()), bytes_of(A), A.size_bytes());
    }
    void multiply(std::span<const double> B, Index count, std::span<double> C) override {
        copies_.to_device(B_.reserve(B.size_bytes()), bytes_of(B), B.size_bytes());
        product(CUBLAS_OP_N, column(0), rows_, columns_, reinterpret_cast<const double*>(B_.data()), count,
                C);
    }
    void multiply_columns(Index first, Index count, std::span<double> C) override {
        product(CUBLAS_OP_T, column(first), columns_ - first, rows_, column(first), count, C);
    }

  private:
    /// On the GPU.
    const double* column(Index first) const {
        return reinterpret_cast<const double*>(A_.data()) + first * rows_;
    }

    /// C = op(A) B, m x count; sums of `depth` terms. A, of as many rows as the whole, and B are on the GPU.
    void product(cublasOperation_t op, const double* A, Index m, Index depth, const double* B, Index count,
                 std::span<double> C) {
        const std::size_t bytes = sizeof(double) * static_cast<std::size_t>(m * count);
        auto* const result = reinterpret_cast<double*>(C_.reserve(bytes));
        const double one = 1, zero = 0;
        const auto number = [](Index i) { return static_cast<int>(i); };
        check_blas(library_.dgemm(handle_, op, CUBLAS_OP_N, number(m), number(count), number(depth), &one, A,
                                  number(rows_), B, number(depth), &zero, result, number(m)),
                   gpu_, "Dgemm");
        check(cudaDeviceSynchronize(), gpu_, "multiplying matrices");
        copies_.to_host(reinterpret_cast<std::byte*>(C.data()), C_.data(), bytes);
    }

    const Cublas& library_;
    cublasHandle_t handle_;
    std::string gpu_;
    StagedCopies& copies_;
    Index rows_, columns_;
    Buffer A_, B_, C_;
};

/// cusolverDnXsyevd, divide and conquer with 64-bit sizes.
class CudaSolver final : public WholeSolver {
  public:
    CudaSolver(int gpu, double memory)
        : runtime_(cuda_runtime(gpu)), name_(runtime_->name()), memory_(memory), copies_(*runtime_) {}
    CudaSolver(const CudaSolver&) = delete;
    CudaSolver& operator=(const CudaSolver&) = delete;
    ~CudaSolver() override {
        if (parameters_ != nullptr) static_cast<void>(library_->destroy_params(parameters_));
        if (handle_ != nullptr) static_cast<void>(library_->destroy(handle_));
        if (blas_handle_ != nullptr) static_cast<void>(blas_->destroy(blas_handle_));
    }
    std::string name() const override { return name_; }
    void prepare() noexcept override {
        try {
            open();
            copies_.prepare();
            // The first problem has kernels loaded.
            constexpr Index n = 512;
            std::vector<double> A(n * n, 0.0), w(n);
            for (Index j = 0; j < n; ++j)
                for (Index i = j; i < n; ++i)
                    A[static_cast<std::size_t>(i + j * n)] = static_cast<double>(j + 1);
            solve(A, n, true, w);
        } catch (const std::exception&) {
        }
    }
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
        Buffer matrix(*runtime_, Memory::device), values(*runtime_, Memory::device),
            work(*runtime_, Memory::device), state(*runtime_, Memory::device);
        matrix.reserve(A.size_bytes()), values.reserve(w.size_bytes());
        work.reserve(workspace.gpu), state.reserve(sizeof(int));
        const auto work_of_host = std::make_unique_for_overwrite<std::byte[]>(workspace.host);
        copies_.to_device(matrix.data(), bytes_of(A), A.size_bytes());
        check_solver(library_->solve(handle_, parameters_, job(vectors), CUBLAS_FILL_MODE_LOWER, n,
                                     CUDA_R_64F, matrix.data(), n, CUDA_R_64F, values.data(), CUDA_R_64F,
                                     work.data(), workspace.gpu, work_of_host.get(), workspace.host,
                                     reinterpret_cast<int*>(state.data())),
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
        if (vectors) copies_.to_host(reinterpret_cast<std::byte*>(A.data()), matrix.data(), A.size_bytes());
    }

    std::unique_ptr<HeldMatrix> hold(std::span<const double> A, Index rows, Index columns) override {
        open_blas();
        const double bytes = sizeof(double) * (static_cast<double>(rows) * static_cast<double>(columns) +
                                               static_cast<double>(columns_multiplied_together) *
                                                   static_cast<double>(rows + columns));
        if (bytes > memory_)
            throw Error(ExitStatus::numerical, ErrorKind::no_memory,
                        name_ + ": a matrix of " + std::to_string(rows) + " x " + std::to_string(columns) +
                            " finds no room in this rank's share of its memory");
        return std::make_unique<MatrixOnGpu>(*blas_, blas_handle_, *runtime_, copies_, A, rows, columns);
    }

  private:
    struct Workspace {
        std::size_t gpu = 0, host = 0;  ///< bytes
    };
    static cusolverEigMode_t job(bool vectors) {
        return vectors ? CUSOLVER_EIG_MODE_VECTOR : CUSOLVER_EIG_MODE_NOVECTOR;
    }
    Workspace workspace_of(Index n, bool vectors) {
        open();
        Workspace bytes;
        // Matrix and eigenvalues are not looked at; some versions refuse a null pointer.
        Buffer unused(*runtime_, Memory::device);
        unused.reserve(sizeof(double));
        check_solver(library_->buffer_size(handle_, parameters_, job(vectors), CUBLAS_FILL_MODE_LOWER, n,
                                           CUDA_R_64F, unused.data(), n, CUDA_R_64F, unused.data(),
                                           CUDA_R_64F, &bytes.gpu, &bytes.host),
                     name_, "asking for Xsyevd's workspace");
        return bytes;
    }

    void open() {
        if (!library_) library_.emplace(name_);
        if (handle_ == nullptr) check_solver(library_->create(&handle_), name_, "beginning");
        if (parameters_ == nullptr) check_solver(library_->create_params(&parameters_), name_, "beginning");
        open_blas();  // what hold() lacks is found before a problem is solved
    }
    void open_blas() {
        if (!blas_) blas_.emplace(name_);
        if (blas_handle_ == nullptr) check_blas(blas_->create(&blas_handle_), name_, "beginning");
    }

    std::unique_ptr<Runtime> runtime_;
    std::string name_;
    double memory_;
    StagedCopies copies_;
    std::optional<Cusolver> library_;
    cusolverDnHandle_t handle_ = nullptr;
    cusolverDnParams_t parameters_ = nullptr;
    std::optional<Cublas> blas_;
    cublasHandle_t blas_handle_ = nullptr;
};

}  // namespace

std::unique_ptr<WholeSolver> cuda_solver(int gpu, double memory) {
    return std::make_unique<CudaSolver>(gpu, memory);
}

}  // namespace tangram::device
