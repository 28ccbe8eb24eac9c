#pragma once
#include "tangram/parallel/communicator.hpp"

namespace tangram {

/// A p x q grid of all ranks of a communicator, row-major, with its own communicator and BLACS context.
/// One owner: freed by the destructor (Cblacs_gridexit, Cfree_blacs_system_handle) unless MPI is finalised.
/// The context is built from the communicator itself, so sub-communicators work (docs/libraries.md, Grids).
class ProcessGrid {
  public:
    /// Collective over comm, whose size must be rows * columns.
    /// @throws Error on every rank if it is not, or if BLACS numbers the processes otherwise than MPI.
    ProcessGrid(MPI_Comm comm, int rows, int columns);
    /// The most square grid of all ranks of comm, rows <= columns (a prime gives 1 x size). Collective.
    static ProcessGrid most_square(MPI_Comm comm);
    /// Rows of that grid for `ranks` ranks. Local.
    static int rows_of_most_square(int ranks);
    ProcessGrid(ProcessGrid&&) noexcept;
    ProcessGrid& operator=(ProcessGrid&&) noexcept;
    ProcessGrid(const ProcessGrid&) = delete;
    ProcessGrid& operator=(const ProcessGrid&) = delete;
    ~ProcessGrid();

    int rows() const noexcept { return rows_; }
    int columns() const noexcept { return columns_; }
    int row() const noexcept { return row_; }
    int column() const noexcept { return column_; }
    int rank_of(int row, int column) const noexcept { return row * columns_ + column; }
    int context() const noexcept { return context_; }
    const Communicator& comm() const noexcept { return comm_; }

  private:
    void release() noexcept;

    Communicator comm_;
    int rows_ = 0, columns_ = 0, row_ = 0, column_ = 0;
    int handle_ = -1, context_ = -1;
};

}  // namespace tangram
