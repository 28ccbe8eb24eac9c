#include "tangram/parallel/distributed_matrix.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "blacs.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel/large_pages.hpp"
#include "tangram/parallel_for.hpp"
#include "tangram/random.hpp"

namespace tangram {

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
            ExitStatus::study, ErrorKind::out_of_range,
            fmt::format(
                "{} {} per rank do not fit into ScaLAPACK's 32-bit integers; use a grid of at least {} "
                "processes in that direction",
                layout.local_size(0), what, layout.size / std::numeric_limits<int>::max() + 1));
    return size;
}

/// visit(first local index, first global index, how many) for each block on a process.
template <class Visit>
void for_blocks(const BlockCyclic& layout, int process, Visit visit) {
    const Index size = layout.local_size(process);
    for (Index first = 0; first < size; first += layout.block)
        visit(first, layout.to_global(first, process), std::min(layout.block, size - first));
}

/// Numbers of columns that travel in one message, 2 MiB, where one column is not longer.
constexpr Index numbers_together = Index{1} << 18;

/// visit(first local column, its global index, how many) for the columns of a process, neighbours together
/// as far as they travel together; none where it has no rows.
template <class Visit>
void for_runs(const BlockCyclic& columns, int process, Index rows, Visit visit) {
    if (rows == 0) return;
    const Index most = std::max<Index>(1, numbers_together / rows);
    for_blocks(columns, process, [&](Index local, Index global, Index count) {
        for (Index j = 0; j < count; j += most) visit(local + j, global + j, std::min(most, count - j));
    });
}

/// The longest message of a matrix.
Index most_together(const DistributedMatrix& matrix) {
    return std::min(matrix.rows() * matrix.columns(),
                    std::max(matrix.row_layout().local_size(0), numbers_together));
}

}  // namespace

DistributedMatrix::DistributedMatrix(const ProcessGrid& grid, Index rows, Index columns, Index block)
    : grid_(&grid), row_layout_{rows, block, grid.rows()}, column_layout_{columns, block, grid.columns()} {
    if (rows < 0 || columns < 0 || block < 1)
        throw Error(ExitStatus::study, ErrorKind::out_of_range,
                    fmt::format("a distributed matrix of {} x {} in blocks of {} is not possible", rows,
                                columns, block));
    local_rows_ = checked_local_size(row_layout_, grid.row(), "rows");
    local_columns_ = checked_local_size(column_layout_, grid.column(), "columns");
    local_ = zeros_on_large_pages(local_rows_ * local_columns_);
}

DistributedMatrix DistributedMatrix::copy() const {
    DistributedMatrix out(*grid_, 0, 0, block());
    out.row_layout_ = row_layout_;
    out.column_layout_ = column_layout_;
    out.local_rows_ = local_rows_;
    out.local_columns_ = local_columns_;
    out.local_ = copy_on_large_pages(local());
    return out;
}

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
        throw Error(ExitStatus::study, ErrorKind::contradiction,
                    "matrices of unlike sizes, blocks or grids cannot be multiplied");
    DistributedMatrix c = collectively(
        a.grid().comm().get(), [&] { return DistributedMatrix(a.grid(), a.rows(), b.columns(), a.block()); });
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
    DistributedMatrix out = collectively(matrix.grid().comm().get(), [&] {
        return DistributedMatrix(matrix.grid(), matrix.columns(), matrix.rows(), matrix.block());
    });
    const int m = narrow(out.rows(), "rows"), n = narrow(out.columns(), "columns"), one = 1;
    const double alpha = 1, beta = 0;
    const auto from = matrix.descriptor(), to = out.descriptor();
    if (m > 0 && n > 0)
        pdtran_(&m, &n, &alpha, matrix.data(), &one, &one, from.data(), &beta, out.data(), &one, &one,
                to.data());
    return out;
}

bool is_finite(const DistributedMatrix& matrix) {
    std::atomic<bool> here = true;
    parallel_for(matrix.local_columns(), [&](Index j) {
        const std::span<const double> column(matrix.data() + j * matrix.lld(),
                                             static_cast<std::size_t>(matrix.local_rows()));
        if (!std::ranges::all_of(column, [](double entry) { return std::isfinite(entry); })) here = false;
    });
    return !any_rank(matrix.grid().comm().get(), !here);
}

DistributedMatrix scatter(const std::vector<double>& whole, const ProcessGrid& grid, Index rows,
                          Index columns, Index block, int root) {
    const std::vector<Index> all = collectively(grid.comm().get(), [&] {
        if (grid.comm().rank() == root && std::ssize(whole) != rows * columns)
            throw Error(ExitStatus::study, ErrorKind::contradiction,
                        fmt::format("{} numbers are no matrix of {} x {}", whole.size(), rows, columns));
        std::vector<Index> indices(static_cast<std::size_t>(columns));
        std::iota(indices.begin(), indices.end(), Index{0});
        return indices;
    });
    return scatter(whole, grid, rows, all, block, root);
}

DistributedMatrix scatter(std::span<const double> whole, const ProcessGrid& grid, Index rows,
                          std::span<const Index> columns, Index block, int root) {
    const MPI_Comm comm = grid.comm().get();
    const bool is_root = grid.comm().rank() == root;
    std::vector<double> packed;  // on the root: what goes to one rank at once
    DistributedMatrix out = collectively(comm, [&] {
        DistributedMatrix made(grid, rows, std::ssize(columns), block);
        if (!is_root) return made;
        for (const Index j : columns)
            if (j < 0 || (j + 1) * rows > std::ssize(whole))
                throw Error(ExitStatus::study, ErrorKind::out_of_range,
                            fmt::format("column {} is not in {} numbers of {} rows", j, whole.size(), rows));
        packed.resize(static_cast<std::size_t>(most_together(made)));
        return made;
    });
    const auto send = [&](int p, int q) {
        const Index local = out.row_layout().local_size(p);
        const auto copy = [&](Index of_result, double* to) {
            const double* const column = whole.data() + columns[static_cast<std::size_t>(of_result)] * rows;
            for_blocks(out.row_layout(), p,
                       [&](Index at, Index row, Index size) { std::copy_n(column + row, size, to + at); });
        };
        if (grid.rank_of(p, q) == root)
            return parallel_for(out.local_columns(),
                                [&](Index j) { copy(out.global_column(j), out.data() + j * out.lld()); });
        for_runs(out.column_layout(), q, local, [&](Index, Index global, Index count) {
            for (Index j = 0; j < count; ++j) copy(global + j, packed.data() + j * local);
            TANGRAM_MPI(MPI_Send(packed.data(), narrow(local * count, "entries"), MPI_DOUBLE,
                                 grid.rank_of(p, q), 4, comm));
        });
    };
    if (is_root) {
        for (int p = 0; p < grid.rows(); ++p)
            for (int q = 0; q < grid.columns(); ++q) send(p, q);
    } else {
        for_runs(out.column_layout(), grid.column(), out.local_rows(), [&](Index first, Index, Index count) {
            TANGRAM_MPI(MPI_Recv(out.data() + first * out.lld(), narrow(out.local_rows() * count, "entries"),
                                 MPI_DOUBLE, root, 4, comm, MPI_STATUS_IGNORE));
        });
    }
    return out;
}

std::vector<double> gather(const DistributedMatrix& matrix, int root) {
    std::vector<double> all = collectively(matrix.grid().comm().get(), [&] {
        return std::vector<double>(static_cast<std::size_t>(
            matrix.grid().comm().rank() == root ? matrix.rows() * matrix.columns() : 0));
    });
    gather(matrix, root, all);
    return all;
}

void gather(const DistributedMatrix& matrix, int root, std::span<double> whole) {
    const ProcessGrid& grid = matrix.grid();
    const MPI_Comm comm = grid.comm().get();
    const bool is_root = grid.comm().rank() == root;
    constexpr std::size_t on_their_way = 16;
    std::vector<double> arrived;  // on the root: rows of a run of columns that are not all
    std::vector<MPI_Request> requests;
    collectively(comm, [&] {
        if (is_root && std::ssize(whole) != matrix.rows() * matrix.columns())
            throw Error(ExitStatus::study, ErrorKind::contradiction,
                        fmt::format("a matrix of {} x {} does not go into {} numbers", matrix.rows(),
                                    matrix.columns(), whole.size()));
        if (is_root && grid.rows() > 1) arrived.resize(static_cast<std::size_t>(most_together(matrix)));
        requests.reserve(on_their_way);
    });
    const auto receive = [&](int p, int q) {
        const Index rows = matrix.row_layout().local_size(p);
        const bool complete = rows == matrix.rows();
        const auto copy = [&](const double* from, Index column) {
            for_blocks(matrix.row_layout(), p, [&](Index at, Index row, Index size) {
                std::copy_n(from + at, size, whole.data() + row + column * matrix.rows());
            });
        };
        if (grid.rank_of(p, q) == root)
            return parallel_for(matrix.local_columns(), [&](Index j) {
                copy(matrix.data() + j * matrix.lld(), matrix.global_column(j));
            });
        for_runs(matrix.column_layout(), q, rows, [&](Index, Index global, Index count) {
            double* const to = complete ? whole.data() + global * matrix.rows() : arrived.data();
            TANGRAM_MPI(MPI_Recv(to, narrow(rows * count, "entries"), MPI_DOUBLE, grid.rank_of(p, q), 0, comm,
                                 MPI_STATUS_IGNORE));
            for (Index j = 0; !complete && j < count; ++j) copy(arrived.data() + j * rows, global + j);
        });
    };
    if (!is_root)
        for_runs(matrix.column_layout(), grid.column(), matrix.local_rows(),
                 [&](Index first, Index, Index count) {
                     TANGRAM_MPI(MPI_Isend(matrix.data() + first * matrix.lld(),
                                           narrow(matrix.local_rows() * count, "entries"), MPI_DOUBLE, root,
                                           0, comm, &post(requests)));
                     if (requests.size() == on_their_way) wait_all(requests);
                 });
    for (int p = 0; is_root && p < grid.rows(); ++p)
        for (int q = 0; q < grid.columns(); ++q) receive(p, q);
    wait_all(requests);
}

namespace {

/// A block (from_row, from_column) that is to be copied, transposed, into (from_column, from_row).
struct MirroredBlock {
    Index row, column;  ///< of the block that is set
    Index rows, columns;
    int from, to;  ///< ranks
    Index size() const { return rows * columns; }
};

/// The blocks beside the diagonal of a square matrix, one block column at a time, and buffers for what this
/// rank sends and receives of one.
class Mirror {
  public:
    Mirror(DistributedMatrix& matrix, const std::function<bool(Index, Index)>& is_set)
        : matrix_(matrix), is_set_(is_set), me_(matrix.grid().comm().rank()) {
        collectively(comm(), [&] { allocate(); });
    }

    /// Copies, transposed, what stands below the diagonal of block column J, or what mirrors it. Collective.
    void copy(Index J) {
        double *sent = outgoing_.data(), *arrived = incoming_.data();
        own_.clear();
        for_each_block(J, [&](const MirroredBlock& block) {
            const int count = narrow(block.size(), "block");
            if (block.from == me_ && block.to == me_) {
                own_.push_back(block);
            } else if (block.from == me_) {
                transpose(block, sent, block.columns);
                TANGRAM_MPI(MPI_Isend(sent, count, MPI_DOUBLE, block.to, 2, comm(), &post(requests_)));
                sent += block.size();
            } else if (block.to == me_) {
                TANGRAM_MPI(MPI_Irecv(arrived, count, MPI_DOUBLE, block.from, 2, comm(), &post(requests_)));
                arrived += block.size();
            }
        });
        parallel_for(std::ssize(own_), [&](Index i) {
            const MirroredBlock& block = own_[static_cast<std::size_t>(i)];
            transpose(block, corner(block.column, block.row), matrix_.lld());
        });
        wait_all(requests_);
        const double* packed = incoming_.data();
        for_each_block(J, [&](const MirroredBlock& block) {
            if (block.to != me_ || block.from == me_) return;
            unpack(block, packed);
            packed += block.size();
        });
    }

  private:
    MPI_Comm comm() const { return matrix_.grid().comm().get(); }
    int rank_of(Index I, Index J) const {
        return matrix_.grid().rank_of(matrix_.row_layout().owner(I * matrix_.block()),
                                      matrix_.column_layout().owner(J * matrix_.block()));
    }
    template <class Visit>
    void for_each_block(Index J, Visit&& visit) const {
        const Index nb = matrix_.block();
        const auto extent = [&](Index b) { return std::min(nb, matrix_.rows() - b * nb); };
        for (Index I = J + 1; I < matrix_.row_layout().blocks(); ++I) {
            const Index row = is_set_(I, J) ? I : J, column = is_set_(I, J) ? J : I;
            visit(MirroredBlock{row, column, extent(row), extent(column), rank_of(row, column),
                                rank_of(column, row)});
        }
    }
    /// The largest block column bounds the buffers. Local.
    void allocate() {
        Index most_sent = 0, most_received = 0, most_messages = 0;
        for (Index J = 0; J < matrix_.row_layout().blocks(); ++J) {
            Index sent = 0, received = 0, messages = 0;
            for_each_block(J, [&](const MirroredBlock& block) {
                if (block.from == me_ && block.to != me_) sent += block.size();
                if (block.from != me_ && block.to == me_) received += block.size();
                if ((block.from == me_) != (block.to == me_)) ++messages;
            });
            most_sent = std::max(most_sent, sent);
            most_received = std::max(most_received, received);
            most_messages = std::max(most_messages, messages);
        }
        outgoing_.resize(static_cast<std::size_t>(most_sent));
        incoming_.resize(static_cast<std::size_t>(most_received));
        requests_.reserve(static_cast<std::size_t>(most_messages));
        own_.reserve(static_cast<std::size_t>(matrix_.row_layout().blocks()));
    }
    double* corner(Index I, Index J) const {
        return matrix_.data() + matrix_.row_layout().to_local(I * matrix_.block()) +
               matrix_.column_layout().to_local(J * matrix_.block()) * matrix_.lld();
    }
    /// To a column-major block of columns x rows, whose columns lie lld apart; both in runs of a cache line.
    void transpose(const MirroredBlock& block, double* to, Index lld) const {
        constexpr Index run = 8;
        const double* const entries = corner(block.row, block.column);
        for (Index first_column = 0; first_column < block.columns; first_column += run)
            for (Index first_row = 0; first_row < block.rows; first_row += run)
                for (Index r = first_row; r < std::min(block.rows, first_row + run); ++r)
                    for (Index c = first_column; c < std::min(block.columns, first_column + run); ++c)
                        to[c + r * lld] = entries[r + c * matrix_.lld()];
    }
    void unpack(const MirroredBlock& block, const double* packed) const {
        double* const entries = corner(block.column, block.row);
        for (Index r = 0; r < block.rows; ++r)
            std::copy_n(packed + r * block.columns, block.columns, entries + r * matrix_.lld());
    }

    DistributedMatrix& matrix_;
    const std::function<bool(Index, Index)>& is_set_;
    int me_;
    std::vector<double> outgoing_, incoming_;
    std::vector<MirroredBlock> own_;  // from and to this rank
    std::vector<MPI_Request> requests_;
};

}  // namespace

void mirror_blocks(DistributedMatrix& matrix,
                   const std::function<bool(Index block_row, Index block_column)>& is_set) {
    if (matrix.rows() != matrix.columns())
        throw Error(ExitStatus::study, ErrorKind::contradiction,
                    fmt::format("a matrix of {} x {} has no mirror image across its diagonal", matrix.rows(),
                                matrix.columns()));
    Mirror mirror(matrix, is_set);
    for (Index J = 0; J < matrix.row_layout().blocks(); ++J) mirror.copy(J);
}

namespace {

/// What a triangle's entries are weighted with by their row and column: odd numbers.
std::uint64_t weight(Index index, std::uint64_t key) {
    return random::mixed(key ^ static_cast<std::uint64_t>(index)) | 1;
}

/// Whether all A_ij and A_ji have the same bits, from one pass over A: the sums over both triangles of the
/// bits, mixed, times a random number of row and column are equal modulo 2^64, as they are by chance once in
/// 2^60 matrices. Collective.
bool mirrors_itself(const DistributedMatrix& A) {
    constexpr std::uint64_t of_higher = 1ULL << 62, of_lower = 1ULL << 63;
    const MPI_Comm comm = A.grid().comm().get();
    const auto size = static_cast<std::size_t>(A.local_rows());
    std::vector<std::uint64_t> higher, lower;
    collectively(comm, [&] {
        higher.reserve(size);
        lower.reserve(size);
    });
    for (Index i = 0; i < A.local_rows(); ++i) {
        higher.push_back(weight(A.global_row(i), of_higher));
        lower.push_back(weight(A.global_row(i), of_lower));
    }
    const auto weighted = [](const double* entries, const std::uint64_t* weights, Index count) {
        std::uint64_t sum = 0;
        for (Index i = 0; i < count; ++i) {
            const std::uint64_t bits = std::bit_cast<std::uint64_t>(entries[i]) * 0x9e3779b97f4a7c15ULL;
            sum += (bits ^ (bits >> 32)) * weights[i];
        }
        return sum;
    };
    const auto rows_before = [&](Index row) {
        return BlockCyclic{row, A.block(), A.grid().rows()}.local_size(A.grid().row());
    };
    std::atomic<std::uint64_t> own = 0;
    parallel_for(A.local_columns(), [&](Index j) {
        const Index column = A.global_column(j), above = rows_before(column), below = rows_before(column + 1);
        const double* const entries = A.data() + j * A.lld();
        own += weighted(entries, lower.data(), above) * weight(column, of_higher) -
               weighted(entries + below, higher.data() + below, A.local_rows() - below) *
                   weight(column, of_lower);
    });
    std::uint64_t difference = own;
    TANGRAM_MPI(MPI_Allreduce(MPI_IN_PLACE, &difference, 1, MPI_UINT64_T, MPI_SUM, comm));
    return difference == 0;
}

}  // namespace

Asymmetry asymmetry(const DistributedMatrix& matrix, double allowed) {
    if (matrix.rows() != matrix.columns())
        throw Error(ExitStatus::study, ErrorKind::contradiction,
                    fmt::format("a matrix of {} x {} is not symmetric", matrix.rows(), matrix.columns()));
    constexpr Index none = std::numeric_limits<Index>::max();
    if (mirrors_itself(matrix)) return {0, -1};
    const MPI_Comm comm = matrix.grid().comm().get();
    const DistributedMatrix mirrored = transpose(matrix);
    double largest = 0;
    Index first = none;
    for (Index j = 0; j < matrix.local_columns(); ++j)
        for (Index i = 0; i < matrix.local_rows(); ++i) {
            const Index at = i + j * matrix.lld();
            const double off = std::abs(matrix.data()[at] - mirrored.data()[at]);
            largest = std::max(largest, off);
            if (!(off <= allowed))
                first = std::min(first, matrix.global_column(j) * matrix.rows() + matrix.global_row(i));
        }
    first = -max_over_ranks(comm, -first);
    return {max_over_ranks(comm, largest), first == none ? -1 : first};
}

}  // namespace tangram
