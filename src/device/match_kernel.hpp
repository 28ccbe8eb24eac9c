#pragma once
#include "tile_kernel.hpp"

/// Products of rows of a table that both sides reach: a kernel in phases, as tile_kernel.hpp has them.
namespace tangram::device {

/// A tile of matching rows in the memory of what runs the kernel.
template <class Real>
struct MatchesOnDevice {
    const Real* entries;  ///< [octet][column][8]
    const MatchingRows* matches;
    Index count;
    const Index* rows;
};

struct MatchMemory;
template <class Real, class Block>
class MatchKernel;

/// What one block does: one product.
template <class Real>
struct MatchWork {
    struct Registers {};
    using Memory = MatchMemory;
    template <class Block>
    using Kernel = MatchKernel<Real, Block>;
    static constexpr int together = 2;

    MatchesOnDevice<Real> left, right;
    Index columns;
    double* sums;
    Index lld;
    double* diagonal;  ///< of a tile with itself, lld rows; nullptr: nowhere
};

/// A block waits between ids, as it does where threads share memory: the next one's pairs are others'.
struct MatchMemory {
    int nothing;
};

template <class Real, class Block>
class MatchKernel {
  public:
    using Memory = MatchMemory;
    using None = typename MatchWork<Real>::Registers;

    TANGRAM_KERNEL MatchKernel(Block& block, const MatchWork<Real>& work) : block_(block), work_(work) {}

    TANGRAM_KERNEL void run() {
        Index b = 0;
        for (Index a = 0; a < work_.left.count; ++a) {
            const MatchingRows left = work_.left.matches[a];
            while (b < work_.right.count && work_.right.matches[b].id < left.id) ++b;
            if (b == work_.right.count) break;
            const MatchingRows right = work_.right.matches[b];
            if (right.id != left.id) continue;
            block_.phase([&](int thread, None&) { add_match(thread, left, right); });
        }
        if (work_.diagonal == nullptr) return;
        block_.phase([&](int thread, None&) {
            for (Index row = thread; row < work_.lld; row += block_threads)
                work_.diagonal[row] = work_.sums[row + row * work_.lld];
        });
    }

  private:
    static constexpr Index octet = 8;

    /// The chain of each pair of rows over the columns, ascending.
    TANGRAM_KERNEL void add_match(int thread, const MatchingRows& left, const MatchingRows& right) {
        for (Index pair = thread; pair < left.count * right.count; pair += block_threads) {
            const Index r = pair % left.count, c = pair / left.count;
            const Real *const x = entries_of(work_.left, left, r), *const y =
                                                                       entries_of(work_.right, right, c);
            Real chain = 0;
            for (Index k = 0; k < work_.columns; ++k) chain = std::fma(y[k * octet], x[k * octet], chain);
            work_.sums[work_.left.rows[left.first + r] + work_.right.rows[right.first + c] * work_.lld] +=
                static_cast<double>(chain);
        }
    }
    TANGRAM_KERNEL const Real* entries_of(const MatchesOnDevice<Real>& tile, const MatchingRows& match,
                                          Index i) const {
        return tile.entries + (match.first_octet + i / octet) * octet * work_.columns + i % octet;
    }

    Block& block_;
    const MatchWork<Real>& work_;
};

}  // namespace tangram::device
