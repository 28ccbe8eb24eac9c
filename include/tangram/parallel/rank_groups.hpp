#pragma once
#include <optional>

#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram {

/// The ranks of a communicator in groups of equal size, in rank order, each with a process grid of its own,
/// so that small problems run side by side. Ranks that are left over belong to none.
class RankGroups {
  public:
    /// Collective over comm. @param size  ranks of one group, 1 to all
    RankGroups(MPI_Comm comm, int size);

    int count() const noexcept { return count_; }
    int size() const noexcept { return size_; }
    int grid_rows() const noexcept { return grid_rows_; }
    int grid_columns() const noexcept { return size_ / grid_rows_; }
    /// This rank's group, 0 .. count-1; -1 where it has none.
    int mine() const noexcept { return mine_; }
    /// The grid of this rank's group; mine() >= 0.
    const ProcessGrid& grid() const { return *grid_; }

  private:
    int size_, count_, mine_, grid_rows_;
    std::optional<ProcessGrid> grid_;
};

/// submatrix() on the grid of one group; nothing on the other ranks. Collective over the matrix's grid, which
/// the groups were made from (the same communicator or one of the same ranks in the same order).
std::optional<DistributedMatrix> submatrix(const DistributedMatrix& matrix, std::span<const Index> rows,
                                           std::span<const Index> columns, const RankGroups& groups,
                                           int group, Index block);

}  // namespace tangram
