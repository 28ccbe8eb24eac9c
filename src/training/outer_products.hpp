#pragma once
#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "tangram/arithmetic.hpp"
#include "tangram/products.hpp"

namespace tangram {

/// Rows of a matrix in panels of `wide` columns, each with its rows one after the other; what lacks of the
/// last panel is zero.
template <Index wide, class Real>
void pack_columns(const Real* rows, Index count, Index width, std::vector<Real>& panels) {
    const Index panel_count = (width + wide - 1) / wide;
    panels.resize(static_cast<std::size_t>(panel_count * count * wide));
    for (Index panel = 0; panel < panel_count; ++panel) {
        const Index first = panel * wide, filled = std::min(wide, width - first);
        Real* to = panels.data() + panel * count * wide;
        for (Index t = 0; t < count; ++t, to += wide) {
            const Real* const from = rows + t * width + first;
            if (filled == wide) {
                std::memcpy(to, from, wide * sizeof(Real));  // of a known size: no call
            } else {
                std::copy_n(from, filled, to);
                std::fill(to + filled, to + wide, Real(0));
            }
        }
    }
}

/// Sums of outer products, sum_t delta_t input_t^T (d_out x d_in, row-major). Local.
template <class Real>
class OuterProducts {
  public:
    /// Adds them to `sum`: chains of at most product_depth tokens, each part's in a sum of its own and the
    /// parts in order; with one part its chains one by one.
    /// @param delta, input  rows of all parts, one part behind the other; packed here
    /// @param ends  of each part's rows
    /// @param fresh  `sum` counts as zero, whatever it holds
    void add(const Real* delta, Index d_out, const Real* input, Index d_in, std::span<const Index> ends,
             bool fresh, double* sum) {
        pack_columns<high>(delta, ends.back(), d_out, deltas_);
        pack_columns<wide>(input, ends.back(), d_in, inputs_);
        for (Index row = 0; row < d_out; row += high)
            for (Index column = 0; column < d_in; column += wide)
                add_tile({row, std::min(high, d_out - row), column, std::min(wide, d_in - column)}, ends,
                         fresh, sum + row * d_in + column, d_in);
    }

  private:
    static constexpr Index wide = products::block_rows<Real>, high = products::block_columns;
    struct Tile {
        Index row, rows, column, columns;
    };

    void add_tile(const Tile& tile, std::span<const Index> ends, bool fresh, double* to, Index stride) const {
        alignas(64) double totals[high * wide], of_part[high * wide];
        std::fill_n(totals, high * wide, 0.0);
        for (Index r = 0; !fresh && r < tile.rows; ++r)
            std::copy_n(to + r * stride, tile.columns, totals + r * wide);
        add_chains(tile, 0, ends.front(), ends.back(), totals);
        for (std::size_t part = 1; part < ends.size(); ++part) {
            std::fill_n(of_part, high * wide, 0.0);
            add_chains(tile, ends[part - 1], ends[part], ends.back(), of_part);
            for (Index i = 0; i < high * wide; ++i) totals[i] += of_part[i];
        }
        for (Index r = 0; r < tile.rows; ++r) std::copy_n(totals + r * wide, tile.columns, to + r * stride);
    }

    /// Of the tokens [first, last) of `count`.
    void add_chains(const Tile& tile, Index first, Index last, Index count, double* totals) const {
        alignas(64) Real sums[high * wide];
        for (Index t = first; t < last; t += arithmetic::product_depth) {
            products::block_sums<wide, high, false>(inputs_.data() + (tile.column * count + t * wide), wide,
                                                    deltas_.data() + (tile.row * count + t * high), high, 1,
                                                    std::min(arithmetic::product_depth, last - t), sums);
            for (Index i = 0; i < high * wide; ++i) totals[i] += static_cast<double>(sums[i]);
        }
    }

    std::vector<Real> deltas_, inputs_;  // in panels
};

}  // namespace tangram
