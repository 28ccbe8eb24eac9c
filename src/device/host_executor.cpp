#include "host_executor.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include "tile_kernel.hpp"

namespace tangram::device {

namespace {

/// A block of threads that run one after the other.
template <class Real>
class HostBlock {
  public:
    BlockMemory<Real>& memory() { return *memory_; }
    /// Forwards and backwards in turn: a thread that needs what another does in the same phase is found out.
    template <class Phase>
    void phase(Phase run) {
        forwards_ = !forwards_;
        for (int i = 0; i < block_threads; ++i) {
            const int thread = forwards_ ? i : block_threads - 1 - i;
            run(thread, chains_[static_cast<std::size_t>(thread)]);
        }
    }
    /// What a GPU would answer by an illegal address.
    void allow(std::span<const Real> left, std::span<const Real> right) { allowed_ = {left, right}; }
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
    std::unique_ptr<BlockMemory<Real>> memory_ = std::make_unique<BlockMemory<Real>>();
    bool forwards_ = false;
    std::array<std::span<const Real>, 2> allowed_;
    std::vector<ThreadChains<Real>> chains_ = std::vector<ThreadChains<Real>>(block_threads);
};

class HostExecutor final : public ProductBackEnd {
  public:
    std::string name() const override { return "this machine's cores, as a device"; }
    void add(const SliceProducts<float>& slice, const std::function<void()>& between) override {
        add_all(slice, between);
    }
    void add(const SliceProducts<double>& slice, const std::function<void()>& between) override {
        add_all(slice, between);
    }

  private:
    template <class Real>
    static void add_all(const SliceProducts<Real>& slice, const std::function<void()>& between) {
        HostBlock<Real> block;
        for (const TileProduct& product : slice.products) {
            block.allow(slice.tiles[product.left].entries, slice.tiles[product.right].entries);
            for (const BlockWork<Real>& work : blocks_of(slice, product))
                TileKernel<Real, HostBlock<Real>>(block, work).run();
            between();
        }
    }
};

}  // namespace

std::unique_ptr<ProductBackEnd> host_executor() { return std::make_unique<HostExecutor>(); }

}  // namespace tangram::device
