#pragma once
#include <array>
#include <memory>
#include <span>
#include <vector>

#include "packed_form.hpp"
#include "row_tiles.hpp"
#include "slices.hpp"
#include "tangram/gram/product_back_end.hpp"
#include "tangram/jacobian/held_factors.hpp"

namespace tangram {

/// A data set as the rows of a kernel: its tiles, and the factors of this rank's examples.
template <class Real>
struct KernelRows {
    RowTiles tiles;
    HeldFactors<Real> factors;
};

/// The packed tiles of one slice that a rank packs itself or needs from others. What a back end has formed,
/// and what messages leave there, stands there alone but for rows whose squares are summed here. Local.
template <class Real>
class PackedSlice {
  public:
    /// A packed tile; its entries stand at [first, first + count).
    struct Place {
        std::size_t set;  ///< place of its data set
        Index tile, first, count;
        TileForm form;
        std::byte* there = nullptr;  ///< where messages find it in a back end's memory; nullptr: here
    };

    /// Makes room for the tiles of a slice and packs those that this rank owns. Their factors are held.
    /// Entries of the tile before are overwritten.
    /// @param sets      the data sets, the training set first
    /// @param back_end  that the slice goes to; nullptr: none. What it forms stands here where messages to
    ///                  other ranks, or squares of test rows, need it
    /// @throws as ProductBackEnd::begin_packing
    void pack(const Slice& slice, std::span<const KernelRows<Real>> sets, int rank,
              ProductBackEnd* back_end = nullptr);

    /// The tiles, those of one data set ascending.
    const std::vector<Place>& places() const { return places_; }
    std::span<Real> entries(const Place& place) {
        return {entries_.get() + place.first, static_cast<std::size_t>(place.count)};
    }
    /// A tile's bytes for messages.
    std::span<std::byte> message(const Place& place) {
        const std::span<std::byte> bytes = std::as_writable_bytes(entries(place));
        return place.there == nullptr ? bytes : std::span(place.there, bytes.size());
    }
    PackedTile<Real> tile(std::size_t set, Index tile) const {
        const Place& place =
            places_[static_cast<std::size_t>(place_of_[set][static_cast<std::size_t>(tile)])];
        return {entries_.get() + place.first, &place.form};
    }

  private:
    void make_places(const Slice& slice, std::span<const KernelRows<Real>> sets, int rank);
    SliceToPack<Real> to_pack(const Slice& slice, std::span<const KernelRows<Real>> sets, int rank,
                              bool messages_from_there);
    void pack_tile(const Slice& slice, std::span<const KernelRows<Real>> sets, const Place& place,
                   bool outer_too);

    std::unique_ptr<Real[]> entries_;  // not set: what nobody packs here takes no memory
    Index room_ = 0;                   // entries
    std::vector<Place> places_;
    std::array<std::vector<Index>, 2> place_of_;  // by set and tile; -1: not here
};

extern template class PackedSlice<float>;
extern template class PackedSlice<double>;

}  // namespace tangram
