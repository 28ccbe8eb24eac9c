#pragma once
#include "tile_kernel.hpp"

/// Products of rows that stand as factors, tokens with tokens: a kernel in phases, as tile_kernel.hpp has
/// them.
namespace tangram::device {

/// Where the tokens of a row stand among those of its chunk.
struct RowTokens {
    Index first, count;
};

/// Rows whose tokens are packed together (TokenChunk), and tokens of the tile that stand before theirs, with
/// padding.
struct ChunkOnDevice {
    Index first_row, last_row;
    Index before, padded;
};

template <class Real>
struct FactorBlockMemory;
template <class Real, class Block>
class FactorKernel;

/// What one block does: the rows of some chunks of the left tile with those of some of the right one.
template <class Real>
struct FactorWork {
    using Memory = FactorBlockMemory<Real>;
    using Registers = ThreadChains<Real>;
    template <class Block>
    using Kernel = FactorKernel<Real, Block>;
    static constexpr int together = 1;

    const Real *left, *right;  ///< packed tiles
    Index left_entries, right_entries;
    Index panel_rows, delta_width, input_width;
    const RowTokens *left_rows, *right_rows;  ///< of the tiles
    const ChunkOnDevice *left_chunks, *right_chunks;
    Index left_count, right_count;
    double* sums;  ///< of the whole product
    Index lld;
    bool lower_only;
    double* diagonal;  ///< of a tile with itself; nullptr: nowhere
};

/// Memory of a block: two chunks of parameters, as BlockMemory, and of each pair of tokens the product of
/// deltas, then times that of inputs.
template <class Real>
struct FactorBlockMemory {
    alignas(16) Real chunks[2][2][BlockMemory<Real>::chunk_depth][block_side];  ///< [which][side][k][token]
    double products[block_side][block_side];                                    ///< [right token][left token]
};
static_assert(sizeof(FactorBlockMemory<float>) == sizeof(BlockMemory<float>) &&
              sizeof(FactorBlockMemory<double>) == sizeof(BlockMemory<double>) && chunk_tokens <= block_side);

template <class Real, class Block>
class FactorKernel {
  public:
    using Memory = FactorBlockMemory<Real>;
    using Chains = ThreadChains<Real>;

    TANGRAM_KERNEL FactorKernel(Block& block, const FactorWork<Real>& work) : block_(block), work_(work) {}

    TANGRAM_KERNEL void run() {
        for (Index i = 0; i < work_.left_count; ++i)
            for (Index j = 0; j < work_.right_count; ++j) {
                const ChunkOnDevice left = work_.left_chunks[i], right = work_.right_chunks[j];
                if (work_.lower_only && left.last_row <= right.first_row) continue;
                multiply(left, right, Factors::deltas);
                multiply(left, right, Factors::inputs);
                block_.phase([&](int thread, Chains&) { add_pairs(thread, left, right); });
            }
    }

  private:
    using Shared = ProductChains<Real, Block>;
    enum class Factors { deltas, inputs };

    TANGRAM_KERNEL Index stride() const { return work_.delta_width + work_.input_width; }

    /// The scalar products of deltas, or what they are times those of inputs: one chain each, of all entries.
    TANGRAM_KERNEL void multiply(const ChunkOnDevice& left, const ChunkOnDevice& right, Factors of) {
        const Index begin = of == Factors::deltas ? 0 : work_.delta_width,
                    end = of == Factors::deltas ? work_.delta_width : stride();
        int now = 0;
        block_.phase([&](int thread, Chains& chains) {
            Shared::find_rows(thread, 0, left.before, work_.panel_rows, chains);
            Shared::find_rows(thread, 1, right.before, work_.panel_rows, chains);
            Shared::begin(chains);
            fetch(thread, left, right, begin, end, 0, chains);
        });
        for (Index k = begin; k < end; k += Shared::chunk_depth) {
            block_.phase([&](int thread, Chains& chains) {
                fetch(thread, left, right, k + Shared::chunk_depth, end, 1 - now, chains);
                Shared::multiply(block_, thread, depth_of(k, end), now, chains);
                if (k + Shared::chunk_depth >= end) keep(thread, of, chains);
            });
            now = 1 - now;
        }
    }

    TANGRAM_KERNEL static Index depth_of(Index k, Index end) {
        return end - k < Shared::chunk_depth ? end - k : Shared::chunk_depth;
    }

    /// Begins the copies of a thread's share of entries from k on.
    TANGRAM_KERNEL void fetch(int thread, const ChunkOnDevice& left, const ChunkOnDevice& right, Index k,
                              Index end, int which, const Chains& chains) {
        if (k >= end) return;
        TANGRAM_KERNEL_UNROLLED
        for (int side = 0; side < 2; ++side) {
            const Real* const tile = side == 0 ? work_.left : work_.right;
            const Index padded = side == 0 ? left.padded : right.padded;
            const bool there = thread % Shared::copies * Shared::copied < padded;
            const Index first =
                chains.rows_before[side] * stride() + k * work_.panel_rows + chains.row_of_panel[side];
            Shared::copy_rows(block_, thread, which, side, tile + (there ? first : 0), there,
                              depth_of(k, end), work_.panel_rows);
        }
    }

    TANGRAM_KERNEL void keep(int thread, Factors of, const Chains& chains) {
        const ThreadPlace place = place_in_block(thread);
        for (int c = 0; c < thread_side; ++c)
            for (int r = 0; r < thread_side; ++r) {
                double& product =
                    block_.memory().products[row_of<Real>(place.column, c)][row_of<Real>(place.row, r)];
                const auto chain = static_cast<double>(chains.chain[c][r]);
                product = of == Factors::deltas ? chain : product * chain;
            }
    }

    TANGRAM_KERNEL void add_pairs(int thread, const ChunkOnDevice& left, const ChunkOnDevice& right) {
        const int rows = static_cast<int>(left.last_row - left.first_row),
                  pairs = rows * static_cast<int>(right.last_row - right.first_row);
        for (int pair = thread; pair < pairs; pair += block_threads) {
            const Index row = left.first_row + pair % rows, column = right.first_row + pair / rows;
            double& sum = work_.sums[row + column * work_.lld];
            sum += pair_sum(work_.left_rows[row], work_.right_rows[column]);
            if (work_.diagonal != nullptr && row == column) work_.diagonal[row] = sum;
        }
    }

    /// Half the sum over t, then t', plus half the sum over t', then t.
    TANGRAM_KERNEL double pair_sum(RowTokens left, RowTokens right) {
        const auto& products = block_.memory().products;
        const double by_left = sum_of_sums(left.count, right.count, [&](Index t, Index other) {
            return products[right.first + other][left.first + t];
        });
        const double by_right = sum_of_sums(right.count, left.count, [&](Index t, Index other) {
            return products[right.first + t][left.first + other];
        });
        return 0.5 * (by_left + by_right);
    }

    /// The sum over t of the sums over the other tokens; some of those at once, as each waits for itself.
    template <class At>
    TANGRAM_KERNEL static double sum_of_sums(Index tokens, Index others, At at) {
        constexpr int together = 4;
        double all = 0;
        for (Index first = 0; first < tokens; first += together) {
            double sums[together];
            TANGRAM_KERNEL_UNROLLED
            for (int t = 0; t < together; ++t) sums[t] = first + t < tokens ? at(first + t, 0) : 0;
            for (Index other = 1; other < others; ++other) {
                TANGRAM_KERNEL_UNROLLED
                for (int t = 0; t < together; ++t)
                    if (first + t < tokens) sums[t] += at(first + t, other);
            }
            TANGRAM_KERNEL_UNROLLED
            for (int t = 0; t < together; ++t)
                if (first + t < tokens) all = first + t == 0 ? sums[t] : all + sums[t];
        }
        return all;
    }

    Block& block_;
    const FactorWork<Real>& work_;
};

}  // namespace tangram::device
