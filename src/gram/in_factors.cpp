#include <algorithm>

#include "tangram/arithmetic.hpp"
#include "tangram/parallel_for.hpp"
#include "tangram/products.hpp"
#include "tile_contraction.hpp"

namespace tangram {

namespace {

constexpr Index panel = products::panel_rows, columns_at_once = products::block_columns;
constexpr Index tile_rows = arithmetic::tile_rows;

/// Scratch of a product, kept from call to call.
template <class Real>
struct ChunkScratch {
    std::vector<Real> deltas, inputs;       // blocks of panel x columns_at_once
    std::vector<double> products, columns;  // left tokens x right tokens; sums over right tokens
};

/// The packed tokens of some rows of a tile.
template <class Real>
struct PackedChunk {
    const Real* entries;
    const TokenChunk* rows;
    const std::vector<Index>* row_tokens;  ///< of the tile

    Index tokens_of(Index row) const { return (*row_tokens)[static_cast<std::size_t>(row)]; }
};

Index groups_of_columns(Index tokens) { return (tokens + columns_at_once - 1) / columns_at_once; }

/// Scalar products of entries [first, last) of every token row of two chunks: [panel of left][group of right
/// columns][block of left].
template <class Real>
void token_products(const PackedChunk<Real>& left, const PackedChunk<Real>& right, Index stride,
                    RowRange entries, std::vector<Real>& sums) {
    constexpr Index rows = products::block_rows<Real>;
    const Index panels = padded_rows(left.rows->tokens) / panel,
                groups = groups_of_columns(right.rows->tokens);
    sums.assign(static_cast<std::size_t>(panels * groups * panel * columns_at_once), Real(0));
    for (Index k = entries.first; k < entries.last; k += arithmetic::product_depth)
        for (Index i = 0; i < panels; ++i)
            for (Index g = 0; g < groups; ++g) {
                const Index j = g * columns_at_once;
                for (Index r = 0; r < panel; r += rows)
                    products::block_sums<rows, columns_at_once, true>(
                        left.entries + (i * stride + k) * panel + r, panel,
                        right.entries + (j / panel * stride + k) * panel + j % panel, panel, 1,
                        std::min(arithmetic::product_depth, entries.last - k),
                        sums.data() + ((i * groups + g) * panel + r) * columns_at_once);
            }
}

/// scratch.products = the products of the deltas' and the inputs' scalar products, column-major in float64.
template <class Real>
void multiply_sums(Index left_padded, Index groups, ChunkScratch<Real>& scratch) {
    constexpr Index rows = products::block_rows<Real>;
    scratch.products.resize(static_cast<std::size_t>(left_padded * groups * columns_at_once));
    for (Index i = 0; i < left_padded / panel; ++i)
        for (Index j = 0; j < groups * columns_at_once; ++j) {
            double* const out = scratch.products.data() + j * left_padded + i * panel;
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
}

/// Half the sum over t, then t', plus half the sum over t', then t: the same bits for (i, j) as for (j, i).
template <class Real>
void add_pair_sums(const PackedChunk<Real>& a, const PackedChunk<Real>& b, ChunkScratch<Real>& scratch,
                   TileSums to) {
    const Index left_padded = padded_rows(a.rows->tokens);
    std::vector<double>& columns = scratch.columns;
    columns.resize(static_cast<std::size_t>(left_padded));
    Index token = 0;
    for (Index c = b.rows->first_row; c < b.rows->last_row; ++c) {
        const Index right_tokens = b.tokens_of(c);
        const double* const first = scratch.products.data() + token * left_padded;
        token += right_tokens;
        std::copy_n(first, left_padded, columns.begin());
        for (Index t = 1; t < right_tokens; ++t)
            for (Index k = 0; k < left_padded; ++k)
                columns[static_cast<std::size_t>(k)] += first[t * left_padded + k];
        Index start = 0;
        for (Index r = a.rows->first_row; r < a.rows->last_row; ++r) {
            const Index left_tokens = a.tokens_of(r);
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
class InFactors final : public TileContraction<Real> {
  public:
    Contraction contraction() const override { return Contraction::factors; }
    Cutting cutting(const Parameter& parameter, Index) const override {
        return {parameter.size(), parameter.size(), false};
    }
    double pair_flops(const ContractionChoice& choice, Index share, Index length) const override {
        return choice.in_factors * static_cast<double>(share) / static_cast<double>(length);
    }
    TileForm form(const RowTiles& rows, Index tile, ParameterId parameter) const override {
        TileForm form;
        form.rows = rows.rows(tile);
        for (Index r = 0; r < form.rows; ++r) {
            const Index tokens = rows.token_rows(parameter, rows.first_row(tile) + r);
            form.row_tokens.push_back(tokens);
            // Two blocks of products of 128 x 128 stay in the cache.
            if (form.chunks.empty() || form.chunks.back().tokens + tokens > chunk_tokens)
                form.chunks.push_back({r, r, 0});
            form.chunks.back().last_row = r + 1;
            form.chunks.back().tokens += tokens;
        }
        return form;
    }
    Index entries(const Segment& segment, const TileForm& form) const override {
        Index tokens = 0;
        for (const TokenChunk& chunk : form.chunks) tokens += padded_rows(chunk.tokens);
        return tokens * stride(segment);
    }

    void pack(const HeldFactors<Real>& factors, const RowTiles& rows, Index tile, const Segment& segment,
              const TileForm& form, Real* out) const override {
        std::vector<Real*> places;
        for (const TokenChunk& chunk : form.chunks) {
            places.push_back(out);
            out += padded_rows(chunk.tokens) * stride(segment);
        }
        parallel_for(std::ssize(form.chunks), [&](Index i) {
            const TokenChunk& chunk = form.chunks[static_cast<std::size_t>(i)];
            Real* const to = places[static_cast<std::size_t>(i)];
            std::fill_n(to, padded_rows(chunk.tokens) * stride(segment), Real(0));
            if (segment.vocabulary)
                pack_vocabulary(factors, rows, tile, segment, chunk, form, to);
            else
                pack_rows(factors, rows, tile, segment, chunk, form, to);
        });
    }

    void add_product(const Segment& segment, PackedTile<Real> left, PackedTile<Real> right, bool lower_only,
                     TileSums to) const override {
        static thread_local ChunkScratch<Real> scratch;
        const RowRange deltas{0, segment.delta_width}, inputs{segment.delta_width, stride(segment)};
        PackedChunk<Real> a{left.entries, nullptr, &left.form->row_tokens};
        for (const TokenChunk& left_rows : left.form->chunks) {
            a.rows = &left_rows;
            PackedChunk<Real> b{right.entries, nullptr, &right.form->row_tokens};
            for (const TokenChunk& right_rows : right.form->chunks) {
                b.rows = &right_rows;
                if (!(lower_only && left_rows.last_row <= right_rows.first_row)) {
                    token_products(a, b, stride(segment), deltas, scratch.deltas);
                    token_products(a, b, stride(segment), inputs, scratch.inputs);
                    multiply_sums(padded_rows(left_rows.tokens), groups_of_columns(right_rows.tokens),
                                  scratch);
                    add_pair_sums(a, b, scratch, to);
                }
                b.entries += padded_rows(right_rows.tokens) * stride(segment);
            }
            a.entries += padded_rows(left_rows.tokens) * stride(segment);
        }
    }

    void add_squares(const Segment& segment, PackedTile<Real> left, const Real* right, RowRange rows,
                     double* squares) const override {
        const Real* left_at = left.entries;
        for (const TokenChunk& chunk : left.form->chunks) {
            Index start = 0;
            for (Index row = chunk.first_row; row < chunk.last_row; ++row) {
                const Index tokens = left.form->row_tokens[static_cast<std::size_t>(row)];
                const auto product = [&](Index s, Index t, Index first, Index last) {
                    const Real* const a = left_at + s / panel * panel * stride(segment) + s % panel;
                    const Real* const b = right + t / panel * panel * stride(segment) + t % panel;
                    double sum = 0;
                    for (Index k = first; k < last; ++k)
                        sum += static_cast<double>(a[k * panel]) * static_cast<double>(b[k * panel]);
                    return sum;
                };
                for (Index s = start; row >= rows.first && row < rows.last && s < start + tokens; ++s)
                    for (Index t = start; t < start + tokens; ++t)
                        squares[row] += product(s, t, 0, segment.delta_width) *
                                        product(s, t, segment.delta_width, stride(segment));
                start += tokens;
            }
            left_at += padded_rows(chunk.tokens) * stride(segment);
            right += padded_rows(chunk.tokens) * stride(segment);
        }
    }

  private:
    /// Puts the t-th token's delta and input into a packed chunk.
    static void put(const Segment& segment, Index token, const Real* delta, const Real* input, Real* chunk) {
        Real* const to = chunk + token / panel * panel * stride(segment) + token % panel;
        for (Index k = 0; k < segment.delta_width; ++k) to[k * panel] = delta[k];
        for (Index k = 0; k < segment.input_width; ++k) to[(segment.delta_width + k) * panel] = input[k];
    }
    /// Rows of the chunk, each with as many tokens as the form says: those that a component lacks stay zero.
    static void pack_rows(const HeldFactors<Real>& factors, const RowTiles& rows, Index tile,
                          const Segment& segment, const TokenChunk& chunk, const TileForm& form, Real* to) {
        Index token = 0;
        for (Index r = chunk.first_row; r < chunk.last_row; ++r) {
            const Index row = rows.first_row(tile) + r;
            const auto outer = factors.factors().outer_rows(
                segment.parameter, factors.place(rows.example_of(row)), rows.pass_of(row, segment.component));
            for (Index t = 0; t < outer.count; ++t)
                put(segment, token + t, outer.delta + t * segment.delta_width,
                    outer.input + t * segment.input_width, to);
            token += form.row_tokens[static_cast<std::size_t>(r)];
        }
    }
    /// The same of some rows of a table over the vocabulary, whose deltas are computed here for all tokens of
    /// the chunk at once.
    static void pack_vocabulary(const HeldFactors<Real>& factors, const RowTiles& rows, Index tile,
                                const Segment& segment, const TokenChunk& chunk, const TileForm& form,
                                Real* to) {
        static thread_local TokenPredictions<Real> predictions;
        static thread_local std::vector<Real> deltas;
        std::vector<Index> places;
        predictions.clear();
        Index token = 0;
        for (Index r = chunk.first_row; r < chunk.last_row; ++r) {
            const Index row = rows.first_row(tile) + r, before = predictions.rows();
            factors.factors().add_predictions(segment.parameter, factors.place(rows.example_of(row)),
                                              rows.pass_of(row, segment.component), predictions);
            for (Index t = 0; t < predictions.rows() - before; ++t) places.push_back(token + t);
            token += form.row_tokens[static_cast<std::size_t>(r)];
        }
        deltas.resize(static_cast<std::size_t>(predictions.rows() * segment.delta_width));
        factors.factors().vocabulary_deltas(segment.parameter, predictions, {segment.first, segment.last},
                                            deltas.data());
        for (Index t = 0; t < predictions.rows(); ++t)
            put(segment, places[static_cast<std::size_t>(t)], deltas.data() + t * segment.delta_width,
                predictions.features.data() + t * segment.input_width, to);
    }
    static Index stride(const Segment& segment) { return segment.delta_width + segment.input_width; }
};

}  // namespace

template <class Real>
const TileContraction<Real>& in_factors() {
    static const InFactors<Real> only;
    return only;
}

template const TileContraction<float>& in_factors();
template const TileContraction<double>& in_factors();

}  // namespace tangram
