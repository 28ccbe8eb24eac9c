#pragma once
#include <array>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "tangram/parallel/block_cyclic.hpp"
#include "tangram/parallel/process_grid.hpp"

namespace tangram {

/// A dense float64 matrix in ScaLAPACK's block-cyclic layout with square blocks; the local part is
/// column-major. The grid is shared by reference and must outlive the matrix. Movable, not copyable by
/// accident: copy().
class DistributedMatrix {
  public:
    /// rows x columns, local entries zero. Local. @throws Error(study) if a local dimension exceeds 2^31 - 1.
    DistributedMatrix(const ProcessGrid& grid, Index rows, Index columns, Index block);
    DistributedMatrix(DistributedMatrix&&) noexcept = default;
    DistributedMatrix& operator=(DistributedMatrix&&) noexcept = default;
    DistributedMatrix copy() const;

    const ProcessGrid& grid() const noexcept { return *grid_; }
    const BlockCyclic& row_layout() const noexcept { return row_layout_; }
    const BlockCyclic& column_layout() const noexcept { return column_layout_; }
    Index rows() const noexcept { return row_layout_.size; }
    Index columns() const noexcept { return column_layout_.size; }
    Index block() const noexcept { return row_layout_.block; }
    Index local_rows() const noexcept { return local_rows_; }
    Index local_columns() const noexcept { return local_columns_; }
    /// Leading dimension of the local part, at least 1.
    Index lld() const noexcept { return local_rows_ > 0 ? local_rows_ : 1; }
    /// Local entry (i, j) is data()[i + j * lld()].
    double* data() noexcept { return local_.get(); }
    const double* data() const noexcept { return local_.get(); }
    std::span<double> local() noexcept { return {local_.get(), local_size()}; }
    std::span<const double> local() const noexcept { return {local_.get(), local_size()}; }
    Index global_row(Index local) const { return row_layout_.to_global(local, grid_->row()); }
    Index global_column(Index local) const { return column_layout_.to_global(local, grid_->column()); }
    /// ScaLAPACK's nine-integer descriptor.
    std::array<int, 9> descriptor() const;

  private:
    std::size_t local_size() const noexcept {
        return local_ == nullptr ? 0 : static_cast<std::size_t>(local_rows_ * local_columns_);
    }

    const ProcessGrid* grid_;
    BlockCyclic row_layout_, column_layout_;
    Index local_rows_ = 0, local_columns_ = 0;
    std::unique_ptr<double[]> local_;
};

/// The matrix of the given rows and columns, in any order and as often as named: entry (i, j) is
/// matrix(rows[i], columns[j]). On `grid`, which holds the same ranks in any arrangement. Collective; rows
/// and columns equal on all ranks. @throws Error(study) on every rank if an index is not in the matrix or the
/// ranks differ Memory per rank: the local part of the result and buffers of about 64 MiB (pdgemr2d: two more
/// local matrices).
DistributedMatrix submatrix(const DistributedMatrix& matrix, std::span<const Index> rows,
                            std::span<const Index> columns, const ProcessGrid& grid, Index block);

/// The same matrix with another block size or on another grid of the same ranks. Collective; memory as
/// submatrix().
DistributedMatrix redistribute(const DistributedMatrix& matrix, const ProcessGrid& grid, Index block);

/// A B, laid out as both (same grid and block). Collective (pdgemm).
DistributedMatrix multiply(const DistributedMatrix& a, const DistributedMatrix& b);

/// The transpose, same grid and block. Collective (pdtran).
DistributedMatrix transpose(const DistributedMatrix& matrix);

/// Whether no entry is infinite or NaN. Collective.
bool is_finite(const DistributedMatrix& matrix);

/// The inverse of gather(): a whole column-major matrix on `root` in block-cyclic layout. Collective.
DistributedMatrix scatter(const std::vector<double>& whole, const ProcessGrid& grid, Index rows,
                          Index columns, Index block, int root);

/// The principal sub-matrix of the given rows and columns, in the same block and grid. Collective; as
/// submatrix().
DistributedMatrix principal_submatrix(const DistributedMatrix& matrix, std::span<const Index> indices);

/// The matrix whose column j is column columns[j] of a whole column-major one on `root`. Collective; columns
/// equal on all ranks. @throws Error(study) on every rank where the whole one has no such column
DistributedMatrix scatter(std::span<const double> whole, const ProcessGrid& grid, Index rows,
                          std::span<const Index> columns, Index block, int root);

/// The whole matrix, column-major, on `root` (empty elsewhere). Collective. For tests and small matrices.
std::vector<double> gather(const DistributedMatrix& matrix, int root);

/// The same into `whole`, rows x columns on root. Collective. @throws Error(study) on every rank if it is not
void gather(const DistributedMatrix& matrix, int root, std::span<double> whole);

/// Transposes what stands below (or above) the diagonal into the entries that the mask says are unset:
/// for blocks (I, J), I > J, with is_set(I, J) the block is copied, transposed, into (J, I); with !is_set(I,
/// J) (J, I) is copied into (I, J). Diagonal blocks stay. Bits are copied, never added. Collective over the
/// grid.
/// @throws Error(study) on every rank if the matrix is not square. Memory: the local part of one block row
/// and column.
void mirror_blocks(DistributedMatrix& matrix,
                   const std::function<bool(Index block_row, Index block_column)>& is_set);

/// How far a square matrix is off symmetry.
struct Asymmetry {
    double largest;  ///< max |A_ij - A_ji|, scale of A
    Index first;  ///< i + j N of the first entry in column order that is off by more than allowed; -1: none
};

/// Of finite entries, the same on every rank. Collective over the grid. @throws Error(study) on every rank
/// if the matrix is not square. Memory: the transpose, of a matrix that is not symmetric to the last bit;
/// what is, is found so in one pass.
Asymmetry asymmetry(const DistributedMatrix& matrix, double allowed);

}  // namespace tangram
