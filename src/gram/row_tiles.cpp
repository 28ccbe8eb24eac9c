#include "row_tiles.hpp"

#include <algorithm>

#include "tangram/jacobian/token_blocks.hpp"

namespace tangram {

RowTiles::RowTiles(const Program& program, std::span<const std::int32_t> label_ids, const DataSet& data,
                   const KernelOutputs& outputs, Index tile_rows)
    : program_(&program),
      label_ids_(label_ids),
      data_(&data),
      outputs_(&outputs),
      tile_rows_(tile_rows),
      factors_(factors_of(program)),
      offsets_(kernel_rows(data, outputs)) {
    sharing_.row_all = tiles();
    for (Index e = 0; e < data.examples(); ++e)
        example_of_.resize(static_cast<std::size_t>(offsets_[static_cast<std::size_t>(e) + 1]), e);
}

std::vector<Index> RowTiles::table_rows(ParameterId parameter, Index example) const {
    return row_ids(factors_[parameter], *data_, example, label_ids_, *outputs_);
}

Index RowTiles::token_rows(ParameterId parameter, Index row) const {
    const RowSet set = program_->shape(factors_[parameter].front().delta).rows;
    Index most = 0;
    for (Index c = 0; c < components(); ++c)
        most = std::max(most, gradient_rows(*data_, *outputs_, set, example_of(row), pass_of(row, c)));
    return most;
}

/// In turn; of fewer tiles than ranks the owners are ranks that need them, as far apart as can be, so that no
/// host has more of them, and sends more, than another.
int RowTiles::owner(Index tile) const {
    if (sharing_.row_all > sharing_.grid_columns) return static_cast<int>((sharing_.before + tile) % ranks());
    const Index of_row = sharing_.row_before + tile / sharing_.grid_rows;
    return static_cast<int>(tile % sharing_.grid_rows * sharing_.grid_columns +
                            of_row * sharing_.grid_columns / sharing_.row_all);
}

bool RowTiles::needs(int rank, Index tile) const {
    return tile % sharing_.grid_rows == rank / sharing_.grid_columns ||
           (sharing_.columns_too && tile % sharing_.grid_columns == rank % sharing_.grid_columns);
}

std::vector<Index> RowTiles::examples_of(int rank) const {
    std::vector<Index> examples;
    for (Index t = 0; t < tiles(); ++t)
        for (Index r = 0; owner(t) == rank && r < rows(t); ++r) {
            const Index example = example_of(first_row(t) + r);
            if (examples.empty() || examples.back() != example) examples.push_back(example);
        }
    return examples;
}

std::vector<RowTiles> shared_on(int grid_rows, int grid_columns, std::vector<RowTiles> sets) {
    const auto of_row = [&](const RowTiles& set) { return (set.tiles() + grid_rows - 1) / grid_rows; };
    TileSharing sharing{grid_rows, grid_columns, true, 0, 0, 0};
    for (const RowTiles& set : sets) sharing.row_all += of_row(set);
    for (RowTiles& set : sets) {
        set = set.shared(sharing);
        sharing.columns_too = false;
        sharing.before += set.tiles();
        sharing.row_before += of_row(set);
    }
    return sets;
}

}  // namespace tangram
