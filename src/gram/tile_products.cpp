#include "tile_products.hpp"

#include <algorithm>

#include "tangram/products.hpp"

namespace tangram {

namespace {

constexpr Index panel = products::panel_rows, columns_at_once = products::block_columns;
constexpr Index tile_rows = arithmetic::tile_rows;

/// Adds the product of two pieces of at most product_depth parameters. Meanwhile the pieces that come next
/// are fetched into the second-level cache.
template <class Real>
void add_piece(const Real* left, Index left_rows, const Real* right, Index right_rows, Index depth,
               bool lower_only, const Real* next_left, const Real* next_right, TileSums to) {
    constexpr Index rows = products::block_rows<Real>;
    alignas(64) Real sums[rows * columns_at_once];
    const Index fetched = depth * 8;  // bytes that one block's pass fetches, until both pieces are there
    const auto bytes = [&](Index of) { return padded_rows(of) * depth * static_cast<Index>(sizeof(Real)); };
    const Index left_bytes = bytes(left_rows), both = left_bytes + bytes(right_rows);
    Index next = 0;
    for (Index i = 0; i < left_rows; i += rows)
        for (Index j = 0; j < right_rows; j += columns_at_once) {
            if (lower_only && i + rows <= j) continue;
            const char* ahead = nullptr;
            if (next_left != nullptr && next < both) {
                ahead = next < left_bytes ? reinterpret_cast<const char*>(next_left) + next
                                          : reinterpret_cast<const char*>(next_right) + (next - left_bytes);
                next += fetched;
            }
            products::block_sums<rows, columns_at_once, false>(
                left + i / panel * panel * depth + i % panel, panel,
                right + j / panel * panel * depth + j % panel, panel, 1, depth, sums, ahead);
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

/// Scratch of a product in factors, kept from call to call.
template <class Real>
struct ChunkScratch {
    std::vector<Real> deltas, inputs;       // blocks of panel x columns_at_once
    std::vector<double> products, columns;  // left tokens x right tokens; sums over right tokens
};

/// Scalar products of every token row of two chunks: [panel of left][group of right columns][block of left].
template <class Real>
void token_products(const Real* left, Index left_panels, const Real* right, Index right_tokens, Index stride,
                    Index depth, std::vector<Real>& sums) {
    constexpr Index rows = products::block_rows<Real>;
    const Index groups = (right_tokens + columns_at_once - 1) / columns_at_once;
    sums.assign(static_cast<std::size_t>(left_panels * groups * panel * columns_at_once), Real(0));
    for (Index k = 0; k < depth; k += arithmetic::product_depth)
        for (Index i = 0; i < left_panels; ++i)
            for (Index g = 0; g < groups; ++g) {
                const Index j = g * columns_at_once;
                for (Index r = 0; r < panel; r += rows)
                    products::block_sums<rows, columns_at_once, true>(
                        left + (i * stride + k) * panel + r, panel,
                        right + (j / panel * stride + k) * panel + j % panel, panel, 1,
                        std::min(arithmetic::product_depth, depth - k),
                        sums.data() + ((i * groups + g) * panel + r) * columns_at_once);
            }
}

/// Half the sum over t, then t', plus half the sum over t', then t: the same bits for (i, j) as for (j, i).
void add_pair_sums(const TileForm& left, const TokenChunk& a, const TileForm& right, const TokenChunk& b,
                   const std::vector<double>& products, Index left_padded, std::vector<double>& columns,
                   TileSums to) {
    columns.resize(static_cast<std::size_t>(left_padded));
    Index token = 0;
    for (Index c = b.first_row; c < b.last_row; ++c) {
        const Index right_tokens = right.row_tokens[static_cast<std::size_t>(c)];
        const double* const first = products.data() + token * left_padded;
        token += right_tokens;
        std::copy_n(first, left_padded, columns.begin());
        for (Index t = 1; t < right_tokens; ++t)
            for (Index k = 0; k < left_padded; ++k)
                columns[static_cast<std::size_t>(k)] += first[t * left_padded + k];
        Index start = 0;
        for (Index r = a.first_row; r < a.last_row; ++r) {
            const Index left_tokens = left.row_tokens[static_cast<std::size_t>(r)];
            double by_left = columns[static_cast<std::size_t>(start)], by_right = 0;
            for (Index k = 1; k < left_tokens; ++k) by_left += columns[static_cast<std::size_t>(start + k)];
            for (Index t = 0; t < right_tokens; ++t) {
                const double* const column = first + t * left_padded + start;
                double sum = column[0];
                for (Index k = 1; k < left_tokens; ++k) sum += column[k];
                by_right = t == 0 ? sum : by_right + sum;
            }
            for (double* const tile : {to.whole, to.group})
                if (tile != nullptr) tile[r + c * tile_rows] += 0.5 * (by_left + by_right);
            start += left_tokens;
        }
    }
}

template <class Real>
void add_in_factors(const std::vector<Index>& shape, const Real* left, const TileForm& left_form,
                    const Real* right, const TileForm& right_form, bool lower_only, TileSums to) {
    static thread_local ChunkScratch<Real> scratch;
    const Index stride = shape[0] + shape[1];
    const Real* a_at = left;
    for (const TokenChunk& a : left_form.chunks) {
        const Index a_padded = padded_rows(a.tokens), a_panels = a_padded / panel;
        const Real* b_at = right;
        for (const TokenChunk& b : right_form.chunks) {
            if (!(lower_only && a.last_row <= b.first_row)) {
                token_products(a_at, a_panels, b_at, b.tokens, stride, shape[0], scratch.deltas);
                token_products(a_at + shape[0] * panel, a_panels, b_at + shape[0] * panel, b.tokens, stride,
                               shape[1], scratch.inputs);
                const Index groups = (b.tokens + columns_at_once - 1) / columns_at_once;
                scratch.products.resize(static_cast<std::size_t>(a_padded * groups * columns_at_once));
                for (Index i = 0; i < a_panels; ++i)
                    for (Index j = 0; j < groups * columns_at_once; ++j) {
                        constexpr Index rows = products::block_rows<Real>;
                        double* const out = scratch.products.data() + j * a_padded + i * panel;
                        for (Index first = 0; first < panel; first += rows) {
                            const auto block = static_cast<std::size_t>(
                                ((i * groups + j / columns_at_once) * panel + first) * columns_at_once +
                                j % columns_at_once * rows);
                            for (Index r = 0; r < rows; ++r)
                                out[first + r] =
                                    static_cast<double>(scratch.deltas[block + static_cast<std::size_t>(r)]) *
                                    static_cast<double>(scratch.inputs[block + static_cast<std::size_t>(r)]);
                        }
                    }
                add_pair_sums(left_form, a, right_form, b, scratch.products, a_padded, scratch.columns, to);
            }
            b_at += padded_rows(b.tokens) * stride;
        }
        a_at += a_padded * stride;
    }
}

constexpr Index octet = 8;

template <class Real>
void add_matching(Index columns, const Real* left, const TileForm& left_form, const Real* right,
                  const TileForm& right_form, TileSums to) {
    alignas(64) Real sums[octet * octet];
    auto b = right_form.matches.begin();
    for (const MatchingRows& a : left_form.matches) {
        while (b != right_form.matches.end() && b->id < a.id) ++b;
        if (b == right_form.matches.end()) return;
        if (b->id != a.id) continue;
        for (Index i = 0; i < a.count; i += octet)
            for (Index j = 0; j < b->count; j += octet) {
                products::block_sums<octet, octet, false>(left + (a.first_octet * octet + i) * columns, octet,
                                                          right + (b->first_octet * octet + j) * columns,
                                                          octet, 1, columns, sums);
                const Index* const rows = left_form.matching_rows.data() + a.first + i;
                const Index row_count = std::min(octet, a.count - i);
                for (double* const tile : {to.whole, to.group})
                    for (Index c = 0; tile != nullptr && c < std::min(octet, b->count - j); ++c) {
                        const auto right_row = static_cast<std::size_t>(b->first + j + c);
                        double* const column = tile + right_form.matching_rows[right_row] * tile_rows;
                        for (Index r = 0; r < row_count; ++r)
                            column[rows[r]] += static_cast<double>(sums[c * octet + r]);
                    }
            }
    }
}

}  // namespace

Index padded_rows(Index rows) { return (rows + panel - 1) / panel * panel; }

template <class Real>
void add_tile_product(Contraction contraction, const Segment& segment, const std::vector<Index>& shape,
                      const Real* left, const TileForm& left_form, const Real* right,
                      const TileForm& right_form, bool lower_only, TileSums to) {
    switch (contraction) {
        case Contraction::multiply_out:
        case Contraction::sketched: {
            const Index left_padded = padded_rows(left_form.rows),
                        right_padded = padded_rows(right_form.rows);
            for (Index k = 0; k < segment.depth(); k += arithmetic::product_depth) {
                const Index depth = std::min(arithmetic::product_depth, segment.depth() - k);
                const bool more = k + depth < segment.depth();
                add_piece(left + k * left_padded, left_form.rows, right + k * right_padded, right_form.rows,
                          depth, lower_only, more ? left + (k + depth) * left_padded : nullptr,
                          more ? right + (k + depth) * right_padded : nullptr, to);
            }
            return;
        }
        case Contraction::factors:
            add_in_factors(shape, left, left_form, right, right_form, lower_only, to);
            return;
        case Contraction::matching_rows:
            add_matching(segment.depth(), left, left_form, right, right_form, to);
            return;
    }
}

template <class Real>
void add_squares(Contraction contraction, const Segment& segment, const std::vector<Index>& shape,
                 const Real* left, const Real* right, const TileForm& form, double* squares) {
    switch (contraction) {
        case Contraction::multiply_out:
        case Contraction::sketched: {
            const Index padded = padded_rows(form.rows);
            for (Index k = 0; k < segment.depth(); k += arithmetic::product_depth) {
                const Index depth = std::min(arithmetic::product_depth, segment.depth() - k);
                for (Index r = 0; r < form.rows; ++r) {
                    const Index at = k * padded + r / panel * panel * depth + r % panel;
                    for (Index i = 0; i < depth; ++i)
                        squares[r] += static_cast<double>(left[at + i * panel]) *
                                      static_cast<double>(right[at + i * panel]);
                }
            }
            return;
        }
        case Contraction::factors: {
            const Index stride = shape[0] + shape[1];
            for (const TokenChunk& chunk : form.chunks) {
                Index start = 0;
                for (Index row = chunk.first_row; row < chunk.last_row; ++row) {
                    const Index tokens = form.row_tokens[static_cast<std::size_t>(row)];
                    const auto product = [&](Index s, Index t, Index first, Index last) {
                        const Real* const a = left + s / panel * panel * stride + s % panel;
                        const Real* const b = right + t / panel * panel * stride + t % panel;
                        double sum = 0;
                        for (Index k = first; k < last; ++k)
                            sum += static_cast<double>(a[k * panel]) * static_cast<double>(b[k * panel]);
                        return sum;
                    };
                    for (Index s = start; s < start + tokens; ++s)
                        for (Index t = start; t < start + tokens; ++t)
                            squares[row] += product(s, t, 0, shape[0]) * product(s, t, shape[0], stride);
                    start += tokens;
                }
                left += padded_rows(chunk.tokens) * stride;
                right += padded_rows(chunk.tokens) * stride;
            }
            return;
        }
        case Contraction::matching_rows:
            for (const MatchingRows& match : form.matches)
                for (Index e = 0; e < match.count; ++e) {
                    const Index place = match.first_octet * octet + e;
                    const Index at = place / octet * octet * segment.depth() + place % octet;
                    double sum = 0;
                    for (Index i = 0; i < segment.depth(); ++i)
                        sum += static_cast<double>(left[at + i * octet]) *
                               static_cast<double>(right[at + i * octet]);
                    squares[form.matching_rows[static_cast<std::size_t>(match.first + e)]] += sum;
                }
            return;
    }
}

template void add_tile_product(Contraction, const Segment&, const std::vector<Index>&, const float*,
                               const TileForm&, const float*, const TileForm&, bool, TileSums);
template void add_tile_product(Contraction, const Segment&, const std::vector<Index>&, const double*,
                               const TileForm&, const double*, const TileForm&, bool, TileSums);
template void add_squares(Contraction, const Segment&, const std::vector<Index>&, const float*, const float*,
                          const TileForm&, double*);
template void add_squares(Contraction, const Segment&, const std::vector<Index>&, const double*,
                          const double*, const TileForm&, double*);

}  // namespace tangram
