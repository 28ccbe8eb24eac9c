#pragma once
#include <algorithm>
#include <vector>

#include "tile_kernel.hpp"

/// Rows of factors copied to where they stand in packed tiles (PackedTokens): a kernel in phases, as
/// tile_kernel.hpp has them.
namespace tangram::device {

/// A token's rows in the memory of what runs the kernel; nullptr: zeros stand in its place.
template <class Real>
struct TokenOnDevice {
    const Real *delta, *input;
};

template <class Real>
struct TokenMemory;
template <class Real, class Block>
class TokenKernel;

/// What one block does: some entries of a panel of tokens.
template <class Real>
struct TokenWork {
    struct Registers {};
    using Memory = TokenMemory<Real>;
    template <class Block>
    using Kernel = TokenKernel<Real, Block>;
    static constexpr int together = 4;

    const TokenOnDevice<Real>* tokens;  ///< panel_rows of them
    Index panel_rows;                   ///< at most most_panel_rows
    Index delta_width, input_width;
    Index first, last;  ///< entries of delta, then of input
    Real* out;          ///< [entry][token], from entry 0 on
};

inline constexpr int most_panel_rows = 32, entries_at_once = 64;

/// Memory of a block: a row of entries more than are copied at once, so that threads that read a column meet
/// all banks.
template <class Real>
struct TokenMemory {
    Real entries[most_panel_rows][entries_at_once + 1];
};

template <class Real, class Block>
class TokenKernel {
  public:
    using Memory = TokenMemory<Real>;
    using None = typename TokenWork<Real>::Registers;

    TANGRAM_KERNEL TokenKernel(Block& block, const TokenWork<Real>& work) : block_(block), work_(work) {}

    TANGRAM_KERNEL void run() {
        const int rows = static_cast<int>(work_.panel_rows);
        for (Index k = work_.first; k < work_.last; k += entries_at_once) {
            const int count =
                work_.last - k < entries_at_once ? static_cast<int>(work_.last - k) : entries_at_once;
            block_.phase([&](int thread, None&) {
                for (int c = thread; c < rows * entries_at_once; c += block_threads) {
                    const int token = c / entries_at_once, entry = c % entries_at_once;
                    if (entry < count) block_.memory().entries[token][entry] = entry_of(token, k + entry);
                }
            });
            block_.phase([&](int thread, None&) {
                for (int c = thread; c < rows * count; c += block_threads)
                    work_.out[k * rows + c] = block_.memory().entries[c % rows][c / rows];
            });
        }
    }

  private:
    TANGRAM_KERNEL Real entry_of(int token, Index k) const {
        const TokenOnDevice<Real> of = work_.tokens[token];
        if (of.delta == nullptr) return Real(0);
        return k < work_.delta_width ? of.delta[k] : of.input[k - work_.delta_width];
    }

    Block& block_;
    const TokenWork<Real>& work_;
};

/// The blocks of a panel, enough of them for wide rows.
/// @param work  the whole panel; which entries a block has is overwritten
template <class Real>
void append_token_blocks(TokenWork<Real> work, std::vector<TokenWork<Real>>& blocks) {
    constexpr Index of_block = 8 * entries_at_once;
    const Index entries = work.delta_width + work.input_width;
    for (work.first = 0; work.first < entries; work.first += of_block) {
        work.last = std::min(entries, work.first + of_block);
        blocks.push_back(work);
    }
}

}  // namespace tangram::device
