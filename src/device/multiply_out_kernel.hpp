#pragma once
#include <algorithm>
#include <vector>

#include "tangram/arithmetic.hpp"
#include "tile_kernel.hpp"

/// Gradients of matrices, sums of outer products over tokens, formed where they stand in packed tiles: a
/// kernel in phases, as tile_kernel.hpp has them. An entry is one chain of one thread.
namespace tangram::device {

/// A row's factors in the memory of what runs the kernel; rows lie `OuterWork` strides apart.
template <class Real>
struct RowOnDevice {
    const Real *delta, *input;
    Index tokens;
};

template <class Real>
struct OuterMemory;
template <class Real>
struct OuterChains;
template <class Real, class Block>
class MultiplyOutKernel;

/// What one block does: some rows of a tile, some rows (outputs) and columns (inputs) of their gradients.
template <class Real>
struct OuterWork {
    using Memory = OuterMemory<Real>;
    using Registers = OuterChains<Real>;
    template <class Block>
    using Kernel = MultiplyOutKernel<Real, Block>;
    static constexpr int together = sizeof(Real) == 4 ? 2 : 1;

    const RowOnDevice<Real>* rows;  ///< from first_row on
    Index first_row, row_count;     ///< of the tile; those behind them, up to padded_rows, become zero
    Index padded_rows, panel_rows;
    Real* out;     ///< where the segment begins in the tile
    Index copies;  ///< as SliceToPack
    Real sign;
    Index first, depth;  ///< of the segment, row-major in the gradient
    Index delta_stride, input_stride, input_width;
    Index first_output, output_count, first_input;
};

inline constexpr int rows_at_once = 32;    ///< of a tile: the threads of a warp, one each
inline constexpr int outputs_at_once = 8;  ///< of a thread, as many inputs
inline constexpr int inputs_at_once = outputs_at_once * block_threads / rows_at_once;

/// Memory of a block: some tokens of both factors, twice: while one is multiplied the next one is on its way.
/// A row's are 16 bytes longer than a multiple of 128, so that eight threads that read 16 bytes each of
/// neighbouring rows meet all banks.
template <class Real>
struct OuterMemory {
    static constexpr int tokens = 16 / static_cast<int>(sizeof(Real)),  ///< of a chunk
        aligned = 16 / static_cast<int>(sizeof(Real));                  ///< entries of 16 bytes
    struct Chunk {
        alignas(16) Real inputs[rows_at_once][tokens * inputs_at_once + aligned];
        alignas(16) Real deltas[rows_at_once][tokens * outputs_at_once + aligned];
    };
    Chunk chunks[2];
};
static_assert(sizeof(OuterMemory<float>) == 75776 && sizeof(OuterMemory<double>) == 75776);

/// What a thread holds in registers.
template <class Real>
struct OuterChains {
    Real chain[outputs_at_once][outputs_at_once];  ///< [output][input]
};

/// One block's kernel, of a `Block` as TileKernel's.
template <class Real, class Block>
class MultiplyOutKernel {
  public:
    using Memory = OuterMemory<Real>;
    using Chains = OuterChains<Real>;

    TANGRAM_KERNEL MultiplyOutKernel(Block& block, const OuterWork<Real>& work)
        : block_(block), work_(work) {}

    TANGRAM_KERNEL void run() {
        Index tokens = 0;
        for (Index r = 0; r < work_.row_count; ++r)
            if (work_.rows[r].tokens > tokens) tokens = work_.rows[r].tokens;
        block_.phase([&](int thread, Chains& chains) {
            begin(chains);
            fetch(thread, 0, 0);
        });
        int now = 0;
        for (Index first = 0; first < tokens; first += Memory::tokens) {
            block_.phase([&](int thread, Chains& chains) {
                fetch(thread, first + Memory::tokens, 1 - now);
                multiply(thread, first, now, chains);
            });
            now = 1 - now;
        }
        block_.phase([&](int thread, Chains& chains) { store(thread, chains); });
    }

  private:
    TANGRAM_KERNEL static void begin(Chains& chains) {
        TANGRAM_KERNEL_UNROLLED
        for (int o = 0; o < outputs_at_once; ++o) {
            TANGRAM_KERNEL_UNROLLED
            for (int i = 0; i < outputs_at_once; ++i) chains.chain[o][i] = Real(0);
        }
    }

    /// Begins the copies of a thread's share of some tokens' factors. What a row does not have is left as it
    /// is.
    TANGRAM_KERNEL void fetch(int thread, Index first_token, int which) {
        auto& chunk = block_.memory().chunks[which];
        constexpr int runs = inputs_at_once / Memory::aligned;
        for (int c = thread; c < rows_at_once * Memory::tokens * runs; c += block_threads) {
            const int run = c % runs * Memory::aligned, t = c / runs % Memory::tokens,
                      row = c / runs / Memory::tokens;
            if (!has(row, first_token + t)) continue;
            const Index column = work_.first_input + run;
            const bool there = column < work_.input_stride;
            block_.template copy<Memory::aligned>(
                chunk.inputs[row] + t * inputs_at_once + run,
                work_.rows[row].input + (first_token + t) * work_.input_stride + (there ? column : 0), there);
        }
        for (int c = thread; c < rows_at_once * Memory::tokens * outputs_at_once; c += block_threads) {
            const int o = c % outputs_at_once, t = c / outputs_at_once % Memory::tokens,
                      row = c / outputs_at_once / Memory::tokens;
            if (!has(row, first_token + t)) continue;
            const bool there = o < work_.output_count;
            block_.template copy<1>(chunk.deltas[row] + t * outputs_at_once + o,
                                    work_.rows[row].delta + (first_token + t) * work_.delta_stride +
                                        work_.first_output + (there ? o : 0),
                                    there);
        }
    }
    TANGRAM_KERNEL bool has(int row, Index token) const {
        return row < work_.row_count && token < work_.rows[row].tokens;
    }

    /// The chains grow by the tokens of a row, ascending; not by those that it lacks: a product of zeros
    /// would turn -0 into +0.
    TANGRAM_KERNEL void multiply(int thread, Index first_token, int which, Chains& chains) {
        const int row = thread % rows_at_once, run = thread / rows_at_once * outputs_at_once;
        const auto& chunk = block_.memory().chunks[which];
        for (int t = 0; t < Memory::tokens && has(row, first_token + t); ++t) {
            Real x[outputs_at_once], y[outputs_at_once];
            TANGRAM_KERNEL_UNROLLED
            for (int i = 0; i < outputs_at_once; ++i) {
                x[i] = chunk.inputs[row][t * inputs_at_once + run + i];
                y[i] = chunk.deltas[row][t * outputs_at_once + i];
            }
            TANGRAM_KERNEL_UNROLLED
            for (int o = 0; o < outputs_at_once; ++o)
                if (o < work_.output_count) {
                    TANGRAM_KERNEL_UNROLLED
                    for (int i = 0; i < outputs_at_once; ++i)
                        chains.chain[o][i] = std::fma(y[o], x[i], chains.chain[o][i]);
                }
        }
    }

    /// Every entry to its place: [piece of product_depth][panel of rows][parameter][row of the panel].
    TANGRAM_KERNEL void store(int thread, const Chains& chains) {
        const Index row = work_.first_row + thread % rows_at_once,
                    input = work_.first_input + thread / rows_at_once * outputs_at_once,
                    of_panel = row % work_.panel_rows, before = row - of_panel;
        if (row >= work_.padded_rows) return;
        TANGRAM_KERNEL_UNROLLED
        for (int o = 0; o < outputs_at_once; ++o) {
            TANGRAM_KERNEL_UNROLLED
            for (int i = 0; i < outputs_at_once; ++i) {
                const Index k = (work_.first_output + o) * work_.input_width + input + i - work_.first;
                if (o >= work_.output_count || input + i >= work_.input_width || k < 0 || k >= work_.depth)
                    continue;
                const Index piece = k / arithmetic::product_depth * arithmetic::product_depth,
                            left = work_.depth - piece,
                            depth = left < arithmetic::product_depth ? left : arithmetic::product_depth;
                put(piece * work_.padded_rows + before * depth + (k - piece) * work_.panel_rows + of_panel,
                    chains.chain[o][i]);
            }
        }
    }
    TANGRAM_KERNEL void put(Index at, Real entry) {
        if (work_.sign == Real(0) || work_.copies > 1) work_.out[at] = entry;
        if (work_.sign != Real(0))
            work_.out[at + (work_.copies - 1) * work_.depth * work_.padded_rows] = entry > 0   ? work_.sign
                                                                                   : entry < 0 ? -work_.sign
                                                                                               : Real(0);
    }

    Block& block_;
    const OuterWork<Real>& work_;
};

/// The blocks of a segment in one tile, those without an entry left out.
/// @param work  the segment in all rows of the tile; what says which of them is overwritten
template <class Real>
void append_outer_blocks(OuterWork<Real> work, std::vector<OuterWork<Real>>& blocks) {
    const Index rows = work.row_count, first_output = work.first / work.input_width,
                last_output = (work.first + work.depth - 1) / work.input_width + 1;
    const RowOnDevice<Real>* const all = work.rows;
    for (work.first_row = 0; work.first_row < work.padded_rows; work.first_row += rows_at_once) {
        work.rows = all + work.first_row;
        work.row_count = std::clamp<Index>(rows - work.first_row, 0, rows_at_once);
        for (Index o = first_output; o < last_output; o += outputs_at_once) {
            work.first_output = o;
            work.output_count = std::min<Index>(outputs_at_once, last_output - o);
            for (Index i = 0; i < work.input_width; i += inputs_at_once) {
                work.first_input = i;
                // Of one output alone, the columns that the segment has.
                const Index begin = o * work.input_width + i,
                            end = o * work.input_width + std::min(work.input_width, i + inputs_at_once);
                const bool has_entries =
                    work.output_count > 1 || (begin < work.first + work.depth && end > work.first);
                if (has_entries) blocks.push_back(work);
            }
        }
    }
}

}  // namespace tangram::device
