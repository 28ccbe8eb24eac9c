#include "host_executor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <stdexcept>

#include "device_products.hpp"
#include "multiply_out_kernel.hpp"
#include "tangram/error.hpp"

namespace tangram::device {

namespace {

/// A block of threads that run one after the other, and what they share.
template <class Memory, class Registers, int threads>
class HostThreads {
  public:
    Memory& memory() { return *memory_; }
    /// Forwards and backwards in turn: a thread that needs what another does in the same phase is found out.
    template <class Phase>
    void phase(Phase run) {
        forwards_ = !forwards_;
        for (int i = 0; i < threads; ++i) {
            const int thread = forwards_ ? i : threads - 1 - i;
            run(thread, registers_[static_cast<std::size_t>(thread)]);
        }
    }

  private:
    std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();
    bool forwards_ = false;
    std::vector<Registers> registers_ = std::vector<Registers>(threads);
};

/// A block of MultiplyOutKernel; what is copied must lie in memory that `is_there` knows.
template <class Real>
class HostOuterBlock : public HostThreads<OuterMemory<Real>, OuterChains<Real>, block_threads> {
  public:
    explicit HostOuterBlock(std::function<bool(const void*, std::size_t)> is_there)
        : is_there_(std::move(is_there)) {}
    template <int entries>
    void copy(Real* to, const Real* from, bool there) {
        constexpr std::size_t bytes = entries * sizeof(Real);
        if (there && !is_there_(from, bytes)) throw std::logic_error("the kernel reads beyond factors");
        if (reinterpret_cast<std::uintptr_t>(to) % bytes + reinterpret_cast<std::uintptr_t>(from) % bytes > 0)
            throw std::logic_error("the kernel copies between unaligned addresses");
        if (there)
            std::memcpy(to, from, bytes);
        else
            std::memset(to, 0, bytes);
    }

  private:
    std::function<bool(const void*, std::size_t)> is_there_;
};

/// A block of TileKernel.
template <class Real>
class HostBlock : public HostThreads<BlockMemory<Real>, ThreadChains<Real>, block_threads> {
  public:
    /// The tiles of a block's work: what lies beyond them it must not read.
    void allow(const BlockWork<Real>& work) {
        Index left = 0, right = 0;
        for (Index p = 0; p < work.piece_count; ++p) {
            left = std::max(left, work.pieces[p].left + work.pieces[p].depth);
            right = std::max(right, work.pieces[p].right + work.pieces[p].depth);
        }
        allowed_ = {std::span(work.left, static_cast<std::size_t>(left * work.left_padded)),
                    std::span(work.right, static_cast<std::size_t>(right * work.right_padded))};
    }
    void copy(Real* to, const Real* from, bool there) {
        const auto holds = [&](std::span<const Real> tile) {
            return from >= tile.data() && from + 16 / sizeof(Real) <= tile.data() + tile.size();
        };
        if (there && std::ranges::none_of(allowed_, holds))
            throw std::logic_error("the kernel reads beyond a tile");
        if (there)
            std::memcpy(to, from, 16);
        else
            std::memset(to, 0, 16);
    }

  private:
    std::array<std::span<const Real>, 2> allowed_;
};

class HostRuntime final : public Runtime {
  public:
    explicit HostRuntime(double memory) : memory_(memory) {}
    std::string name() const override { return "this machine's cores, as a device"; }
    std::byte* allocate(Memory of, std::size_t bytes) override {
        wait_for_all();
        double taken = of == Memory::device ? static_cast<double>(bytes) : 0;
        for (const auto& [at, part] : allocated_) taken += part.of_device;
        if (taken > memory_)
            throw Error(ExitStatus::numerical, ErrorKind::no_memory,
                        fmt::format("{}: {} bytes of its memory, {} there", name(), taken, memory_));
        Part part{std::make_unique_for_overwrite<std::byte[]>(bytes), bytes,
                  of == Memory::device ? static_cast<double>(bytes) : 0};
        std::memset(part.bytes.get(), 0xff, bytes);  // NaN
        std::byte* const at = part.bytes.get();
        allocated_.emplace(at, std::move(part));
        return at;
    }
    void release(Memory, std::byte* memory) noexcept override {
        wait_for_all();
        allocated_.erase(memory);
    }
    void copy(std::byte* to, const std::byte* from, std::size_t bytes, Stream in) override {
        ask(in, [=] { std::memcpy(to, from, bytes); });
    }
    void add_products(const BlockWork<float>* blocks, Index count) override { add(blocks, count); }
    void add_products(const BlockWork<double>* blocks, Index count) override { add(blocks, count); }
    void let_follow(Stream later, Stream earlier) override {
        ask(later, [this, earlier, all = of(earlier).asked.size()] { run(of(earlier), all); });
    }
    void wait(Stream stream) override { run(of(stream), of(stream).asked.size()); }
    void multiply_out(const OuterWork<float>* blocks, Index count) override { form(blocks, count); }
    void multiply_out(const OuterWork<double>* blocks, Index count) override { form(blocks, count); }
    void launch(const NetworkKernel<float>& kernel) override { begin(kernel); }
    void launch(const NetworkKernel<double>& kernel) override { begin(kernel); }

  private:
    struct Part {
        std::unique_ptr<std::byte[]> bytes;
        std::size_t size;
        double of_device;  ///< bytes of the device's memory
    };
    /// What a stream was asked for, and how much of it is done.
    struct Queue {
        std::vector<std::function<void()>> asked;
        std::size_t done = 0;
    };
    Queue& of(Stream stream) { return queues_[static_cast<std::size_t>(stream)]; }
    void ask(Stream in, std::function<void()> work) { of(in).asked.push_back(std::move(work)); }
    static void run(Queue& queue, std::size_t until) {
        while (queue.done < until) std::exchange(queue.asked[queue.done++], {})();
    }
    void wait_for_all() {
        wait(Stream::copies);
        wait(Stream::products);
    }
    template <class Real>
    void form(const OuterWork<Real>* blocks, Index count) {
        ask(Stream::copies, [=, this] {
            HostOuterBlock<Real> block([this](const void* at, std::size_t bytes) {
                const auto* const first = static_cast<const std::byte*>(at);
                return std::ranges::any_of(allocated_, [&](const auto& part) {
                    return first >= part.first && first + bytes <= part.first + part.second.size;
                });
            });
            for (Index b = 0; b < count; ++b)
                MultiplyOutKernel<Real, HostOuterBlock<Real>>(block, blocks[b]).run();
        });
    }

    template <class Real>
    void add(const BlockWork<Real>* blocks, Index count) {
        ask(Stream::products, [=] {
            HostBlock<Real> block;
            for (Index b = 0; b < count; ++b) {
                block.allow(blocks[b]);
                TileKernel<Real, HostBlock<Real>>(block, blocks[b]).run();
            }
        });
    }

    template <class Real>
    void begin(const NetworkKernel<Real>& any) {
        ask(Stream::products, [any] {
            std::visit(
                []<class Kernel>(const Kernel& kernel) {
                    HostThreads<typename Kernel::Memory, typename Kernel::Registers, kernel_threads> block;
                    for (Index b = 0; b < kernel.blocks(); ++b) kernel.run(block, b);
                },
                any);
        });
    }

    double memory_;
    std::map<std::byte*, Part> allocated_;
    std::array<Queue, 2> queues_;
};

}  // namespace

std::unique_ptr<Runtime> host_runtime(double memory) { return std::make_unique<HostRuntime>(memory); }

std::unique_ptr<ProductBackEnd> host_executor(double memory) {
    return device_products(host_runtime(memory), memory);
}

}  // namespace tangram::device
