#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "tangram/gram/product_back_end.hpp"

/// The products of packed tiles as a kernel: blocks of threads that share memory and wait for each other. It
/// is written in phases; behind each, all threads of the block have done it. CUDA runs a phase on all threads
/// at once and then waits, the host runs it thread by thread (host_executor.hpp): the same source, and, as no
/// thread reads in a phase what another writes in it, the same bits.
namespace tangram::device {

#if defined(__CUDACC__)
#define TANGRAM_KERNEL __device__ __forceinline__
#define TANGRAM_KERNEL_UNROLLED _Pragma("unroll")
#else
#define TANGRAM_KERNEL inline
#define TANGRAM_KERNEL_UNROLLED
#endif

inline constexpr int block_side = 128;     ///< rows and columns of the sums that a block adds to
inline constexpr int block_threads = 256;  ///< 16 x 16, each with 8 x 8 sums
inline constexpr int thread_side = 8;
inline constexpr int thread_sums = thread_side * thread_side;

template <class Real>
struct BlockMemory;
template <class Real>
struct ThreadChains;
template <class Real, class Block>
class TileKernel;

/// What one block does: some rows and columns of one product. Pointers are to the memory of what runs it.
template <class Real>
struct BlockWork {
    using Memory = BlockMemory<Real>;
    using Registers = ThreadChains<Real>;
    template <class Block>
    using Kernel = TileKernel<Real, Block>;
    static constexpr int together = 1;  ///< blocks of a multiprocessor at once

    const Real *left, *right;  ///< packed tiles
    Index left_padded, right_padded, panel_rows;
    const ProductPiece* pieces;
    Index piece_count;
    double* sums;  ///< of the whole product
    Index lld, rows, columns;
    double* diagonals;  ///< behind the e-th piece that ends a parameter from e * rows on; nullptr: nowhere
    Index first_row, first_column;
    /// Works of the same sums, of pieces one behind the other, begin in turn: this one once *done is `turn`,
    /// and then counts itself there.
    int* done;
    int turn;
};

/// Memory of a block. Two chunks of both sides: while one is multiplied the next one is on its way. 160 KiB,
/// which is what a multiprocessor of compute capability 8.0 has for a block.
template <class Real>
struct BlockMemory {
    static constexpr int chunk_depth = 64 / static_cast<int>(sizeof(Real));  ///< parameters of a chunk
    alignas(16) Real chunks[2][2][chunk_depth][block_side];                  ///< [which][side][k][row]
    double sums[thread_sums][block_threads];  ///< [sum of a thread][thread]: no two threads in one bank
};
static_assert(sizeof(BlockMemory<float>) == 160 * 1024 && sizeof(BlockMemory<double>) == 160 * 1024);

/// What a thread holds in registers.
template <class Real>
struct ThreadChains {
    Real chain[thread_side][thread_side];  ///< [column][row]
    /// Of both sides, the rows that it copies: rows of the tile in panels before theirs, and place in theirs.
    Index rows_before[2], row_of_panel[2];
};

/// A thread among the 16 x 16 of its block. Those of a warp are 8 x 4: together they read the fewest rows and
/// columns, each 16 bytes of shared memory once.
struct ThreadPlace {
    int row, column;
};
TANGRAM_KERNEL ThreadPlace place_in_block(int thread) {
    return {thread / 32 % 2 * 8 + thread % 8, thread / 64 * 4 + thread / 8 % 4};
}

/// The i-th of a thread's eight rows (or columns), which lie in runs of 16 bytes, so that the threads of a
/// warp read neighbouring runs and meet all banks.
template <class Real>
TANGRAM_KERNEL int row_of(int place, int i) {
    constexpr int run = 16 / static_cast<int>(sizeof(Real));
    return i / run * (block_side / thread_side * run) + place * run + i % run;
}

/// What kernels of products share: copies of a chunk of both sides, and the chains that it adds to.
template <class Real, class Block>
struct ProductChains {
    static constexpr int chunk_depth = BlockMemory<Real>::chunk_depth,
                         copied = 16 / static_cast<int>(sizeof(Real)),  ///< entries of a copy
        copies = block_side / copied;                                   ///< of a parameter and a side
    static_assert(block_threads % copies == 0, "a thread copies the same rows of every parameter");

    /// The rows of a side that a thread copies, from first_row on: they lie within one panel, as panels have
    /// a multiple of four rows.
    TANGRAM_KERNEL static void find_rows(int thread, int side, Index first_row, Index panel_rows,
                                         ThreadChains<Real>& chains) {
        const Index row = first_row + thread % copies * copied;
        chains.row_of_panel[side] = row % panel_rows;
        chains.rows_before[side] = row - chains.row_of_panel[side];
    }

    /// Begins the copies of a thread's share of one side of a chunk, zeros behind its depth.
    /// @param from   the thread's entries of the chunk's first parameter; of the next one panel_rows on
    /// @param there  whether it has any
    TANGRAM_KERNEL static void copy_rows(Block& block, int thread, int which, int side, const Real* from,
                                         bool there, Index depth, Index panel_rows) {
        for (int k = thread / copies; k < chunk_depth; k += block_threads / copies) {
            const bool has = there && k < depth;
            block.template copy<copied>(block.memory().chunks[which][side][k] + thread % copies * copied,
                                        from + (has ? k * panel_rows : 0), has);
        }
    }

    TANGRAM_KERNEL static void begin(ThreadChains<Real>& chains) {
        TANGRAM_KERNEL_UNROLLED
        for (int c = 0; c < thread_side; ++c) {
            TANGRAM_KERNEL_UNROLLED
            for (int r = 0; r < thread_side; ++r) chains.chain[c][r] = Real(0);
        }
    }

    /// The chains grow by a chunk's parameters, ascending; not by those that a last chunk lacks: a product of
    /// zeros would turn -0 into +0.
    TANGRAM_KERNEL static void multiply(Block& block, int thread, Index depth, int which,
                                        ThreadChains<Real>& chains) {
        const ThreadPlace place = place_in_block(thread);
        const auto& chunk = block.memory().chunks[which];
        const auto grow_by = [&](int k) {
            Real x[thread_side], y[thread_side];
            TANGRAM_KERNEL_UNROLLED
            for (int i = 0; i < thread_side; ++i) {  // 16 bytes at a time, as compilers see
                x[i] = chunk[0][k][row_of<Real>(place.row, i)];
                y[i] = chunk[1][k][row_of<Real>(place.column, i)];
            }
            TANGRAM_KERNEL_UNROLLED
            for (int c = 0; c < thread_side; ++c) {
                TANGRAM_KERNEL_UNROLLED
                for (int r = 0; r < thread_side; ++r)
                    chains.chain[c][r] = std::fma(y[c], x[r], chains.chain[c][r]);
            }
        };
        if (depth == chunk_depth) {
            TANGRAM_KERNEL_UNROLLED  // 93 of 100 instructions are multiply-adds then, of 84 in a loop
                for (int k = 0; k < chunk_depth; ++k) grow_by(k);
        } else {
            for (int k = 0; k < static_cast<int>(depth); ++k) grow_by(k);
        }
    }
};

/// Chunk after chunk of the pieces: where a chunk stands.
struct Chunk {
    Index piece = 0, first = 0;  ///< the first of its parameters within the piece
};

/// One block's kernel. `Block` runs phases: block.phase(f) calls f(thread, chains) for every thread, and
/// copies one entry or 16 bytes to shared memory by the time a phase has ended: block.copy<entries>(to, from,
/// whether or zeros).
template <class Real, class Block>
class TileKernel {
  public:
    using Memory = BlockMemory<Real>;
    using Chains = ThreadChains<Real>;

    TANGRAM_KERNEL TileKernel(Block& block, const BlockWork<Real>& work) : block_(block), work_(work) {}

    TANGRAM_KERNEL void run() {
        load_sums();
        Chunk at;
        Index ended = 0;
        int now = 0;
        block_.phase([&](int thread, Chains& chains) {
            find_rows(thread, chains);
            fetch(thread, at, 0, chains);
        });
        while (at.piece < work_.piece_count) {
            const ProductPiece& piece = work_.pieces[at.piece];
            const Chunk next = behind(at);
            const bool begins = at.first == 0, ends = next.piece != at.piece;
            block_.phase([&](int thread, Chains& chains) {
                fetch(thread, next, 1 - now, chains);
                if (!has_sums(thread)) return;
                // A chain begins at +0 with every piece, and its end is added in float64: in that order.
                if (begins) Shared::begin(chains);
                Shared::multiply(block_, thread, depth_of(at), now, chains);
                if (ends) add_chains(thread, chains);
                if (ends && piece.ends_parameter) put_diagonal(thread, ended);
            });
            if (ends && piece.ends_parameter) ++ended;
            at = next;
            now = 1 - now;
        }
        store_sums();
    }

  private:
    using Shared = ProductChains<Real, Block>;
    static constexpr int chunk_depth = Shared::chunk_depth;

    TANGRAM_KERNEL Index depth_of(Chunk at) const {
        const Index left = work_.pieces[at.piece].depth - at.first;
        return left < chunk_depth ? left : chunk_depth;
    }
    TANGRAM_KERNEL Chunk behind(Chunk at) const {
        at.first += chunk_depth;
        if (at.first < work_.pieces[at.piece].depth) return at;
        return {at.piece + 1, 0};
    }

    /// Whether any of its sums is an entry of the product.
    TANGRAM_KERNEL bool has_sums(int thread) const {
        const ThreadPlace place = place_in_block(thread);
        return work_.first_row + row_of<Real>(place.row, 0) < work_.rows &&
               work_.first_column + row_of<Real>(place.column, 0) < work_.columns;
    }

    TANGRAM_KERNEL void find_rows(int thread, Chains& chains) const {
        Shared::find_rows(thread, 0, work_.first_row, work_.panel_rows, chains);
        Shared::find_rows(thread, 1, work_.first_column, work_.panel_rows, chains);
    }

    /// Begins the copies of a thread's share of a chunk.
    TANGRAM_KERNEL void fetch(int thread, Chunk at, int which, const Chains& chains) {
        if (at.piece >= work_.piece_count) return;
        const ProductPiece& piece = work_.pieces[at.piece];
        const Index depth = depth_of(at);
        TANGRAM_KERNEL_UNROLLED
        for (int side = 0; side < 2; ++side) {
            const Real* const tile = side == 0 ? work_.left : work_.right;
            const Index padded = side == 0 ? work_.left_padded : work_.right_padded,
                        before = chains.rows_before[side], of_panel = chains.row_of_panel[side];
            const bool there = before + of_panel < padded;
            const Index first = (side == 0 ? piece.left : piece.right) * padded + before * piece.depth +
                                at.first * work_.panel_rows + of_panel;
            Shared::copy_rows(block_, thread, which, side, tile + (there ? first : 0), there, depth,
                              work_.panel_rows);
        }
    }

    TANGRAM_KERNEL void add_chains(int thread, const Chains& chains) {
        TANGRAM_KERNEL_UNROLLED
        for (int c = 0; c < thread_side; ++c) {
            TANGRAM_KERNEL_UNROLLED
            for (int r = 0; r < thread_side; ++r)
                block_.memory().sums[c * thread_side + r][thread] += static_cast<double>(chains.chain[c][r]);
        }
    }

    /// visit(sum, row, column) for the sums of a thread that are entries of the product.
    template <class Visit>
    TANGRAM_KERNEL void for_sums(int thread, Visit visit) {
        const ThreadPlace place = place_in_block(thread);
        for (int c = 0; c < thread_side; ++c)
            for (int r = 0; r < thread_side; ++r) {
                const Index row = work_.first_row + row_of<Real>(place.row, r),
                            column = work_.first_column + row_of<Real>(place.column, c);
                if (row < work_.rows && column < work_.columns)
                    visit(block_.memory().sums[c * thread_side + r][thread], row, column);
            }
    }

    TANGRAM_KERNEL void load_sums() {
        block_.phase([&](int thread, Chains&) {
            for (int s = 0; s < thread_sums; ++s) block_.memory().sums[s][thread] = 0;
            for_sums(thread, [&](double& sum, Index row, Index column) {
                sum = work_.sums[row + column * work_.lld];
            });
        });
    }
    TANGRAM_KERNEL void store_sums() {
        block_.phase([&](int thread, Chains&) {
            for_sums(thread, [&](double& sum, Index row, Index column) {
                work_.sums[row + column * work_.lld] = sum;
            });
        });
    }
    TANGRAM_KERNEL void put_diagonal(int thread, Index ended) {
        if (work_.diagonals == nullptr || work_.first_row != work_.first_column) return;
        for_sums(thread, [&](double& sum, Index row, Index column) {
            if (row == column) work_.diagonals[ended * work_.rows + row] = sum;
        });
    }

    Block& block_;
    const BlockWork<Real>& work_;
};

/// Into how many works, one behind the other, the pieces of each block are best cut where so many run at
/// once: 136 blocks on 132 multiprocessors take as long as 264, in eighths about as long as 149.
/// @param pieces  of the longest list
inline Index turns_of(Index blocks, Index at_once, Index pieces) {
    // To load sums and store them takes a multiprocessor about half as long as a piece of 256 parameters.
    constexpr double sums_in_pieces = 0.5;
    constexpr Index most = 16;
    const auto time = [&](Index turns) {
        const Index rounds = std::max(turns, (blocks * turns + at_once - 1) / at_once);
        return static_cast<double>(rounds) *
               (static_cast<double>((pieces + turns - 1) / turns) + sums_in_pieces);
    };
    Index best = 1;
    for (Index turns = 2; turns <= std::min(most, pieces); ++turns)
        if (time(turns) < time(best)) best = turns;
    return best;
}

/// The work of a product but for its pointers and the place within it.
template <class Real>
BlockWork<Real> work_of(const SliceProducts<Real>& slice, const TileProduct& product) {
    const PackedRows<Real>&left = slice.tiles[product.left], &right = slice.tiles[product.right];
    BlockWork<Real> work{};
    work.left_padded = left.padded_rows;
    work.right_padded = right.padded_rows;
    work.panel_rows = slice.panel_rows;
    work.piece_count = std::ssize(slice.pieces[product.pieces]);
    work.lld = work.rows = left.rows;
    work.columns = right.rows;
    return work;
}

/// The blocks of one product, those with nothing to do left out.
template <class Real>
void append_blocks(BlockWork<Real> work, bool lower_only, std::vector<BlockWork<Real>>& blocks) {
    for (work.first_column = 0; work.first_column < work.columns; work.first_column += block_side)
        for (work.first_row = 0; work.first_row < work.rows; work.first_row += block_side)
            // Of a tile with itself, those above the diagonal.
            if (!lower_only || work.first_row + block_side > work.first_column) blocks.push_back(work);
}

}  // namespace tangram::device
