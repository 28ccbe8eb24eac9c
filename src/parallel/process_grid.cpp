#include "tangram/parallel/process_grid.hpp"

#include <fmt/core.h>

#include <utility>

#include "blacs.hpp"

namespace tangram {

ProcessGrid::ProcessGrid(MPI_Comm comm, int rows, int columns) : comm_(comm), rows_(rows), columns_(columns) {
    if (rows < 1 || columns < 1 || static_cast<Index>(rows) * columns != comm_.size())
        throw Error(
            ExitStatus::study, ErrorKind::contradiction,
            fmt::format("a process grid of {} x {} does not hold {} ranks", rows, columns, comm_.size()));
    row_ = comm_.rank() / columns;
    column_ = comm_.rank() % columns;
    handle_ = Csys2blacs_handle(comm_.get());
    context_ = handle_;
    Cblacs_gridinit(&context_, "Row", rows, columns);
    int blacs_rows = 0, blacs_columns = 0, blacs_row = -1, blacs_column = -1;
    Cblacs_gridinfo(context_, &blacs_rows, &blacs_columns, &blacs_row, &blacs_column);
    if (any_rank(comm_.get(), handle_ < 0 || context_ < 0 || blacs_rows != rows || blacs_columns != columns ||
                                  blacs_row != row_ || blacs_column != column_)) {
        release();  // no destructor runs for an object whose constructor throws
        throw Error(ExitStatus::numerical, ErrorKind::library,
                    "BLACS numbers the processes of a grid otherwise than MPI");
    }
}

int ProcessGrid::rows_of_most_square(int ranks) {
    int rows = 1;
    for (int p = 1; static_cast<Index>(p) * p <= ranks; ++p)
        if (ranks % p == 0) rows = p;
    return rows;
}

ProcessGrid ProcessGrid::most_square(MPI_Comm comm) {
    int size = 0;
    TANGRAM_MPI(MPI_Comm_size(comm, &size));
    const int rows = rows_of_most_square(size);
    return ProcessGrid(comm, rows, size / rows);
}

ProcessGrid::ProcessGrid(ProcessGrid&& other) noexcept
    : comm_(std::move(other.comm_)),
      rows_(other.rows_),
      columns_(other.columns_),
      row_(other.row_),
      column_(other.column_),
      handle_(std::exchange(other.handle_, -1)),
      context_(std::exchange(other.context_, -1)) {}

ProcessGrid& ProcessGrid::operator=(ProcessGrid&& other) noexcept {
    std::swap(comm_, other.comm_);
    std::swap(rows_, other.rows_);
    std::swap(columns_, other.columns_);
    std::swap(row_, other.row_);
    std::swap(column_, other.column_);
    std::swap(handle_, other.handle_);
    std::swap(context_, other.context_);
    return *this;
}

void ProcessGrid::release() noexcept {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized == 0) {
        if (context_ >= 0) Cblacs_gridexit(context_);
        if (handle_ >= 0) Cfree_blacs_system_handle(handle_);
    }
    context_ = handle_ = -1;
}

ProcessGrid::~ProcessGrid() { release(); }

}  // namespace tangram
