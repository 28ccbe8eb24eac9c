#pragma once
#include <mpi.h>

#include <array>
#include <map>
#include <optional>
#include <vector>

#include "row_tiles.hpp"
#include "tangram/gram/assembly.hpp"

namespace tangram {

/// The row tiles of one data set: which rank packs which slice of them from its factors, who needs which, and
/// the packed tiles of two slices: one that is multiplied, one that travels.
template <class Real>
class PackedTiles {
  public:
    /// @param tile_rows    of all tiles but the last
    /// @param first_owner  the round-robin over ranks goes on from here
    /// @param columns_too  tiles also stand on the right of a product
    PackedTiles(const KernelInputs<Real>& inputs, const DataSet& data, Index tile_rows, Index first_owner,
                const ProcessGrid& grid, bool columns_too);

    const RowTiles& layout() const { return layout_; }
    int owner(Index tile) const { return static_cast<int>((first_owner_ + tile) % grid_->comm().size()); }

    /// Tokens and examples of this rank's share.
    Index own_tokens() const;
    Index own_examples() const { return static_cast<Index>(place_.size()); }

    /// Forward and backward passes over this rank's examples; keeps the factors of `parameters` and no
    /// others. Local.
    void load(const std::vector<ParameterId>& parameters, const PassProgress& progress);
    /// examples x C logits on every rank, after load(). Collective.
    std::vector<double> outputs() const;

    /// Packs this rank's tiles of a slice, posts their sends and the receives of those needed. @return bytes
    /// to be received
    Index post(const Slice& slice, int buffer, int tag, std::vector<MPI_Request>& requests);
    /// A packed tile of the slice that was posted into the buffer, from its given entry on.
    const Real* tile(int buffer, Index t) const;
    const TileForm& form(int buffer, Index t) const { return buffers_[at(buffer)].forms.at(t); }

  private:
    struct Buffer {
        std::vector<Real> entries;
        std::map<Index, Index> offsets;  // tile -> first entry
        std::map<Index, TileForm> forms;
    };
    static std::size_t at(int buffer) { return static_cast<std::size_t>(buffer); }
    bool needs(Index tile, int grid_row, int grid_column) const {
        return tile % grid_->rows() == grid_row || (columns_too_ && tile % grid_->columns() == grid_column);
    }
    bool kept(Index tile) const {
        return owner(tile) == grid_->comm().rank() || needs(tile, grid_->row(), grid_->column());
    }
    void pack(Index tile, const Slice& slice, const TileForm& form, Real* out) const;
    void pack_products(Index tile, const Segment& segment, Real* out) const;
    void pack_factors(Index tile, const Segment& segment, const TileForm& form, Real* out) const;
    void pack_matching(Index tile, const Segment& segment, const TileForm& form, Real* out) const;

    const KernelInputs<Real>* inputs_;
    RowTiles layout_;
    const ProcessGrid* grid_;
    Index first_owner_;
    bool columns_too_;
    std::map<Index, Index> place_;  // example -> place in factors_
    std::optional<JacobianFactors<Real>> factors_;
    std::array<Buffer, 2> buffers_;
};

extern template class PackedTiles<float>;
extern template class PackedTiles<double>;

}  // namespace tangram
