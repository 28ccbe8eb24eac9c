#include "cuda_runtime.hpp"

#include <unistd.h>

#include <array>
#include <utility>

#include "cuda_block.hpp"
#include "cuda_check.hpp"
#include "cuda_network.hpp"
#include "factor_kernel.hpp"
#include "match_kernel.hpp"
#include "multiply_out_kernel.hpp"
#include "token_kernel.hpp"

namespace tangram::device {

namespace {

std::string node() {
    std::array<char, 256> name{};
    return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "this node";
}

/// "NVIDIA H200, GPU 3 of node17"; takes the GPU for this thread. @throws Error(numerical)
std::string take_gpu(int gpu) {
    const std::string place = "GPU " + std::to_string(gpu) + " of " + node();
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, gpu), place, "asking for it");
    const std::string name = std::string(properties.name) + ", " + place;
    check(cudaSetDevice(gpu), name, "taking it");
    return name;
}

}  // namespace

void check(cudaError_t status, const std::string& gpu, const char* what) {
    if (status == cudaSuccess) return;
    static_cast<void>(cudaGetLastError());  // who does with less memory is not told of it again by a kernel
    const bool memory = status == cudaErrorMemoryAllocation, taken = status == cudaErrorDevicesUnavailable;
    throw Error(
        ExitStatus::numerical, memory ? ErrorKind::no_memory : ErrorKind::library,
        gpu + ": " + what + " failed: " + cudaGetErrorString(status) +
            (memory  ? "; others may use it: use more GPUs, fewer ranks on each, --device-memory or "
                       "--device cpu"
             : taken ? "; it lets one process in at a time (compute mode), and one has it: use as many "
                       "ranks as GPUs on a node, or --device cpu"
                     : "; use another node, or --device cpu"));
}

namespace {

class CudaRuntime final : public Runtime {
  public:
    explicit CudaRuntime(int gpu) : name_(take_gpu(gpu)) {
        // What forms the next slice begins before the rest of the products.
        int last = 0, first = 0;
        check(cudaDeviceGetStreamPriorityRange(&last, &first), name_, "asking for priorities");
        for (const Stream of : {Stream::copies, Stream::products})
            check(cudaStreamCreateWithPriority(&streams_[static_cast<std::size_t>(of)], cudaStreamNonBlocking,
                                               of == Stream::copies ? first : last),
                  name_, "making a stream");
        check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), name_, "making an event");
        check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, gpu), name_,
              "asking for its multiprocessors");
    }
    CudaRuntime(const CudaRuntime&) = delete;
    CudaRuntime& operator=(const CudaRuntime&) = delete;
    ~CudaRuntime() override {
        if (event_ != nullptr) static_cast<void>(cudaEventDestroy(event_));
        for (const cudaStream_t stream : streams_)
            if (stream != nullptr) static_cast<void>(cudaStreamDestroy(stream));
    }
    std::string name() const override { return name_; }
    std::byte* allocate(Memory of, std::size_t bytes) override {
        void* memory = nullptr;
        wait(Stream::copies);
        wait(Stream::products);
        if (of == Memory::device) {
            check(cudaMalloc(&memory, bytes), name_, "allocating its memory");
        } else if (const cudaError_t status = cudaMallocHost(&memory, bytes);
                   status == cudaErrorMemoryAllocation) {
            static_cast<void>(cudaGetLastError());
            throw Error(ExitStatus::numerical, ErrorKind::no_memory,
                        name_ + ": its host pins no " + std::to_string(bytes >> 20) +
                            " MiB more (memory of the node, `ulimit -l`): use more nodes, fewer ranks on "
                            "each, or --device cpu");
        } else {
            check(status, name_, "allocating pinned memory of the host");
        }
        return static_cast<std::byte*>(memory);
    }
    void release(Memory of, std::byte* memory) noexcept override {
        static_cast<void>(cudaDeviceSynchronize());
        static_cast<void>(of == Memory::pinned ? cudaFreeHost(memory) : cudaFree(memory));
    }
    void copy(std::byte* to, const std::byte* from, std::size_t bytes, Stream in) override {
        if (bytes > 0)
            check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream(in)), name_, "copying");
    }
    void clear(std::byte* memory, std::size_t bytes, Stream in) override {
        if (bytes > 0) check(cudaMemsetAsync(memory, 0, bytes, stream(in)), name_, "clearing its memory");
    }
    Index at_once() const override { return multiprocessors_; }
    void add_products(const BlockWork<float>* works, Index count, int* begun) override {
        check(begin_in_turn(works, count, begun, stream(Stream::products)), name_, "multiplying");
    }
    void add_products(const BlockWork<double>* works, Index count, int* begun) override {
        check(begin_in_turn(works, count, begun, stream(Stream::products)), name_, "multiplying");
    }
    void add_factors(const FactorWork<float>* works, Index count) override {
        begin(works, count, Stream::products, "multiplying factors");
    }
    void add_factors(const FactorWork<double>* works, Index count) override {
        begin(works, count, Stream::products, "multiplying factors");
    }
    void add_matches(const MatchWork<float>* works, Index count) override {
        begin(works, count, Stream::products, "multiplying matching rows");
    }
    void add_matches(const MatchWork<double>* works, Index count) override {
        begin(works, count, Stream::products, "multiplying matching rows");
    }
    void let_follow(Stream later, Stream earlier) override {
        check(cudaEventRecord(event_, stream(earlier)), name_, "recording an event");
        check(cudaStreamWaitEvent(stream(later), event_, 0), name_, "waiting for an event");
    }
    void wait(Stream in) override { check(cudaStreamSynchronize(stream(in)), name_, "computing"); }
    void multiply_out(const OuterWork<float>* blocks, Index count) override {
        begin(blocks, count, Stream::copies, "multiplying out");
    }
    void multiply_out(const OuterWork<double>* blocks, Index count) override {
        begin(blocks, count, Stream::copies, "multiplying out");
    }
    void pack_tokens(const TokenWork<float>* blocks, Index count) override {
        begin(blocks, count, Stream::copies, "packing factors");
    }
    void pack_tokens(const TokenWork<double>* blocks, Index count) override {
        begin(blocks, count, Stream::copies, "packing factors");
    }
    void launch(const NetworkKernel<float>& kernel) override { begin(kernel); }
    void launch(const NetworkKernel<double>& kernel) override { begin(kernel); }

  private:
    template <class Work>
    void begin(const Work* works, Index count, Stream in, const char* what) {
        check(begin_work(works, count, stream(in)), name_, what);
    }
    template <class Real>
    void begin(const NetworkKernel<Real>& kernel) {
        launch_on_gpu(kernel, stream(Stream::products));
        check(cudaGetLastError(), name_, "forward and backward passes");
    }
    cudaStream_t stream(Stream of) const { return streams_[static_cast<std::size_t>(of)]; }

    std::string name_;
    int multiprocessors_ = 0;
    std::array<cudaStream_t, 2> streams_{};
    cudaEvent_t event_ = nullptr;
};

}  // namespace

FoundGpus cuda_gpus() {
    FoundGpus found;
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess) found.problem = cudaGetErrorString(status);
    for (int gpu = 0; status == cudaSuccess && gpu < count; ++gpu) {
        cudaDeviceProp properties{};
        const std::string name = "GPU " + std::to_string(gpu) + " of " + node();
        const cudaError_t asked = cudaGetDeviceProperties(&properties, gpu);
        if (asked != cudaSuccess) return {{}, name + ": " + cudaGetErrorString(asked)};
        const std::string id(properties.uuid.bytes, sizeof properties.uuid.bytes);
        found.gpus.push_back({id, std::string(properties.name) + ", " + name, properties.major,
                              properties.minor, properties.sharedMemPerBlockOptin,
                              properties.totalGlobalMem});
    }
    return found;
}

double cuda_free_memory(int gpu) {
    const std::string name = take_gpu(gpu);
    std::size_t free = 0, all = 0;
    check(cudaMemGetInfo(&free, &all), name, "asking for free memory");
    return static_cast<double>(free);
}

std::unique_ptr<Runtime> cuda_runtime(int gpu) { return std::make_unique<CudaRuntime>(gpu); }

}  // namespace tangram::device
