#include "host_executor.hpp"

#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <new>
#include <numeric>
#include <set>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "device_products.hpp"
#include "factor_kernel.hpp"
#include "match_kernel.hpp"
#include "multiply_out_kernel.hpp"
#include "tangram/error.hpp"
#include "token_kernel.hpp"

namespace tangram::device {

namespace {

/// A block of threads that run one after the other, and what they share. Each phase takes them in another
/// order, and where a block begins nothing is set: a thread that needs what another does in the same phase,
/// or what nobody has written, is found out.
template <class Memory, class Registers, int threads>
class HostThreads {
  public:
    Memory& memory() { return *memory_; }
    /// To memory and registers that other blocks have left anything in.
    void begin() {
        static_assert(std::is_trivially_copyable_v<Memory> && std::is_trivially_copyable_v<Registers>);
        std::memset(static_cast<void*>(memory_.get()), 0xff, sizeof(Memory));  // NaN
        std::memset(static_cast<void*>(registers_.data()), 0xff, sizeof(Registers) * registers_.size());
    }
    template <class Phase>
    void phase(Phase run) {
        static_assert((threads & (threads - 1)) == 0, "an odd step meets all");
        state_ = 1664525U * state_ + 1013904223U;
        const std::uint32_t first = state_ >> 8, step = state_ >> 16 | 1U;
        for (std::uint32_t i = 0; i < threads; ++i) {
            const std::uint32_t thread = (first + i * step) % threads;
            run(static_cast<int>(thread), registers_[thread]);
        }
    }

  private:
    std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();
    std::uint32_t state_ = 1;
    std::vector<Registers> registers_ = std::vector<Registers>(threads);
};

/// A block that also copies, between aligned addresses, what lies where it may read.
template <class Work>
class HostBlock : public HostThreads<typename Work::Memory, typename Work::Registers, block_threads> {
  public:
    void let_read(std::function<bool(const void*, std::size_t)> may_read) { may_read_ = std::move(may_read); }
    template <int entries, class Real>
    void copy(Real* to, const Real* from, bool there) {
        constexpr std::size_t bytes = entries * sizeof(Real);
        if (there && !may_read_(from, bytes)) throw std::logic_error("the kernel reads beyond what it has");
        if (reinterpret_cast<std::uintptr_t>(to) % bytes + reinterpret_cast<std::uintptr_t>(from) % bytes > 0)
            throw std::logic_error("the kernel copies between unaligned addresses");
        if (there)
            std::memcpy(to, from, bytes);
        else
            std::memset(to, 0, bytes);
    }

  private:
    std::function<bool(const void*, std::size_t)> may_read_;
};

/// visit(b) for b < count, in none of the orders that somebody could rely on: a GPU has none.
template <class Visit>
void for_blocks(Index count, Visit visit) {
    if (count <= 0 || count > std::numeric_limits<std::int32_t>::max())
        throw std::logic_error(fmt::format("a GPU has no grid of {} blocks", count));
    Index step = count * 5 / 8 + 1;
    while (std::gcd(step, count) != 1) ++step;
    for (Index i = 0, b = count / 3; i < count; ++i, b = (b + step) % count) visit(b);
}

/// Memory of the device, full of NaN. Nobody may touch it but while the device works for one of those who use
/// it, nor ever what lies behind it, from the next 256 bytes on. As closing and opening it takes longer than
/// most works, it is closed behind the first works that a runtime does and then behind every eighth.
class DevicePages {
  public:
    /// @param open  anybody may touch it
    explicit DevicePages(std::size_t bytes, bool open)
        : open_(open),
          page_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))),
          pages_((bytes + page_ - 1) / page_ * page_) {
        void* const first =
            mmap(nullptr, pages_ + page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (first == MAP_FAILED) throw std::bad_alloc();
        first_ = static_cast<std::byte*>(first);
        at_ = first_ + (pages_ - (bytes + 255) / 256 * 256);
        std::memset(first_, 0xff, pages_);
        static_cast<void>(mprotect(first_ + pages_, page_, PROT_NONE));
        all().insert(this);
        allow(open_now);
    }
    DevicePages(const DevicePages&) = delete;
    DevicePages& operator=(const DevicePages&) = delete;
    ~DevicePages() {
        all().erase(this);
        static_cast<void>(munmap(first_, pages_ + page_));
    }
    std::byte* at() const { return at_; }

    /// While there are such all of the device's memory may be touched.
    class AtWork {
      public:
        AtWork() {
            if (at_work++ == 0) allow_all(true);
        }
        AtWork(const AtWork&) = delete;
        AtWork& operator=(const AtWork&) = delete;
        ~AtWork() {
            if (--at_work == 0 && (++works <= 8 || works % 8 == 0)) allow_all(false);
        }
    };
    /// Of another runtime the first works are to come.
    static void close_behind_the_next() { works = 0; }

  private:
    static std::set<const DevicePages*>& all() {
        static std::set<const DevicePages*> pages;
        return pages;
    }
    static void allow_all(bool touch) {
        if (std::exchange(open_now, touch) == touch) return;
        for (const DevicePages* const pages : all()) pages->allow(touch);
    }
    void allow(bool touch) const {
        static_cast<void>(mprotect(first_, pages_, touch || open_ ? PROT_READ | PROT_WRITE : PROT_NONE));
    }

    static inline int at_work = 0;
    static inline Index works = 0;        ///< since there is a new runtime
    static inline bool open_now = false;  ///< all may be touched
    bool open_;
    std::size_t page_, pages_;  ///< bytes of one, of all
    std::byte *first_ = nullptr, *at_ = nullptr;
};

class HostRuntime final : public Runtime {
  public:
    HostRuntime(double memory, bool messages_reach_it) : memory_(memory), open_(messages_reach_it) {
        all().insert(this);
        DevicePages::close_behind_the_next();
    }
    HostRuntime(const HostRuntime&) = delete;
    HostRuntime& operator=(const HostRuntime&) = delete;
    ~HostRuntime() override { all().erase(this); }
    std::string name() const override { return "this machine's cores, as a device"; }
    std::byte* allocate(Memory of, std::size_t bytes) override {
        wait_for_all();
        double taken = of == Memory::device ? static_cast<double>(bytes) : 0;
        for (const auto& [at, part] : allocated_)
            if (part.of_device) taken += static_cast<double>(part.size);
        if (taken > memory_)
            throw Error(ExitStatus::numerical, ErrorKind::no_memory,
                        fmt::format("{}: {} bytes of its memory, {} there", name(), taken, memory_));
        Part part;
        part.size = bytes;
        if (of == Memory::device) {
            part.of_device = std::make_unique<DevicePages>(bytes, open_);
        } else {
            part.of_host = std::make_unique_for_overwrite<std::byte[]>(bytes);
            std::memset(part.of_host.get(), 0xff, bytes);
        }
        std::byte* const at = part.of_device ? part.of_device->at() : part.of_host.get();
        allocated_.emplace(at, std::move(part));
        return at;
    }
    void release(Memory, std::byte* memory) noexcept override {
        for (HostRuntime* const runtime : all()) runtime->wait_for_all();
        allocated_.erase(memory);
    }
    void copy(std::byte* to, const std::byte* from, std::size_t bytes, Stream in) override {
        if (bytes > 0) ask(in, [=] { std::memcpy(to, from, bytes); });
    }
    void clear(std::byte* memory, std::size_t bytes, Stream in) override {
        if (bytes > 0) ask(in, [=] { std::memset(memory, 0, bytes); });
    }
    /// Few, so that small products take turns.
    Index at_once() const override { return 2; }
    void add_products(const BlockWork<float>* works, Index count, int* begun) override {
        begin_in_turn(works, count, begun);
    }
    void add_products(const BlockWork<double>* works, Index count, int* begun) override {
        begin_in_turn(works, count, begun);
    }
    void add_factors(const FactorWork<float>* works, Index count) override {
        begin_work(Stream::products, works, count);
    }
    void add_factors(const FactorWork<double>* works, Index count) override {
        begin_work(Stream::products, works, count);
    }
    void add_matches(const MatchWork<float>* works, Index count) override {
        begin_work(Stream::products, works, count);
    }
    void add_matches(const MatchWork<double>* works, Index count) override {
        begin_work(Stream::products, works, count);
    }
    void let_follow(Stream later, Stream earlier) override {
        ask(later, [this, earlier, all = of(earlier).asked.size()] { run(of(earlier), all); });
    }
    void wait(Stream stream) override { run(of(stream), of(stream).asked.size()); }
    void multiply_out(const OuterWork<float>* blocks, Index count) override {
        begin_work(Stream::copies, blocks, count);
    }
    void multiply_out(const OuterWork<double>* blocks, Index count) override {
        begin_work(Stream::copies, blocks, count);
    }
    void pack_tokens(const TokenWork<float>* blocks, Index count) override {
        begin_work(Stream::copies, blocks, count);
    }
    void pack_tokens(const TokenWork<double>* blocks, Index count) override {
        begin_work(Stream::copies, blocks, count);
    }
    void launch(const NetworkKernel<float>& kernel) override { begin(kernel); }
    void launch(const NetworkKernel<double>& kernel) override { begin(kernel); }

  private:
    static std::set<HostRuntime*>& all() {
        static std::set<HostRuntime*> runtimes;
        return runtimes;
    }
    struct Part {
        std::unique_ptr<DevicePages> of_device;  ///< or
        std::unique_ptr<std::byte[]> of_host;
        std::size_t size = 0;
    };
    /// What a stream was asked for, and how much of it is done.
    struct Queue {
        std::vector<std::function<void()>> asked;
        std::size_t done = 0;
    };
    Queue& of(Stream stream) { return queues_[static_cast<std::size_t>(stream)]; }
    void ask(Stream in, std::function<void()> work) { of(in).asked.push_back(std::move(work)); }
    void run(Queue& queue, std::size_t until) {
        if (queue.done >= until) return;
        const DevicePages::AtWork at_work;
        while (queue.done < until) std::exchange(queue.asked[queue.done++], {})();
    }
    void wait_for_all() {
        wait(Stream::copies);
        wait(Stream::products);
    }
    template <class Work>
    void run_work(HostBlock<Work>& block, const Work& work) const {
        block.begin();
        block.let_read(readable(work));
        typename Work::template Kernel<HostBlock<Work>>(block, work).run();
    }
    template <class Work>
    void begin_work(Stream in, const Work* works, Index count) {
        ask(in, [=, this] {
            HostBlock<Work> block;
            for_blocks(count, [&](Index b) { run_work(block, works[b]); });
        });
    }
    /// In any order that turns leave; of each block a GPU begins them one after the other.
    template <class Real>
    void begin_in_turn(const BlockWork<Real>* works, Index count, int* begun) {
        ask(Stream::products, [=, this] {
            std::map<const int*, int> turns;
            for (Index w = 0; w < count; ++w)
                if (works[w].done == nullptr ? works[w].turn != 0 : turns[works[w].done]++ != works[w].turn)
                    throw std::logic_error("a block waits for one that begins behind it");
            if (*begun != 0) throw std::logic_error("no GPU begins with the first of these works");
            HostBlock<BlockWork<Real>> block;
            std::vector<bool> is_done(static_cast<std::size_t>(count), false);
            while (*begun < count)
                for_blocks(count, [&](Index w) {
                    const BlockWork<Real>& work = works[w];
                    if (is_done[static_cast<std::size_t>(w)]) return;
                    if (work.done != nullptr && *work.done != work.turn) return;
                    run_work(block, work);
                    if (work.done != nullptr) ++*work.done;
                    is_done[static_cast<std::size_t>(w)] = true;
                    ++*begun;
                });
        });
    }
    /// The tiles of a block's work: what lies beyond them it must not read.
    template <class Real>
    static auto readable(const BlockWork<Real>& work) {
        Index left = 0, right = 0;
        for (Index p = 0; p < work.piece_count; ++p) {
            left = std::max(left, work.pieces[p].left + work.pieces[p].depth);
            right = std::max(right, work.pieces[p].right + work.pieces[p].depth);
        }
        return within(work.left, left * work.left_padded, work.right, right * work.right_padded);
    }
    template <class Real>
    static auto readable(const FactorWork<Real>& work) {
        return within(work.left, work.left_entries, work.right, work.right_entries);
    }
    template <class Real>
    static auto within(const Real* left, Index left_entries, const Real* right, Index right_entries) {
        const std::array tiles{std::span(left, static_cast<std::size_t>(left_entries)),
                               std::span(right, static_cast<std::size_t>(right_entries))};
        return [tiles](const void* at, std::size_t bytes) {
            const auto* const first = static_cast<const std::byte*>(at);
            return std::ranges::any_of(tiles, [&](std::span<const Real> tile) {
                const auto all = std::as_bytes(tile);
                return first >= all.data() && first + bytes <= all.data() + all.size();
            });
        };
    }
    /// All that was allocated.
    template <class Work>
    auto readable(const Work&) const {
        return [this](const void* at, std::size_t bytes) {
            const auto* const first = static_cast<const std::byte*>(at);
            return std::ranges::any_of(allocated_, [&](const auto& part) {
                return first >= part.first && first + bytes <= part.first + part.second.size;
            });
        };
    }

    template <class Real>
    void begin(const NetworkKernel<Real>& any) {
        ask(Stream::products, [any] {
            std::visit(
                []<class Kernel>(const Kernel& kernel) {
                    HostThreads<typename Kernel::Memory, typename Kernel::Registers, kernel_threads> block;
                    for_blocks(kernel.blocks(), [&](Index b) {
                        block.begin();
                        kernel.run(block, b);
                    });
                },
                any);
        });
    }

    double memory_;
    bool open_;
    std::map<std::byte*, Part> allocated_;
    std::array<Queue, 2> queues_;
};

}  // namespace

std::unique_ptr<Runtime> host_runtime(double memory, bool messages_reach_it) {
    return std::make_unique<HostRuntime>(memory, messages_reach_it);
}

std::unique_ptr<ProductBackEnd> host_executor(double memory) {
    return device_products(host_runtime(memory), memory);
}

}  // namespace tangram::device
