#include <algorithm>
#include <array>

#include "tangram/arithmetic.hpp"
#include "tangram/gram/assembly_cost.hpp"
#include "tangram/parallel_for.hpp"
#include "tangram/products.hpp"
#include "tile_contraction.hpp"

namespace tangram {

namespace {

constexpr Index panel = products::panel_rows, columns_at_once = products::block_columns;
constexpr Index tile_rows = arithmetic::tile_rows;

/// out[k * panel + r] = rows[r * stride + k] for a panel of rows, k < depth: short runs of both stay in the
/// cache.
template <class Real>
void interleave(const Real* rows, Index stride, Index depth, Real* out) {
    constexpr Index run = 16;
    for (Index k = 0; k < depth; k += run) {
        const Index end = std::min(depth, k + run);
        for (Index r = 0; r < panel; ++r)
            for (Index i = k; i < end; ++i) out[i * panel + r] = rows[r * stride + i];
    }
}

/// A piece of at most product_depth parameters of a packed tile.
template <class Real>
struct Piece {
    const Real* entries;  ///< nullptr: there is none
    Index rows;
};

/// Adds the product of two pieces. Meanwhile the pieces that come next are fetched into the second-level
/// cache.
template <class Real>
void add_piece(Piece<Real> left, Piece<Real> right, Index depth, bool lower_only,
               const std::array<const Real*, 2>& next_pieces, TileSums to) {
    constexpr Index rows = products::block_rows<Real>;
    alignas(64) Real sums[rows * columns_at_once];
    const Index fetched = depth * 8;  // bytes that one block's pass fetches, until both pieces are there
    const auto bytes = [&](Index of) { return padded_rows(of) * depth * static_cast<Index>(sizeof(Real)); };
    const Index left_bytes = bytes(left.rows), both = left_bytes + bytes(right.rows);
    Index next = 0;
    for (Index i = 0; i < left.rows; i += rows)
        for (Index j = 0; j < right.rows; j += columns_at_once) {
            if (lower_only && i + rows <= j) continue;
            const char* ahead = nullptr;
            if (next_pieces[0] != nullptr && next < both) {
                ahead = next < left_bytes
                            ? reinterpret_cast<const char*>(next_pieces[0]) + next
                            : reinterpret_cast<const char*>(next_pieces[1]) + (next - left_bytes);
                next += fetched;
            }
            products::block_sums<rows, columns_at_once, false>(
                left.entries + i / panel * panel * depth + i % panel, panel,
                right.entries + j / panel * panel * depth + j % panel, panel, 1, depth, sums, ahead);
            // A tile's last block may reach beyond the tile.
            const auto add = [&](double* tile, Index count) {
                for (Index c = 0; c < columns_at_once; ++c) {
                    double* const column = tile + (j + c) * tile_rows + i;
                    for (Index r = 0; r < count; ++r) column[r] += static_cast<double>(sums[c * rows + r]);
                }
            };
            for (double* const tile : {to.whole, to.group})
                if (tile != nullptr && i + rows <= tile_rows)
                    add(tile, rows);
                else if (tile != nullptr)
                    add(tile, tile_rows - i);
        }
}

template <class Real>
class MultipliedOut final : public TileContraction<Real> {
  public:
    Contraction contraction() const override { return Contraction::multiply_out; }
    Cutting cutting(const Parameter& parameter, Index rows) const override {
        return {parameter.size(), slice_depth_of(parameter.shape.back(), rows), true};
    }
    double pair_flops(const ContractionChoice&, Index share, Index) const override {
        return 2 * static_cast<double>(share);
    }
    TileForm form(const RowTiles& rows, Index tile, ParameterId) const override {
        TileForm form;
        form.rows = rows.rows(tile);
        return form;
    }
    Index entries(const Segment& segment, const TileForm& form) const override {
        return padded_rows(form.rows) * segment.depth();
    }

    void pack(const HeldFactors<Real>& factors, const RowTiles& rows, Index tile, const Segment& segment,
              const TileForm& form, Real* out) const override {
        const Index padded = padded_rows(form.rows);
        parallel_for(padded / panel, [&](Index p) {
            const Index first = p * panel;
            static thread_local std::vector<Real> gradients;
            gradients.resize(static_cast<std::size_t>(panel * segment.depth()));
            const Index count = std::min(panel, form.rows - first);
            std::fill(gradients.begin() + count * segment.depth(), gradients.end(), Real(0));
            for (Index r = 0; r < count; ++r) {
                const Index row = rows.first_row(tile) + first + r;
                factors.factors().multiply_out(
                    segment.parameter, segment.first, segment.last, factors.place(rows.example_of(row)),
                    rows.pass_of(row, segment.component), gradients.data() + r * segment.depth());
            }
            for (Index k = 0; k < segment.depth(); k += arithmetic::product_depth) {
                const Index depth = std::min(arithmetic::product_depth, segment.depth() - k);
                interleave(gradients.data() + k, segment.depth(), depth, out + k * padded + first * depth);
            }
        });
    }

    void add_product(const Segment& segment, PackedTile<Real> left, PackedTile<Real> right, bool lower_only,
                     TileSums to) const override {
        const Index left_rows = left.form->rows, right_rows = right.form->rows;
        const Index left_padded = padded_rows(left_rows), right_padded = padded_rows(right_rows);
        for (Index k = 0; k < segment.depth(); k += arithmetic::product_depth) {
            const Index depth = std::min(arithmetic::product_depth, segment.depth() - k);
            std::array<const Real*, 2> next{nullptr, nullptr};
            if (k + depth < segment.depth())
                next = {left.entries + (k + depth) * left_padded, right.entries + (k + depth) * right_padded};
            add_piece<Real>({left.entries + k * left_padded, left_rows},
                            {right.entries + k * right_padded, right_rows}, depth, lower_only, next, to);
        }
    }

    void add_squares(const Segment& segment, PackedTile<Real> left, const Real* right, RowRange rows,
                     double* squares) const override {
        const Index padded = padded_rows(left.form->rows);
        for (Index k = 0; k < segment.depth(); k += arithmetic::product_depth) {
            const Index depth = std::min(arithmetic::product_depth, segment.depth() - k);
            for (Index r = rows.first; r < rows.last; ++r) {
                const Index at = k * padded + r / panel * panel * depth + r % panel;
                for (Index i = 0; i < depth; ++i)
                    squares[r] += static_cast<double>(left.entries[at + i * panel]) *
                                  static_cast<double>(right[at + i * panel]);
            }
        }
    }
};

}  // namespace

Index slice_depth_of(Index width, Index kernel_rows) {
    const Index most = slice_entries / std::max<Index>(1, kernel_rows) / arithmetic::product_depth,
                deep = slice_matrix_rows * width / arithmetic::product_depth;
    return std::max(arithmetic::slice_depth, std::min(deep, most) * arithmetic::product_depth);
}

Index padded_rows(Index rows) { return (rows + panel - 1) / panel * panel; }

template <class Real>
const TileContraction<Real>& multiplied_out() {
    static const MultipliedOut<Real> only;
    return only;
}

template const TileContraction<float>& multiplied_out();
template const TileContraction<double>& multiplied_out();

}  // namespace tangram
