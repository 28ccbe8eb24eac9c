#pragma once
#include <vector>

#include "tangram/gram/assembly.hpp"
#include "tile_products.hpp"

namespace tangram {

/// The rows of the kernel on one data set, in tiles: what a packed tile of a slice holds. Local; every rank
/// can say what another packs.
class RowTiles {
  public:
    /// All references outlive the object. @param tile_rows  of all tiles but the last
    RowTiles(const Program& program, const DataSet& data, const KernelOutputs& outputs,
             std::span<const std::int32_t> label_ids, Index tile_rows);

    const DataSet& data() const { return *data_; }
    Index count() const { return offsets_.back(); }
    Index tiles() const { return (count() + tile_rows_ - 1) / tile_rows_; }
    Index tile_of(Index row) const { return row / tile_rows_; }
    Index first_row(Index tile) const { return tile * tile_rows_; }
    Index rows(Index tile) const { return std::min(tile_rows_, count() - first_row(tile)); }
    Index example_of(Index row) const { return example_of_[static_cast<std::size_t>(row)]; }
    Index first_row_of(Index example) const { return offsets_[static_cast<std::size_t>(example)]; }
    /// Backward pass of its example that a component of a row comes from.
    Index pass_of(Index row, Index component) const {
        return (row - first_row_of(example_of(row))) * outputs_->components() + component;
    }
    /// Rows of a table that the gradient of an example may be non-zero in.
    std::vector<Index> table_rows(ParameterId parameter, Index example) const;

    TileForm form(Index tile, Contraction contraction, ParameterId parameter) const;
    /// Entries of one segment of a packed tile.
    Index entries(Contraction contraction, const Segment& segment, const TileForm& form) const;
    Index entries(const Slice& slice, const TileForm& form) const;

  private:
    const Program* program_;
    const DataSet* data_;
    const KernelOutputs* outputs_;
    std::span<const std::int32_t> label_ids_;
    Index tile_rows_;
    std::vector<std::vector<Factor>> factors_;  // by parameter
    std::vector<Index> offsets_, example_of_;
};

}  // namespace tangram
