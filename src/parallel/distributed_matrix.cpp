#include "tangram/parallel/distributed_matrix.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "blacs.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {

Index BlockCyclic::local_size(int process) const {
    const Index whole = size / block, extra = size % block;
    const Index mine = whole / processes, left = whole % processes;
    return mine * block + (process < left ? block : process == left ? extra : 0);
}

namespace {

MPI_Request& post(std::vector<MPI_Request>& requests) { return requests.emplace_back(MPI_REQUEST_NULL); }

void wait_all(std::vector<MPI_Request>& requests) {
    TANGRAM_MPI(MPI_Waitall(narrow(std::ssize(requests), "number of messages"), requests.data(),
                            MPI_STATUSES_IGNORE));
    requests.clear();
}

/// Local rows of `matrix` on this process fit into BLACS's integers; said before anything is allocated.
Index checked_local_size(const BlockCyclic& layout, int process, const char* what) {
    const Index size = layout.local_size(process);
    if (layout.local_size(0) > std::numeric_limits<int>::max())
        throw Error(
            ExitStatus::study,
            fmt::format(
                "{} {} per rank do not fit into ScaLAPACK's 32-bit integers; use a grid of at least {} "
                "processes in that direction",
                layout.local_size(0), what, layout.size / std::numeric_limits<int>::max() + 1));
    return size;
}

}  // namespace

DistributedMatrix::DistributedMatrix(const ProcessGrid& grid, Index rows, Index columns, Index block)
    : grid_(&grid), row_layout_{rows, block, grid.rows()}, column_layout_{columns, block, grid.columns()} {
    if (rows < 0 || columns < 0 || block < 1)
        throw Error(ExitStatus::study,
                    fmt::format("a distributed matrix of {} x {} in blocks of {} is not possible", rows,
                                columns, block));
    local_rows_ = checked_local_size(row_layout_, grid.row(), "rows");
    local_columns_ = checked_local_size(column_layout_, grid.column(), "columns");
    local_.assign(static_cast<std::size_t>(local_rows_ * local_columns_), 0.0);
}

DistributedMatrix DistributedMatrix::copy() const { return DistributedMatrix(*this); }

std::array<int, 9> DistributedMatrix::descriptor() const {
    const int nb = narrow(block(), "block size");
    return {1,
            grid_->context(),
            narrow(rows(), "rows"),
            narrow(columns(), "columns"),
            nb,
            nb,
            0,
            0,
            narrow(lld(), "leading dimension")};
}

DistributedMatrix multiply(const DistributedMatrix& a, const DistributedMatrix& b) {
    if (a.columns() != b.rows() || a.block() != b.block() || a.grid().context() != b.grid().context())
        throw Error(ExitStatus::study, "matrices of unlike sizes, blocks or grids cannot be multiplied");
    DistributedMatrix c(a.grid(), a.rows(), b.columns(), a.block());
    const int m = narrow(a.rows(), "rows"), n = narrow(b.columns(), "columns"),
              k = narrow(a.columns(), "columns");
    const int one = 1;
    const double alpha = 1, beta = 0;
    const auto da = a.descriptor(), db = b.descriptor(), dc = c.descriptor();
    if (m > 0 && n > 0 && k > 0)
        pdgemm_("N", "N", &m, &n, &k, &alpha, a.data(), &one, &one, da.data(), b.data(), &one, &one,
                db.data(), &beta, c.data(), &one, &one, dc.data());
    return c;
}

DistributedMatrix transpose(const DistributedMatrix& matrix) {
    DistributedMatrix out(matrix.grid(), matrix.columns(), matrix.rows(), matrix.block());
    const int m = narrow(out.rows(), "rows"), n = narrow(out.columns(), "columns"), one = 1;
    const double alpha = 1, beta = 0;
    const auto from = matrix.descriptor(), to = out.descriptor();
    if (m > 0 && n > 0)
        pdtran_(&m, &n, &alpha, matrix.data(), &one, &one, from.data(), &beta, out.data(), &one, &one,
                to.data());
    return out;
}

bool is_finite(const DistributedMatrix& matrix) {
    const bool here = std::ranges::all_of(matrix.local(), [](double entry) { return std::isfinite(entry); });
    return !any_rank(matrix.grid().comm().get(), !here);
}

DistributedMatrix scatter(const std::vector<double>& whole, const ProcessGrid& grid, Index rows,
                          Index columns, Index block, int root) {
    const MPI_Comm comm = grid.comm().get();
    DistributedMatrix out = collectively(comm, [&] {
        if (grid.comm().rank() == root && std::ssize(whole) != rows * columns)
            throw Error(ExitStatus::study,
                        fmt::format("{} numbers are no matrix of {} x {}", whole.size(), rows, columns));
        return DistributedMatrix(grid, rows, columns, block);
    });
    std::vector<double> packed;
    if (grid.comm().rank() == root) {
        for (int p = 0; p < grid.rows(); ++p)
            for (int q = 0; q < grid.columns(); ++q) {
                const Index local = out.row_layout().local_size(p);
                for (Index j = 0; j < out.column_layout().local_size(q) && local > 0; ++j) {
                    packed.resize(static_cast<std::size_t>(local));
                    const double* const from = whole.data() + out.column_layout().to_global(j, q) * rows;
                    for (Index i = 0; i < local; ++i)
                        packed[static_cast<std::size_t>(i)] = from[out.row_layout().to_global(i, p)];
                    if (grid.rank_of(p, q) == root)
                        std::copy(packed.begin(), packed.end(), out.data() + j * out.lld());
                    else
                        TANGRAM_MPI(MPI_Send(packed.data(), narrow(local, "rows"), MPI_DOUBLE,
                                             grid.rank_of(p, q), 4, comm));
                }
            }
    } else if (out.local_rows() > 0) {
        for (Index j = 0; j < out.local_columns(); ++j)
            TANGRAM_MPI(MPI_Recv(out.data() + j * out.lld(), narrow(out.local_rows(), "rows"), MPI_DOUBLE,
                                 root, 4, comm, MPI_STATUS_IGNORE));
    }
    return out;
}

std::vector<double> gather(const DistributedMatrix& matrix, int root) {
    const ProcessGrid& grid = matrix.grid();
    const MPI_Comm comm = grid.comm().get();
    const bool is_root = grid.comm().rank() == root;
    std::vector<double> all = collectively(comm, [&] {
        return std::vector<double>(is_root ? static_cast<std::size_t>(matrix.rows() * matrix.columns()) : 0);
    });
    std::vector<double> column(static_cast<std::size_t>(matrix.rows()));
    // Column by column: the owners send their rows of it, the root puts them in place.
    std::vector<MPI_Request> requests;
    for (Index j = 0; j < matrix.local_columns(); ++j)
        if (!is_root && matrix.local_rows() > 0) {
            TANGRAM_MPI(MPI_Isend(matrix.data() + j * matrix.lld(), narrow(matrix.local_rows(), "rows"),
                                  MPI_DOUBLE, root, 0, comm, &post(requests)));
            if (requests.size() == 64) wait_all(requests);
        }
    if (is_root)
        for (int p = 0; p < grid.rows(); ++p)
            for (int q = 0; q < grid.columns(); ++q) {
                const Index rows = matrix.row_layout().local_size(p);
                for (Index j = 0; j < matrix.column_layout().local_size(q) && rows > 0; ++j) {
                    const double* from = column.data();
                    if (grid.rank_of(p, q) == root)
                        from = matrix.data() + j * matrix.lld();
                    else
                        TANGRAM_MPI(MPI_Recv(column.data(), narrow(rows, "rows"), MPI_DOUBLE,
                                             grid.rank_of(p, q), 0, comm, MPI_STATUS_IGNORE));
                    double* const to = all.data() + matrix.column_layout().to_global(j, q) * matrix.rows();
                    for (Index i = 0; i < rows; ++i) to[matrix.row_layout().to_global(i, p)] = from[i];
                }
            }
    wait_all(requests);
    return all;
}

void mirror_blocks(DistributedMatrix& matrix,
                   const std::function<bool(Index block_row, Index block_column)>& is_set) {
    const ProcessGrid& grid = matrix.grid();
    const MPI_Comm comm = grid.comm().get();
    if (matrix.rows() != matrix.columns())
        throw Error(ExitStatus::study,
                    fmt::format("a matrix of {} x {} has no mirror image across its diagonal", matrix.rows(),
                                matrix.columns()));
    const Index nb = matrix.block(), blocks = matrix.row_layout().blocks();
    const auto extent = [&](Index b) { return std::min(nb, matrix.rows() - b * nb); };
    const auto rank_of = [&](Index I, Index J) {
        return grid.rank_of(static_cast<int>(I % grid.rows()), static_cast<int>(J % grid.columns()));
    };
    const auto corner = [&](Index I, Index J) {
        return matrix.data() + matrix.row_layout().to_local(I * nb) +
               matrix.column_layout().to_local(J * nb) * matrix.lld();
    };
    const int me = grid.comm().rank();
    struct Arrival {
        Index I, J;  ///< the block to be set
        std::vector<double> entries;
    };
    std::vector<MPI_Request> requests;
    // For each block column J the blocks below the diagonal and their mirror images; a column's blocks bound
    // the buffers.
    for (Index J = 0; J < blocks; ++J) {
        std::vector<std::vector<double>> outgoing;
        std::vector<Arrival> incoming;
        outgoing.reserve(static_cast<std::size_t>(blocks - J));
        incoming.reserve(static_cast<std::size_t>(blocks - J));
        for (Index I = J + 1; I < blocks; ++I) {
            const Index from_row = is_set(I, J) ? I : J, from_column = is_set(I, J) ? J : I;
            const int from = rank_of(from_row, from_column), to = rank_of(from_column, from_row);
            const Index rows = extent(from_row), columns = extent(from_column);
            const int count = narrow(rows * columns, "block");
            if (from == me) {
                // Packed transposed: the receiver's column-major block is columns x rows.
                std::vector<double> packed(static_cast<std::size_t>(rows * columns));
                const double* const block = corner(from_row, from_column);
                for (Index c = 0; c < columns; ++c)
                    for (Index r = 0; r < rows; ++r)
                        packed[static_cast<std::size_t>(c + r * columns)] = block[r + c * matrix.lld()];
                if (to == me) {
                    incoming.push_back({from_column, from_row, std::move(packed)});
                } else {
                    outgoing.push_back(std::move(packed));
                    TANGRAM_MPI(
                        MPI_Isend(outgoing.back().data(), count, MPI_DOUBLE, to, 2, comm, &post(requests)));
                }
            } else if (to == me) {
                incoming.push_back(
                    {from_column, from_row, std::vector<double>(static_cast<std::size_t>(count))});
                TANGRAM_MPI(MPI_Irecv(incoming.back().entries.data(), count, MPI_DOUBLE, from, 2, comm,
                                      &post(requests)));
            }
        }
        wait_all(requests);
        for (const Arrival& arrival : incoming) {
            const Index rows = extent(arrival.I), columns = extent(arrival.J);
            double* const block = corner(arrival.I, arrival.J);
            for (Index c = 0; c < columns; ++c)
                std::copy_n(arrival.entries.data() + c * rows, rows, block + c * matrix.lld());
        }
    }
}

}  // namespace tangram
