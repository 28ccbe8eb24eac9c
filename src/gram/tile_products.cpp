#include "tile_products.hpp"

#include <omp.h>

#include <algorithm>
#include <map>
#include <set>

#include "tangram/arithmetic.hpp"
#include "tangram/gram/product_back_end.hpp"
#include "tangram/parallel_for.hpp"
#include "tangram/products.hpp"

namespace tangram {

namespace {

constexpr Index tile_stride = arithmetic::tile_rows;  // columns of a tile in the cache

/// Where tile (I, J) begins in this rank's part of the matrix.
double* corner_of(DistributedMatrix& matrix, Index I, Index J) {
    return matrix.data() + matrix.row_layout().to_local(I * matrix.block()) +
           matrix.column_layout().to_local(J * matrix.block()) * matrix.lld();
}

/// A tile of a distributed matrix, copied into one that stays in the cache; store() puts it back.
class CachedTile {
  public:
    double* load(DistributedMatrix& matrix, Index I, Index J) {
        matrix_ = &matrix;
        const Index block = matrix.block();
        rows_ = std::min(block, matrix.rows() - I * block);
        columns_ = std::min(block, matrix.columns() - J * block);
        corner_ = corner_of(matrix, I, J);
        entries_.resize(static_cast<std::size_t>(tile_stride * tile_stride));
        for (Index c = 0; c < columns_; ++c)
            std::copy_n(corner_ + c * matrix.lld(), rows_, entries_.data() + c * tile_stride);
        return entries_.data();
    }
    void store() const {
        for (Index c = 0; c < columns_; ++c)
            std::copy_n(entries_.data() + c * tile_stride, rows_, corner_ + c * matrix_->lld());
    }

  private:
    DistributedMatrix* matrix_ = nullptr;
    double* corner_ = nullptr;
    Index rows_ = 0, columns_ = 0;
    std::vector<double> entries_;
};

/// Products that a back end is asked for: their packed tiles, each once, and where their sums stand.
template <class Real>
class AskedProducts {
  public:
    AskedProducts(const Slice& slice, const PackedSlice<Real>& packed) : slice_(&slice), packed_(&packed) {}
    /// Left tiles I of a set times right tiles J of the training set.
    template <class Places>
    void add(DistributedMatrix& matrix, std::size_t pieces, const Places& places, std::size_t left_set,
             bool diagonals) {
        for (const auto& [I, J] : places) {
            const bool diagonal = left_set == 0 && I == J;
            products_.push_back({place_of(left_set, I), place_of(0, J), pieces, corner_of(matrix, I, J),
                                 matrix.lld(), diagonal && slice_->copies() == 1, diagonal && diagonals});
            row_tiles_.push_back(I);
        }
    }
    const std::vector<TileProduct>& products() const { return products_; }
    const std::vector<Index>& row_tiles() const { return row_tiles_; }  ///< of each product
    std::vector<PackedRows<Real>> rows() const {
        std::vector<PackedRows<Real>> tiles;
        for (const PackedTile<Real>& of : tiles_)
            tiles.push_back({entries(of), of.form->rows, padded_rows(of.form->rows)});
        return tiles;
    }
    std::vector<PackedTokens<Real>> tokens() const {
        std::vector<PackedTokens<Real>> tiles;
        for (const PackedTile<Real>& of : tiles_)
            tiles.push_back({entries(of), of.form->rows, of.form->row_tokens, of.form->chunks});
        return tiles;
    }

    std::vector<PackedMatches<Real>> matches() const {
        std::vector<PackedMatches<Real>> tiles;
        for (const PackedTile<Real>& of : tiles_)
            tiles.push_back({entries(of), of.form->rows, of.form->matches, of.form->matching_rows});
        return tiles;
    }

  private:
    std::size_t place_of(std::size_t set, Index tile) {
        const auto [known, is_new] = places_.try_emplace({set, tile}, tiles_.size());
        if (is_new) tiles_.push_back(packed_->tile(set, tile));
        return known->second;
    }
    std::span<const Real> entries(PackedTile<Real> of) const {
        const Index count = tile_contraction<Real>(slice_->contraction).entries(*slice_, *of.form);
        return {of.entries, static_cast<std::size_t>(count)};
    }

    const Slice* slice_;
    const PackedSlice<Real>* packed_;
    std::map<std::pair<std::size_t, Index>, std::size_t> places_;
    std::vector<PackedTile<Real>> tiles_;
    std::vector<TileProduct> products_;
    std::vector<Index> row_tiles_;
};

/// The pieces of those segments of a slice that `counts` says yes to, in order. Of an asymmetric kernel the
/// signs on the right, which stand behind the plain entries.
template <class Counts>
std::vector<ProductPiece> pieces_of(const Slice& slice, Counts counts) {
    std::vector<ProductPiece> pieces;
    Index before = 0;
    for (const Segment& segment : slice.segments) {
        const Index signs = (slice.copies() - 1) * segment.depth();
        for (Index k = 0; counts(segment) && k < segment.depth(); k += arithmetic::product_depth) {
            const Index depth = std::min(arithmetic::product_depth, segment.depth() - k);
            pieces.push_back({before + k, before + signs + k, depth,
                              segment.ends_parameter && k + depth == segment.depth()});
        }
        before += slice.copies() * segment.depth();
    }
    return pieces;
}

}  // namespace

template <class Real>
TileProducts<Real>::TileProducts(const KernelProblem& problem, KernelMatrices& matrices,
                                 std::span<const KernelRows<Real>> sets, int rank)
    : problem_(&problem), matrices_(&matrices), sets_(sets), rank_(rank) {
    const ProcessGrid& grid = matrices.grid();
    const RowTiles& train = sets[0].tiles;
    for (Index J = grid.column(); J < train.tiles(); J += grid.columns()) {
        for (Index I = grid.row(); I < train.tiles(); I += grid.rows()) {
            if (I != J && matrices.knows(I) && matrices.knows(J)) continue;
            const auto pairs = static_cast<double>(train.rows(I) * train.rows(J));
            all_.places.push_back({I, J});
            all_.pairs += pairs;
            if (!is_computed(I, J, train.tiles())) continue;
            half_.places.push_back({I, J});
            half_.pairs += I == J ? (pairs + static_cast<double>(train.rows(I))) / 2 : pairs;
        }
        if (sets.size() < 2 || matrices.knows(J)) continue;
        for (Index I = grid.row(); I < sets[1].tiles.tiles(); I += grid.rows()) {
            cross_.places.push_back({I, J});
            cross_.pairs += static_cast<double>(sets[1].tiles.rows(I) * train.rows(J));
        }
    }
}

template <class Real>
void TileProducts<Real>::keep_own_sums() {
    const ProcessGrid& grid = matrices_->grid();
    const Index tiles = sets_[0].tiles.tiles();
    for (FormulaMatrices& of : matrices_->formulas) {
        for (std::size_t i = 0; i < of.tile_traces.size(); ++i) {
            const Index tile = static_cast<Index>(i) % tiles;
            if (tile % grid.rows() != grid.row() || tile % grid.columns() != grid.column())
                of.tile_traces[i] = 0.0;
        }
        for (Index row = 0; row < std::ssize(of.test_diagonal); ++row)
            if (sets_[1].tiles.owner(sets_[1].tiles.tile_of(row)) != rank_)
                of.test_diagonal[static_cast<std::size_t>(row)] = 0.0;
    }
}

template <class Real>
double TileProducts<Real>::flops(const Slice& slice) const {
    return slice.pair_flops * ((is_symmetric(slice) ? half_ : all_).pairs + cross_.pairs);
}

template <class Real>
void TileProducts<Real>::let_back_end_take(const std::function<bool(Contraction)>& takes) {
    back_end_takes_factors_ = takes(Contraction::factors);
    back_end_takes_matches_ = takes(Contraction::matching_rows);
}

template <class Real>
bool TileProducts<Real>::is_on_back_end(Contraction contraction) const {
    if (problem_->back_end == nullptr) return false;
    switch (contraction) {
        case Contraction::factors:
            return back_end_takes_factors_;
        case Contraction::matching_rows:
            return back_end_takes_matches_;
        default:
            return true;
    }
}

template <class Real>
void TileProducts<Real>::add(const Slice& slice, const PackedSlice<Real>& packed,
                             const std::function<void()>& between) {
    if (is_on_back_end(slice.contraction)) {
        if (is_multiplied_out(slice.contraction))
            add_on_back_end(slice, packed, between);
        else
            add_segment_on_back_end(slice, packed, between);
    } else {
        add_tiles(slice, packed, 0, is_symmetric(slice) ? half_ : all_, between);
        if (sets_.size() > 1) add_tiles(slice, packed, 1, cross_, between);
    }
    if (sets_.size() > 1) add_squares(slice, packed);
}

template <class Real>
void TileProducts<Real>::add_tiles(const Slice& slice, const PackedSlice<Real>& packed, std::size_t left_set,
                                   const Tiles& tiles, const std::function<void()>& between) {
    for (const std::vector<Share>& shares : parts_of(slice))
        parallel_for(std::ssize(tiles.places), [&](Index i) {
            add_tile(slice, shares, packed, left_set, tiles.places[static_cast<std::size_t>(i)]);
            if (omp_get_thread_num() == 0) between();
        });
}

/// Of a deep slice as many parameters at once as stay in the cache while all tiles take them.
template <class Real>
std::vector<std::vector<typename TileProducts<Real>::Share>> TileProducts<Real>::parts_of(
    const Slice& slice) {
    const bool cut = is_multiplied_out(slice.contraction);
    std::vector<std::vector<Share>> parts(1);
    Index room = arithmetic::slice_depth;
    for (std::size_t s = 0; s < slice.segments.size(); ++s) {
        const Index depth = slice.segments[s].depth(), most = cut ? arithmetic::slice_depth : depth;
        for (Index first = 0; first < depth; first += most) {
            const Index last = std::min(depth, first + most);
            if (cut && room < last - first) {
                parts.emplace_back();
                room = arithmetic::slice_depth;
            }
            parts.back().push_back({s, first, last});
            room -= last - first;
        }
    }
    return parts;
}

template <class Real>
void TileProducts<Real>::keep_what_is_stored() {
    if (matrices_->stored) return;
    KernelMatrices::Stored stored{matrices_->units_done, {}};
    for (const FormulaMatrices& formula : matrices_->formulas)
        stored.test_diagonals.push_back(formula.test_diagonal);
    matrices_->stored.emplace(std::move(stored));
}

/// The matrix of each group, whose sums are other ones, takes its segments once more.
template <class Real>
void TileProducts<Real>::add_on_back_end(const Slice& slice, const PackedSlice<Real>& packed,
                                         const std::function<void()>& between) {
    FormulaMatrices& of = matrices_->formulas[slice.place];
    keep_what_is_stored();
    AskedProducts<Real> asked(slice, packed);
    std::vector<std::vector<ProductPiece>> pieces{pieces_of(slice, [](const Segment&) { return true; })};
    const Tiles& own = is_symmetric(slice) ? half_ : all_;
    const bool ends = std::ranges::any_of(slice.segments, &Segment::ends_parameter);
    asked.add(of.gram, 0, own.places, 0, ends);
    if (sets_.size() > 1) asked.add(*of.cross, 0, cross_.places, 1, false);
    std::set<std::size_t> groups;
    for (const Segment& segment : slice.segments)
        if (!of.groups.empty()) groups.insert(problem_->group_of[segment.selected]);
    for (const std::size_t group : groups) {
        pieces.push_back(pieces_of(
            slice, [&](const Segment& of_slice) { return problem_->group_of[of_slice.selected] == group; }));
        asked.add(of.groups[group], pieces.size() - 1, own.places, 0, false);
    }
    // They come behind this call: by then the slice is another one.
    const auto put_traces = [this, slice, tiles = asked.row_tiles()](std::size_t product,
                                                                     const double* diagonal) {
        const Index tile = tiles[product];
        for (const Segment& segment : slice.segments) {
            if (!segment.ends_parameter) continue;
            set_trace(slice, segment.selected, tile, diagonal, 1);
            diagonal += sets_[0].tiles.rows(tile);
        }
    };
    problem_->back_end->add(
        SliceProducts<Real>{products::panel_rows, pieces, asked.rows(), asked.products(), put_traces},
        between);
}

/// In factors, or of matching rows: a slice has one segment.
template <class Real>
void TileProducts<Real>::add_segment_on_back_end(const Slice& slice, const PackedSlice<Real>& packed,
                                                 const std::function<void()>& between) {
    FormulaMatrices& of = matrices_->formulas[slice.place];
    keep_what_is_stored();
    const Segment& segment = slice.segments.front();
    const Tiles& own = is_symmetric(slice) ? half_ : all_;
    AskedProducts<Real> asked(slice, packed);
    asked.add(of.gram, 0, own.places, 0, segment.ends_parameter);
    if (sets_.size() > 1) asked.add(*of.cross, 0, cross_.places, 1, false);
    if (!of.groups.empty())
        asked.add(of.groups[problem_->group_of[segment.selected]], 0, own.places, 0, false);
    const auto put_traces = [this, slice, selected = segment.selected, tiles = asked.row_tiles()](
                                std::size_t product, const double* diagonal) {
        set_trace(slice, selected, tiles[product], diagonal, 1);
    };
    if (slice.contraction == Contraction::factors)
        problem_->back_end->add(
            FactorProducts<Real>{products::panel_rows, segment.delta_width, segment.input_width,
                                 segment.ends_parameter, asked.tokens(), asked.products(), put_traces},
            between);
    else
        problem_->back_end->add(MatchProducts<Real>{slice.copies(), segment.depth(), segment.ends_parameter,
                                                    asked.matches(), asked.products(), put_traces},
                                between);
}

/// All shares at once, while the tile is in the cache; where groups are kept apart, the same for the matrix
/// of each segment's group.
template <class Real>
void TileProducts<Real>::add_tile(const Slice& slice, const std::vector<Share>& shares,
                                  const PackedSlice<Real>& packed, std::size_t left_set, TilePlace at) {
    static thread_local CachedTile whole, part;
    FormulaMatrices& of = matrices_->formulas[slice.place];
    const bool diagonal = left_set == 0 && at.row == at.column, groups = left_set == 0 && !of.groups.empty();
    const TileContraction<Real>& contraction = tile_contraction<Real>(slice.contraction);
    const PackedTile<Real> left = packed.tile(left_set, at.row), right = packed.tile(0, at.column);
    TileSums sums{whole.load(left_set == 0 ? of.gram : *of.cross, at.row, at.column)};
    const auto group_of = [&](const Share& share) {
        return problem_->group_of[slice.segments[share.segment].selected];
    };
    // Of an asymmetric kernel the signs stand behind a segment's plain entries.
    const auto entries_of = [&](PackedTile<Real> tile, const Share& share, Index copy) {
        for (std::size_t s = 0; s < share.segment; ++s)
            tile.entries += slice.copies() * contraction.entries(slice.segments[s], *tile.form);
        Segment before = slice.segments[share.segment];
        tile.entries += copy * contraction.entries(before, *tile.form);
        before.last = before.first + share.first;
        if (share.first > 0) tile.entries += contraction.entries(before, *tile.form);
        return tile;
    };
    for (std::size_t i = 0; i < shares.size(); ++i) {
        Segment segment = slice.segments[shares[i].segment];
        const bool ends = segment.ends_parameter && shares[i].last == segment.depth();
        segment.last = segment.first + shares[i].last;
        segment.first += shares[i].first;
        if (groups && (i == 0 || group_of(shares[i]) != group_of(shares[i - 1]))) {
            if (i > 0) part.store();
            sums.group = part.load(of.groups[group_of(shares[i])], at.row, at.column);
        }
        contraction.add_product(segment, entries_of(left, shares[i], 0),
                                entries_of(right, shares[i], slice.copies() - 1),
                                diagonal && slice.copies() == 1, sums);
        if (diagonal && ends) set_trace(slice, segment.selected, at.row, sums.whole, tile_stride + 1);
    }
    whole.store();
    if (sums.group != nullptr) part.store();
}

template <class Real>
void TileProducts<Real>::set_trace(const Slice& slice, std::size_t selected, Index tile,
                                   const double* diagonal, Index step) {
    const RowTiles& train = sets_[0].tiles;
    double trace = 0;
    for (Index r = 0; r < train.rows(tile); ++r) trace += diagonal[r * step];
    matrices_->formulas[slice.place]
        .tile_traces[selected * static_cast<std::size_t>(train.tiles()) + static_cast<std::size_t>(tile)] =
        trace;
}

/// k(x, x) of the test rows in tiles that this rank packs.
template <class Real>
void TileProducts<Real>::add_squares(const Slice& slice, const PackedSlice<Real>& packed) {
    constexpr Index rows_at_once = 32;
    struct Part {
        Index tile;
        RowRange rows;
    };
    const RowTiles& test = sets_[1].tiles;
    std::vector<Part> parts;
    for (Index t = 0; t < test.tiles(); ++t)
        for (Index r = 0; test.owner(t) == rank_ && r < test.rows(t); r += rows_at_once)
            parts.push_back({t, {r, std::min(r + rows_at_once, test.rows(t))}});
    const TileContraction<Real>& contraction = tile_contraction<Real>(slice.contraction);
    std::vector<double>& squares = matrices_->formulas[slice.place].test_diagonal;
    parallel_for(std::ssize(parts), [&](Index i) {
        const auto& [tile, rows] = parts[static_cast<std::size_t>(i)];
        PackedTile<Real> left = packed.tile(1, tile);
        for (const Segment& segment : slice.segments) {
            const Index entries = contraction.entries(segment, *left.form);
            contraction.add_squares(segment, left, left.entries + (slice.copies() - 1) * entries, rows,
                                    squares.data() + test.first_row(tile));
            left.entries += slice.copies() * entries;
        }
    });
}

template class TileProducts<float>;
template class TileProducts<double>;

}  // namespace tangram
