#pragma once
#include <vector>

#include "tangram/gram/assembly.hpp"

namespace tangram {

/// How the tiles of a data set are shared out on a grid of ranks.
struct TileSharing {
    int grid_rows = 1, grid_columns = 1;
    bool columns_too = true;  ///< tiles also stand on the right of a product
    Index before = 0;         ///< tiles of data sets before this one
    /// Of a grid row, tiles of those, and of all data sets, at most.
    Index row_before = 0, row_all = 0;
};

/// The rows of the kernel on one data set, in tiles: which examples, tokens and table rows they stand for,
/// which rank packs a tile and which need it. Local; every rank can say it of every other.
class RowTiles {
  public:
    /// All on one rank. All references outlive the object.
    /// @param tile_rows  of all tiles but the last
    RowTiles(const Program& program, std::span<const std::int32_t> label_ids, const DataSet& data,
             const KernelOutputs& outputs, Index tile_rows);

    /// The same rows, shared out otherwise.
    RowTiles shared(const TileSharing& sharing) const {
        RowTiles others = *this;
        others.sharing_ = sharing;
        return others;
    }

    Index count() const { return offsets_.back(); }
    Index tiles() const { return (count() + tile_rows_ - 1) / tile_rows_; }
    Index tile_of(Index row) const { return row / tile_rows_; }
    Index first_row(Index tile) const { return tile * tile_rows_; }
    Index rows(Index tile) const { return std::min(tile_rows_, count() - first_row(tile)); }
    Index example_of(Index row) const { return example_of_[static_cast<std::size_t>(row)]; }
    Index first_row_of(Index example) const { return offsets_[static_cast<std::size_t>(example)]; }
    Index components() const { return outputs_->components(); }
    /// Backward pass of its example that a component of a row comes from.
    Index pass_of(Index row, Index component) const {
        return (row - first_row_of(example_of(row))) * components() + component;
    }
    /// Rows of a table that the gradient of an example may be non-zero in.
    std::vector<Index> table_rows(ParameterId parameter, Index example) const;
    /// Rows of a linear weight's delta that a row has, in its longest component: tokens, or those that are
    /// read.
    Index token_rows(ParameterId parameter, Index row) const;

    int ranks() const { return sharing_.grid_rows * sharing_.grid_columns; }
    /// The rank that packs a tile.
    int owner(Index tile) const;
    /// Whether a rank's tiles of the matrices need it.
    bool needs(int rank, Index tile) const;
    bool keeps(int rank, Index tile) const { return owner(tile) == rank || needs(rank, tile); }
    /// The examples with rows in a rank's tiles, ascending.
    std::vector<Index> examples_of(int rank) const;

  private:
    const Program* program_;
    std::span<const std::int32_t> label_ids_;
    const DataSet* data_;
    const KernelOutputs* outputs_;
    Index tile_rows_;
    TileSharing sharing_ = {};
    std::vector<std::vector<Factor>> factors_;  // by parameter
    std::vector<Index> offsets_, example_of_;
};

/// The rows of all data sets, the training set first, shared out together on a grid.
std::vector<RowTiles> shared_on(int grid_rows, int grid_columns, std::vector<RowTiles> sets);

}  // namespace tangram
