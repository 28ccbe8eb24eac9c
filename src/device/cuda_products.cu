#include "cuda_products.hpp"

#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "tile_kernel.hpp"

namespace tangram::device {

namespace {

/// @throws Error(numerical) naming the GPU, where a call of CUDA failed
void check(cudaError_t status, const std::string& gpu, const char* what) {
    if (status == cudaSuccess) return;
    const bool memory = status == cudaErrorMemoryAllocation;
    throw Error(ExitStatus::numerical, memory ? ErrorKind::no_memory : ErrorKind::library,
                gpu + ": " + what + " failed: " + cudaGetErrorString(status) +
                    (memory ? "; use more GPUs, fewer ranks on each, or --device cpu"
                            : "; the same command goes on from the last checkpoint, with --device cpu too"));
}

/// A block of threads of the GPU.
template <class Real>
class CudaBlock {
  public:
    __device__ explicit CudaBlock(BlockMemory<Real>& memory) : memory_(memory) {}
    __device__ __forceinline__ BlockMemory<Real>& memory() { return memory_; }
    template <class Phase>
    __device__ __forceinline__ void phase(Phase run) {
        run(static_cast<int>(threadIdx.x), chains_);
        __pipeline_commit();
        __pipeline_wait_prior(0);
        __syncthreads();
    }
    __device__ __forceinline__ void copy(Real* to, const Real* from, bool there) {
        __pipeline_memcpy_async(to, from, 16, there ? 0 : 16);
    }

  private:
    BlockMemory<Real>& memory_;
    ThreadChains<Real> chains_;
};

template <class Real>
__global__ void __launch_bounds__(block_threads) add_products(const BlockWork<Real>* blocks) {
    extern __shared__ __align__(16) unsigned char memory[];
    const BlockWork<Real> work = blocks[blockIdx.x];
    CudaBlock<Real> block(*reinterpret_cast<BlockMemory<Real>*>(memory));
    TileKernel<Real, CudaBlock<Real>>(block, work).run();
}

/// Memory that grows and is given back in the end; of the GPU, or of the host where the GPU can read it.
template <bool of_host>
class Memory {
  public:
    Memory() = default;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() { release(); }
    std::byte* reserve(std::size_t bytes, const std::string& gpu) {
        if (bytes <= bytes_) return data_;
        release();
        void* data = nullptr;
        check(of_host ? cudaMallocHost(&data, bytes) : cudaMalloc(&data, bytes), gpu, "allocating memory");
        bytes_ = bytes;
        return data_ = static_cast<std::byte*>(data);
    }

  private:
    void release() {
        static_cast<void>(of_host ? cudaFreeHost(data_) : cudaFree(data_));
        data_ = nullptr;
        bytes_ = 0;
    }
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
};

/// Where parts of a buffer begin, each on 256 bytes.
class Places {
  public:
    std::size_t next(std::size_t bytes) { return std::exchange(end_, (end_ + bytes + 255) / 256 * 256); }
    std::size_t bytes() const { return end_; }

  private:
    std::size_t end_ = 0;
};

/// Some products on their way to the GPU and back.
struct Batch {
    cudaStream_t stream = nullptr;
    Memory<true> host;
    Memory<false> gpu;
    std::span<const TileProduct> products;
    std::vector<std::size_t> sums, diagonals;  ///< of each product, in either buffer
    Batch() = default;
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;
    ~Batch() {
        if (stream != nullptr) static_cast<void>(cudaStreamDestroy(stream));
    }
};

class CudaProducts final : public ProductBackEnd {
  public:
    explicit CudaProducts(int gpu) : gpu_(gpu) {
        cudaDeviceProp properties{};
        check(cudaGetDeviceProperties(&properties, gpu), "GPU " + std::to_string(gpu), "asking for it");
        name_ = std::string(properties.name) + ", GPU " + std::to_string(gpu);
        check(cudaSetDevice(gpu), name_, "taking it");
        for (Batch& batch : batches_) check(cudaStreamCreate(&batch.stream), name_, "making a stream");
        allow_memory<float>();
        allow_memory<double>();
    }
    std::string name() const override { return name_; }
    void add(const SliceProducts<float>& slice, const std::function<void()>& between) override {
        add_all(slice, between);
    }
    void add(const SliceProducts<double>& slice, const std::function<void()>& between) override {
        add_all(slice, between);
    }

  private:
    static constexpr std::size_t products_at_once = 64;  // 32 MiB of sums each way

    template <class Real>
    void allow_memory() const {
        check(cudaFuncSetAttribute(add_products<Real>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(sizeof(BlockMemory<Real>))),
              name_, "asking for a block's memory");
    }

    /// While one batch is multiplied, the sums of the one before go home and those of the next one are sent.
    template <class Real>
    void add_all(const SliceProducts<Real>& slice, const std::function<void()>& between) {
        check(cudaSetDevice(gpu_), name_, "taking it");
        upload(slice);
        std::size_t turn = 0;
        for (std::size_t first = 0; first < slice.products.size(); first += products_at_once, ++turn) {
            Batch& batch = batches_[turn % batches_.size()];
            bring_home(slice, batch);
            batch.products =
                slice.products.subspan(first, std::min(products_at_once, slice.products.size() - first));
            begin(slice, batch);
            between();
        }
        for (std::size_t i = 0; i < batches_.size(); ++i)
            bring_home(slice, batches_[(turn + i) % batches_.size()]);
    }

    template <class Real>
    void upload(const SliceProducts<Real>& slice) {
        Places places;
        tiles_.clear();
        pieces_ = places.next(slice.pieces.size_bytes());
        for (const PackedRows<Real>& tile : slice.tiles)
            tiles_.push_back(places.next(tile.entries.size_bytes()));
        std::byte* const to = slice_.reserve(places.bytes(), name_);
        const auto send = [&](std::size_t place, const void* from, std::size_t bytes) {
            check(cudaMemcpy(to + place, from, bytes, cudaMemcpyHostToDevice), name_, "sending a slice");
        };
        send(pieces_, slice.pieces.data(), slice.pieces.size_bytes());
        for (std::size_t t = 0; t < tiles_.size(); ++t)
            send(tiles_[t], slice.tiles[t].entries.data(), slice.tiles[t].entries.size_bytes());
        slice_at_ = to;
        ends_ = static_cast<std::size_t>(
            std::count_if(slice.pieces.begin(), slice.pieces.end(),
                          [](const ProductPiece& piece) { return piece.ends_parameter; }));
    }

    template <class Real>
    static std::size_t entries_of(const SliceProducts<Real>& slice, const TileProduct& product) {
        return static_cast<std::size_t>(slice.tiles[product.left].rows * slice.tiles[product.right].rows);
    }
    template <class Real>
    std::size_t diagonal_entries_of(const SliceProducts<Real>& slice, const TileProduct& product) const {
        if (product.diagonals == nullptr) return 0;
        return ends_ * static_cast<std::size_t>(slice.tiles[product.left].rows);
    }

    /// Sends the sums, multiplies, and asks for sums and diagonals back.
    template <class Real>
    void begin(const SliceProducts<Real>& slice, Batch& batch) {
        Places places;
        batch.sums.clear();
        batch.diagonals.clear();
        std::vector<BlockWork<Real>> blocks;
        for (const TileProduct& product : batch.products) {
            batch.sums.push_back(places.next(sizeof(double) * entries_of(slice, product)));
            batch.diagonals.push_back(places.next(sizeof(double) * diagonal_entries_of(slice, product)));
        }
        const std::size_t back = places.bytes();
        std::vector<std::size_t> owner;  // of each block
        for (std::size_t p = 0; p < batch.products.size(); ++p)
            for (const BlockWork<Real>& block : blocks_of(slice, batch.products[p])) {
                blocks.push_back(block);
                owner.push_back(p);
            }
        const std::size_t at_blocks = places.next(blocks.size() * sizeof(BlockWork<Real>));
        std::byte* const host = batch.host.reserve(places.bytes(), name_);
        std::byte* const gpu = batch.gpu.reserve(places.bytes(), name_);
        for (std::size_t b = 0; b < blocks.size(); ++b) {
            const TileProduct& product = batch.products[owner[b]];
            BlockWork<Real>& block = blocks[b];
            block.left = reinterpret_cast<const Real*>(slice_at_ + tiles_[product.left]);
            block.right = reinterpret_cast<const Real*>(slice_at_ + tiles_[product.right]);
            block.pieces = reinterpret_cast<const ProductPiece*>(slice_at_ + pieces_);
            block.sums = reinterpret_cast<double*>(gpu + batch.sums[owner[b]]);
            block.lld = block.rows;
            if (block.diagonals != nullptr)
                block.diagonals = reinterpret_cast<double*>(gpu + batch.diagonals[owner[b]]);
        }
        std::memcpy(host + at_blocks, blocks.data(), blocks.size() * sizeof(BlockWork<Real>));
        for (std::size_t p = 0; p < batch.products.size(); ++p)
            for_columns(
                slice, batch.products[p], host + batch.sums[p],
                [](double* theirs, double* ours, std::size_t bytes) { std::memcpy(ours, theirs, bytes); });
        check(cudaMemcpyAsync(gpu, host, places.bytes(), cudaMemcpyHostToDevice, batch.stream), name_,
              "sending sums");
        add_products<Real><<<static_cast<unsigned>(blocks.size()), block_threads, sizeof(BlockMemory<Real>),
                             batch.stream>>>(reinterpret_cast<const BlockWork<Real>*>(gpu + at_blocks));
        check(cudaGetLastError(), name_, "multiplying");
        check(cudaMemcpyAsync(host, gpu, back, cudaMemcpyDeviceToHost, batch.stream), name_,
              "asking for sums");
    }

    /// Waits for a batch and puts its sums and diagonals where they belong.
    template <class Real>
    void bring_home(const SliceProducts<Real>& slice, Batch& batch) {
        if (batch.products.empty()) return;
        check(cudaStreamSynchronize(batch.stream), name_, "multiplying");
        std::byte* const host = batch.host.reserve(0, name_);
        for (std::size_t p = 0; p < batch.products.size(); ++p) {
            const TileProduct& product = batch.products[p];
            for_columns(
                slice, product, host + batch.sums[p],
                [](double* theirs, double* ours, std::size_t bytes) { std::memcpy(theirs, ours, bytes); });
            if (product.diagonals != nullptr)
                std::memcpy(product.diagonals, host + batch.diagonals[p],
                            sizeof(double) * diagonal_entries_of(slice, product));
        }
        batch.products = {};
    }

    /// visit(the matrix's column, the buffer's, bytes) for the columns of a product.
    template <class Real, class Visit>
    static void for_columns(const SliceProducts<Real>& slice, const TileProduct& product, std::byte* buffer,
                            Visit visit) {
        const Index rows = slice.tiles[product.left].rows;
        for (Index c = 0; c < slice.tiles[product.right].rows; ++c)
            visit(product.sums + c * product.lld, reinterpret_cast<double*>(buffer) + c * rows,
                  sizeof(double) * static_cast<std::size_t>(rows));
    }

    int gpu_;
    std::string name_;
    Memory<false> slice_;  // pieces and packed tiles
    std::byte* slice_at_ = nullptr;
    std::size_t pieces_ = 0, ends_ = 0;
    std::vector<std::size_t> tiles_;
    std::array<Batch, 2> batches_;
};

}  // namespace

Gpus cuda_gpus() {
    Gpus gpus;
    const cudaError_t status = cudaGetDeviceCount(&gpus.count);
    if (status != cudaSuccess)
        return {0, ErrorKind::missing, std::string("no GPU: ") + cudaGetErrorString(status)};
    for (int gpu = 0; gpu < gpus.count; ++gpu) {
        cudaDeviceProp properties{};
        const cudaError_t asked = cudaGetDeviceProperties(&properties, gpu);
        const std::string name = "GPU " + std::to_string(gpu);
        if (asked != cudaSuccess) return {0, ErrorKind::missing, name + ": " + cudaGetErrorString(asked)};
        if (properties.major < 8 || properties.sharedMemPerBlockOptin < sizeof(BlockMemory<double>))
            return {0, ErrorKind::unsupported,
                    name + " (" + properties.name +
                        "): compute capability 8.0 and 160 KiB of memory for a block are needed, as A100 and "
                        "H100 have; choose others by CUDA_VISIBLE_DEVICES"};
    }
    return gpus;
}

std::unique_ptr<ProductBackEnd> cuda_products(int gpu) { return std::make_unique<CudaProducts>(gpu); }

}  // namespace tangram::device
