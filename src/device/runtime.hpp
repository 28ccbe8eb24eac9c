#pragma once
#include <cstddef>
#include <string>
#include <utility>

#include "network_kernels.hpp"
#include "tile_kernel.hpp"

namespace tangram::device {

template <class Real>
struct OuterWork;
template <class Real>
struct TokenWork;
template <class Real>
struct FactorWork;
template <class Real>
struct MatchWork;

/// What is done in a stream is done in order, and beside the other stream.
enum class Stream { copies, products };
/// Of the device, or of the host where the device can copy from and to it meanwhile.
enum class Memory { device, pinned };

/// A device, as far as products of tiles and passes need one: CUDA's runtime (cuda_runtime.cu), or the host
/// in its place (host_executor.cpp). Everything throws Error(numerical) that names the device and its node
/// where it fails: no_memory where memory is missing, else library. On one thread.
class Runtime {
  public:
    virtual ~Runtime() = default;
    virtual std::string name() const = 0;
    /// Waits for both streams. release() waits for all that the device was asked for, by other runtimes too.
    virtual std::byte* allocate(Memory of, std::size_t bytes) = 0;
    virtual void release(Memory of, std::byte* memory) noexcept = 0;
    /// Begins a copy; what it reads and writes is left alone until wait(). Of no bytes: does nothing.
    virtual void copy(std::byte* to, const std::byte* from, std::size_t bytes, Stream in) = 0;
    /// Begins to set bytes of the device's memory to zero. Of none: does nothing.
    virtual void clear(std::byte* memory, std::size_t bytes, Stream in) = 0;
    /// Blocks of add_products() that run at once.
    virtual Index at_once() const = 0;
    /// Begins the kernels of `count` works, 1 .. 2^31 - 1, in Stream::products: in order, so that those that
    /// take turns wait for none behind them.
    /// @param works  in the device's memory
    /// @param begun  in the device's memory: 0
    virtual void add_products(const BlockWork<float>* works, Index count, int* begun) = 0;
    virtual void add_products(const BlockWork<double>* works, Index count, int* begun) = 0;
    /// Begins the kernels of factor_kernel.hpp, one for each work, in Stream::products.
    /// @param works  in the device's memory
    virtual void add_factors(const FactorWork<float>* works, Index count) = 0;
    virtual void add_factors(const FactorWork<double>* works, Index count) = 0;
    /// The same of match_kernel.hpp.
    virtual void add_matches(const MatchWork<float>* works, Index count) = 0;
    virtual void add_matches(const MatchWork<double>* works, Index count) = 0;
    /// What `later` is asked for from now on begins when `earlier` has done all that it was asked for.
    virtual void let_follow(Stream later, Stream earlier) = 0;
    /// Until a stream has done all that it was asked for.
    virtual void wait(Stream stream) = 0;
    /// Begins the kernels of multiply_out_kernel.hpp, one for each block, in Stream::copies; beside products
    /// they go first. @param blocks  in the device's memory
    virtual void multiply_out(const OuterWork<float>* blocks, Index count) = 0;
    virtual void multiply_out(const OuterWork<double>* blocks, Index count) = 0;
    /// The same of token_kernel.hpp.
    virtual void pack_tokens(const TokenWork<float>* blocks, Index count) = 0;
    virtual void pack_tokens(const TokenWork<double>* blocks, Index count) = 0;
    /// Begins a kernel of a network's passes, in Stream::products.
    virtual void launch(const NetworkKernel<float>& kernel) = 0;
    virtual void launch(const NetworkKernel<double>& kernel) = 0;
};

/// Memory of a runtime that grows, and is given back in the end.
class Buffer {
  public:
    Buffer(Runtime& runtime, Memory of) : runtime_(&runtime), of_(of) {}
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    Buffer(Buffer&& other) noexcept
        : runtime_(other.runtime_),
          of_(other.of_),
          data_(std::exchange(other.data_, nullptr)),
          bytes_(std::exchange(other.bytes_, 0)) {}
    ~Buffer() { release(); }
    /// Room for so many bytes; what was in it is lost where it grows. No stream may use it.
    std::byte* reserve(std::size_t bytes) {
        if (bytes <= bytes_) return data_;
        release();
        data_ = runtime_->allocate(of_, bytes);
        bytes_ = bytes;
        return data_;
    }
    std::size_t bytes() const { return bytes_; }
    std::byte* data() const { return data_; }
    void release() noexcept {
        if (data_ != nullptr) runtime_->release(of_, std::exchange(data_, nullptr));
        bytes_ = 0;
    }

  private:
    Runtime* runtime_;
    Memory of_;
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
};

/// Where parts of a buffer begin, each on 256 bytes.
class Layout {
  public:
    std::size_t add(std::size_t bytes) { return std::exchange(bytes_, bytes_ + rounded(bytes)); }
    template <class Entry>
    std::size_t add(Index count) {
        return add(static_cast<std::size_t>(count) * sizeof(Entry));
    }
    std::size_t bytes() const { return bytes_; }
    static std::size_t rounded(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

  private:
    std::size_t bytes_ = 0;
};

}  // namespace tangram::device
