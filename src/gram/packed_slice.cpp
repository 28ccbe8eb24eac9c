#include "packed_slice.hpp"

#include <algorithm>
#include <cmath>

#include "tangram/parallel_for.hpp"
#include "tile_contraction.hpp"

namespace tangram {

template <class Real>
void PackedSlice<Real>::pack(const Slice& slice, std::span<const KernelRows<Real>> sets, int rank) {
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
    if (std::ssize(entries_) < entries) {
        entries_ = {};  // before the larger one is allocated
        entries_.resize(static_cast<std::size_t>(entries));
    }
    for (const Place& place : places_)
        if (sets[place.set].tiles.owner(place.tile) == rank) pack_tile(slice, sets[place.set], place);
}

template <class Real>
void PackedSlice<Real>::pack_tile(const Slice& slice, const KernelRows<Real>& rows, const Place& place) {
    const TileContraction<Real>& contraction = tile_contraction<Real>(slice.contraction);
    Real* out = entries_.data() + place.first;
    for (const Segment& segment : slice.segments) {
        contraction.pack(rows.factors, rows.tiles, place.tile, segment, place.form, out);
        const Index entries = contraction.entries(segment, place.form);
        if (slice.formula != Formula::sgd) {
            // In a mean over C labels each label's kernel of signs has a share of 1/C.
            const auto one = static_cast<Real>(1.0 / std::sqrt(rows.tiles.components()));
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
