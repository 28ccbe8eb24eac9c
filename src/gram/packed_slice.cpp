#include "packed_slice.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "tangram/parallel_for.hpp"
#include "tangram/products.hpp"
#include "tile_contraction.hpp"

namespace tangram {

namespace {

/// Whether the gradient of a segment is a sum of outer products.
template <class Real>
bool is_outer(const Segment& segment, std::span<const KernelRows<Real>> sets) {
    return sets.front().factors.factors().outer_factors(segment.parameter).has_value();
}

/// In a mean over C labels each label's kernel of signs has a share of 1/C.
template <class Real>
Real one_sign(const RowTiles& tiles) {
    return static_cast<Real>(1.0 / std::sqrt(tiles.components()));
}

/// What the gradients of a tile's rows are sums of.
template <class Real>
void append_factors(const Segment& segment, const KernelRows<Real>& rows, Index tile,
                    std::vector<RowFactors<Real>>& to) {
    const Index first = rows.tiles.first_row(tile);
    for (Index row = first; row < first + rows.tiles.rows(tile); ++row) {
        const auto outer = rows.factors.factors().outer_rows(segment.parameter,
                                                             rows.factors.place(rows.tiles.example_of(row)),
                                                             rows.tiles.pass_of(row, segment.component));
        to.push_back({outer.delta, outer.input, outer.count});
    }
}

}  // namespace

template <class Real>
void PackedSlice<Real>::pack(const Slice& slice, std::span<const KernelRows<Real>> sets, int rank,
                             ProductBackEnd* back_end) {
    make_places(slice, sets, rank);
    const auto owns = [&](const Place& place) { return sets[place.set].tiles.owner(place.tile) == rank; };
    bool formed = false;
    if (back_end != nullptr && std::ranges::any_of(places_, owns)) {
        const SliceToPack<Real> wanted = to_pack(slice, sets, rank, back_end->messages_reach_it());
        formed = !wanted.segments.empty() && back_end->begin_packing(wanted);
    }
    if (!formed)
        for (const Segment& segment : slice.segments)
            for (const KernelRows<Real>& set : sets) set.factors.factors().bring_home(segment.parameter);
    for (const Place& place : places_)
        if (owns(place)) pack_tile(slice, sets, place, !formed);
    if (!formed) return;
    back_end->end_packing();
    if (sets.front().tiles.ranks() == 1 || !back_end->messages_reach_it()) return;
    std::vector<const void*> homes;
    for (const Place& place : places_) homes.push_back(entries(place).data());
    const std::vector<std::byte*> there = back_end->places_for_messages(homes);
    for (std::size_t p = 0; p < places_.size(); ++p) places_[p].there = there[p];
}

/// Where the tiles stand that a rank keeps.
template <class Real>
void PackedSlice<Real>::make_places(const Slice& slice, std::span<const KernelRows<Real>> sets, int rank) {
    const TileContraction<Real>& contraction = tile_contraction<Real>(slice.contraction);
    places_.clear();
    Index entries = 0;
    for (std::size_t s = 0; s < sets.size(); ++s) {
        const RowTiles& tiles = sets[s].tiles;
        place_of_[s].assign(static_cast<std::size_t>(tiles.tiles()), -1);
        for (Index t = 0; t < tiles.tiles(); ++t) {
            if (!tiles.keeps(rank, t)) continue;
            place_of_[s][static_cast<std::size_t>(t)] = std::ssize(places_);
            Place& place = places_.emplace_back();
            place = {s, t, entries, 0, contraction.form(tiles, t, slice.segments.front().parameter)};
            place.count = contraction.entries(slice, place.form);
            entries += place.count;
        }
    }
    if (room_ < entries) {
        entries_.reset();  // before the larger one is allocated
        room_ = 0;
        entries_ = std::make_unique_for_overwrite<Real[]>(static_cast<std::size_t>(entries));
        room_ = entries;
    }
}

/// The slice as a back end may pack it.
template <class Real>
SliceToPack<Real> PackedSlice<Real>::to_pack(const Slice& slice, std::span<const KernelRows<Real>> sets,
                                             int rank, bool messages_from_there) {
    const Real sign = slice.formula == Formula::sgd ? Real(0) : one_sign<Real>(sets.front().tiles);
    SliceToPack<Real> wanted{
        products::panel_rows, slice.copies(), sign, {}, {}, {}, slice.contraction == Contraction::factors};
    for (const Place& place : places_) {
        const RowTiles& tiles = sets[place.set].tiles;
        bool goes_home = place.set > 0;  // where squares are taken of test rows
        for (int other = 0; !messages_from_there && other < tiles.ranks(); ++other)
            goes_home = goes_home || (other != rank && tiles.needs(other, place.tile));
        wanted.tiles.push_back({entries(place),
                                place.form.rows,
                                padded_rows(place.form.rows),
                                {},
                                goes_home,
                                place.form.row_tokens,
                                place.form.chunks});
    }
    std::map<const Real*, FactorRows<Real>> all;
    const auto add_rows = [&](std::span<const Real> rows, Index width) {
        all.try_emplace(rows.data(), FactorRows<Real>{rows.data(), std::ssize(rows) / width, width});
    };
    Index before = 0;
    for (const Segment& segment : slice.segments) {
        if (is_outer(segment, sets)) {
            for (const KernelRows<Real>& set : sets) {
                const auto of = *set.factors.factors().outer_factors(segment.parameter);
                for (const std::span<const Real> deltas : of.deltas) add_rows(deltas, of.delta_width);
                add_rows(of.inputs, of.input_width);
                if (&set == &sets.front())
                    wanted.segments.push_back(
                        {before, segment.first, segment.depth(), of.delta_width, of.input_width});
            }
            for (std::size_t p = 0; p < places_.size(); ++p)
                if (const KernelRows<Real>& rows = sets[places_[p].set];
                    rows.tiles.owner(places_[p].tile) == rank)
                    append_factors(segment, rows, places_[p].tile, wanted.tiles[p].factors);
        }
        before += slice.copies() * segment.depth();
    }
    for (const auto& [at, rows] : all) wanted.factors.push_back(rows);
    return wanted;
}

template <class Real>
void PackedSlice<Real>::pack_tile(const Slice& slice, std::span<const KernelRows<Real>> sets,
                                  const Place& place, bool outer_too) {
    const TileContraction<Real>& contraction = tile_contraction<Real>(slice.contraction);
    const KernelRows<Real>& rows = sets[place.set];
    Real* out = entries_.get() + place.first;
    for (const Segment& segment : slice.segments) {
        const Index entries = contraction.entries(segment, place.form);
        if (!outer_too && is_outer(segment, sets)) {
            out += slice.copies() * entries;
            continue;
        }
        contraction.pack(rows.factors, rows.tiles, place.tile, segment, place.form, out);
        if (slice.formula != Formula::sgd) {
            const auto one = one_sign<Real>(rows.tiles);
            Real* const signs = out + (slice.copies() - 1) * entries;
            constexpr Index at_once = 4096;
            parallel_for((entries + at_once - 1) / at_once, [&](Index block) {
                for (Index i = block * at_once; i < std::min(entries, (block + 1) * at_once); ++i)
                    signs[i] = out[i] > 0 ? one : out[i] < 0 ? -one : Real(0);
            });
        }
        out += slice.copies() * entries;
    }
}

template class PackedSlice<float>;
template class PackedSlice<double>;

}  // namespace tangram
