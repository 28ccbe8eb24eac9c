#include <algorithm>

#include "tangram/arithmetic.hpp"
#include "tangram/parallel_for.hpp"
#include "tangram/products.hpp"
#include "tile_contraction.hpp"

namespace tangram {

namespace {

constexpr Index octet = 8;
constexpr Index tile_rows = arithmetic::tile_rows;

/// Adds the products of one table row's gradients in both tiles.
template <class Real>
void add_match(Index columns, PackedTile<Real> left, const MatchingRows& a, PackedTile<Real> right,
               const MatchingRows& b, TileSums to) {
    alignas(64) Real sums[octet * octet];
    for (Index i = 0; i < a.count; i += octet)
        for (Index j = 0; j < b.count; j += octet) {
            products::block_sums<octet, octet, false>(
                left.entries + (a.first_octet * octet + i) * columns, octet,
                right.entries + (b.first_octet * octet + j) * columns, octet, 1, columns, sums);
            const Index* const rows = left.form->matching_rows.data() + a.first + i;
            const Index row_count = std::min(octet, a.count - i);
            for (double* const tile : {to.whole, to.group})
                for (Index c = 0; tile != nullptr && c < std::min(octet, b.count - j); ++c) {
                    const auto right_row = static_cast<std::size_t>(b.first + j + c);
                    double* const column = tile + right.form->matching_rows[right_row] * tile_rows;
                    for (Index r = 0; r < row_count; ++r)
                        column[rows[r]] += static_cast<double>(sums[c * octet + r]);
                }
        }
}

template <class Real>
class MatchedRows final : public TileContraction<Real> {
  public:
    Contraction contraction() const override { return Contraction::matching_rows; }
    Cutting cutting(const Parameter& parameter, Index) const override {
        return {parameter.shape[1], arithmetic::matching_columns, false};
    }
    double pair_flops(const ContractionChoice& choice, Index share, Index length) const override {
        return choice.matching * static_cast<double>(share) / static_cast<double>(length);
    }
    TileForm form(const RowTiles& rows, Index tile, ParameterId parameter) const override {
        TileForm form;
        form.rows = rows.rows(tile);
        std::vector<std::pair<Index, Index>> reached;  // id, row of the tile
        for (Index r = 0; r < form.rows; ++r)
            for (const Index id : rows.table_rows(parameter, rows.example_of(rows.first_row(tile) + r)))
                reached.emplace_back(id, r);
        std::sort(reached.begin(), reached.end());
        for (const auto& [id, row] : reached) {
            if (form.matches.empty() || form.matches.back().id != id)
                form.matches.push_back({id, std::ssize(form.matching_rows), 0, 0});
            ++form.matches.back().count;
            form.matching_rows.push_back(row);
        }
        for (MatchingRows& match : form.matches) {
            match.first_octet = form.octets;
            form.octets += (match.count + octet - 1) / octet;
        }
        return form;
    }
    Index entries(const Segment& segment, const TileForm& form) const override {
        return form.octets * octet * segment.depth();
    }

    void pack(const HeldFactors<Real>& factors, const RowTiles& rows, Index tile, const Segment& segment,
              const TileForm& form, Real* out) const override {
        const Index columns = segment.depth();
        parallel_for(form.octets,
                     [&](Index o) { std::fill_n(out + o * octet * columns, octet * columns, Real(0)); });
        parallel_for(form.rows, [&](Index r) {
            static thread_local std::vector<Real> table_rows;
            const Index row = rows.first_row(tile) + r, example = rows.example_of(row);
            const std::vector<Index> ids = rows.table_rows(segment.parameter, example);
            table_rows.assign(ids.size() * static_cast<std::size_t>(columns), Real(0));
            factors.factors().add_table_rows(segment.parameter, ids, {segment.first, segment.last},
                                             factors.place(example), rows.pass_of(row, segment.component),
                                             table_rows.data());
            auto match = form.matches.begin();
            for (std::size_t i = 0; i < ids.size(); ++i) {
                match = std::lower_bound(match, form.matches.end(), ids[i],
                                         [](const MatchingRows& m, Index id) { return m.id < id; });
                // The rows of a match ascend.
                const auto first = form.matching_rows.begin() + match->first;
                const Index entry = std::lower_bound(first, first + match->count, r) - first;
                const Index place = match->first_octet * octet + entry;
                Real* const to = out + place / octet * octet * columns + place % octet;
                for (Index k = 0; k < columns; ++k)
                    to[k * octet] =
                        table_rows[i * static_cast<std::size_t>(columns) + static_cast<std::size_t>(k)];
            }
        });
    }

    void add_product(const Segment& segment, PackedTile<Real> left, PackedTile<Real> right, bool,
                     TileSums to) const override {
        auto b = right.form->matches.begin();
        const auto end = right.form->matches.end();
        for (const MatchingRows& a : left.form->matches) {
            while (b != end && b->id < a.id) ++b;
            if (b == end) return;
            if (b->id == a.id) add_match(segment.depth(), left, a, right, *b, to);
        }
    }

    void add_squares(const Segment& segment, PackedTile<Real> left, const Real* right, RowRange rows,
                     double* squares) const override {
        for (const MatchingRows& match : left.form->matches)
            for (Index e = 0; e < match.count; ++e) {
                const Index row = left.form->matching_rows[static_cast<std::size_t>(match.first + e)];
                if (row < rows.first || row >= rows.last) continue;
                const Index place = match.first_octet * octet + e;
                const Index at = place / octet * octet * segment.depth() + place % octet;
                double sum = 0;
                for (Index i = 0; i < segment.depth(); ++i)
                    sum += static_cast<double>(left.entries[at + i * octet]) *
                           static_cast<double>(right[at + i * octet]);
                squares[row] += sum;
            }
    }
};

}  // namespace

template <class Real>
const TileContraction<Real>& matching_rows() {
    static const MatchedRows<Real> only;
    return only;
}

template const TileContraction<float>& matching_rows();
template const TileContraction<double>& matching_rows();

}  // namespace tangram
