#pragma once
#include <algorithm>
#include <cstring>
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

/// Adds sum_t delta_t input_t^T (d_out x d_in, row-major) to `sum`: chains of at most product_depth tokens.
/// Local. @param delta, input  `count` rows each, at least one; packed here
/// @param fresh  `sum` counts as zero, whatever it holds
template <class Real>
struct OuterProducts {
    std::vector<Real> deltas, inputs;

    void add(const Real* delta, Index d_out, const Real* input, Index d_in, Index count, bool fresh,
             double* sum) {
        constexpr Index wide = products::block_rows<Real>, high = products::block_columns;
        alignas(64) Real sums[high * wide];
        pack_columns<high>(delta, count, d_out, deltas);
        pack_columns<wide>(input, count, d_in, inputs);
        for (Index t = 0; t < count; t += arithmetic::product_depth) {
            const Index depth = std::min(arithmetic::product_depth, count - t);
            for (Index row = 0; row < d_out; row += high)
                for (Index column = 0; column < d_in; column += wide) {
                    products::block_sums<wide, high, false>(inputs.data() + (column * count + t * wide), wide,
                                                            deltas.data() + (row * count + t * high), high, 1,
                                                            depth, sums);
                    const Index width = std::min(wide, d_in - column);
                    for (Index r = 0; r < std::min(high, d_out - row); ++r) {
                        double* const to = sum + (row + r) * d_in + column;
                        const Real* const from = sums + r * wide;
                        if (fresh && t == 0)
                            for (Index i = 0; i < width; ++i) to[i] = 0.0 + static_cast<double>(from[i]);
                        else
                            for (Index i = 0; i < width; ++i) to[i] += static_cast<double>(from[i]);
                    }
                }
        }
    }
};

}  // namespace tangram
