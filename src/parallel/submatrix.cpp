#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel/distributed_matrix.hpp"
#include "tangram/parallel/rank_groups.hpp"
#include "tangram/parallel_for.hpp"

namespace tangram {

namespace {

/// Local indices by the process at the other end, in the result's order: what goes to it, or what comes from
/// it.
using LocalIndices = std::vector<std::vector<Index>>;

std::size_t at(Index i) { return static_cast<std::size_t>(i); }
std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// One dimension of a transfer on the two sides that this rank stands on.
struct Sides {
    const BlockCyclic& source;
    int source_process;
    const BlockCyclic& result;
    int result_process;  ///< -1 on ranks that are not the result's
};

/// One dimension of the transfer: result index i, from `first` to `last`, comes from source index chosen[i].
struct Dimension {
    LocalIndices outgoing;  ///< per result process: local source indices on this process
    LocalIndices incoming;  ///< per source process: local result indices on this process

    Dimension(const Sides& sides, std::span<const Index> chosen, Index first, Index last)
        : outgoing(at(sides.result.processes)), incoming(at(sides.source.processes)) {
        for (Index i = first; i < last; ++i) {
            const Index from = chosen[at(i)];
            if (sides.source.owner(from) == sides.source_process)
                outgoing[at(sides.result.owner(i))].push_back(sides.source.to_local(from));
            if (sides.result.owner(i) == sides.result_process)
                incoming[at(sides.source.owner(from))].push_back(sides.result.to_local(i));
        }
    }
};

/// Ranks of the source grid's communicator that the result grid's ranks are. Local.
std::vector<int> ranks_in(MPI_Comm source, MPI_Comm result) {
    MPI_Group source_group = MPI_GROUP_NULL, result_group = MPI_GROUP_NULL;
    TANGRAM_MPI(MPI_Comm_group(source, &source_group));
    TANGRAM_MPI(MPI_Comm_group(result, &result_group));
    int size = 0, source_size = 0;
    TANGRAM_MPI(MPI_Group_size(result_group, &size));
    TANGRAM_MPI(MPI_Group_size(source_group, &source_size));
    std::vector<int> ranks(at(size)), translated(at(size));
    std::iota(ranks.begin(), ranks.end(), 0);
    TANGRAM_MPI(MPI_Group_translate_ranks(result_group, size, ranks.data(), source_group, translated.data()));
    TANGRAM_MPI(MPI_Group_free(&source_group));
    TANGRAM_MPI(MPI_Group_free(&result_group));
    if (size != source_size || std::count(translated.begin(), translated.end(), MPI_UNDEFINED) > 0)
        throw Error(ExitStatus::study, ErrorKind::contradiction,
                    "a matrix moves between grids of the same ranks only");
    return translated;
}

void check_chosen(std::span<const Index> chosen, Index size, const char* what) {
    for (const Index index : chosen)
        if (index < 0 || index >= size)
            throw Error(ExitStatus::study, ErrorKind::out_of_range,
                        fmt::format("{} {} is not in a matrix of {} {}s", what, index, size, what));
}

/// The process grid that a result stands on, told to every rank of the source.
struct Target {
    int rows, columns;
    std::vector<int> ranks;  ///< of the source's communicator, row-major
    BlockCyclic row_layout, column_layout;
};

/// What goes from each rank to each other one, a panel of columns at a time.
class Transfer {
  public:
    /// Local. @param out  nullptr on ranks that are not the target's
    Transfer(const DistributedMatrix& matrix, std::span<const Index> rows, std::span<const Index> columns,
             const Target& target, DistributedMatrix* out)
        : matrix_(matrix),
          source_(matrix.grid()),
          target_(target),
          columns_(columns),
          out_(out),
          row_({matrix.row_layout(), source_.row(), target.row_layout,
                out != nullptr ? out->grid().row() : -1},
               rows, 0, std::ssize(rows)),
          outgoing_(at(source_.comm().size())),
          incoming_(at(source_.comm().size())) {
        requests_.reserve(2 * outgoing_.size());
    }

    /// Packs what goes out of columns `first` to `last` of the result, and makes room for what comes in; what
    /// stays on this rank is put in place. Local.
    void prepare(Index first, Index last) {
        column_.emplace(Sides{matrix_.column_layout(), source_.column(), target_.column_layout,
                              out_ != nullptr ? out_->grid().column() : -1},
                        columns_, first, last);
        for_each_sender(
            [&](int from, const std::vector<Index>& local_rows, const std::vector<Index>& local_columns) {
                if (from != rank()) incoming_[at(from)].resize(counted(local_rows, local_columns));
            });
        for_each_receiver(
            [&](int to, const std::vector<Index>& local_rows, const std::vector<Index>& local_columns) {
                if (to == rank()) return put_own(local_rows, local_columns);
                outgoing_[at(to)].resize(counted(local_rows, local_columns));
                parallel_for(std::ssize(local_columns), [&](Index c) {
                    const double* const entries = matrix_.data() + local_columns[at(c)] * matrix_.lld();
                    double* packed = outgoing_[at(to)].data() + c * std::ssize(local_rows);
                    for (const Index i : local_rows) *packed++ = entries[i];
                });
            });
    }

    /// Sends and receives what was prepared and puts it in place. Collective over the source's grid.
    void move() {
        const MPI_Comm comm = source_.comm().get();
        const auto post = [&]() -> MPI_Request* { return &requests_.emplace_back(MPI_REQUEST_NULL); };
        const auto count = [](const std::vector<double>& entries) {
            return narrow(std::ssize(entries), "entries");
        };
        for_each_sender([&](int from, const auto&, const auto&) {
            std::vector<double>& entries = incoming_[at(from)];
            if (from != rank())
                TANGRAM_MPI(MPI_Irecv(entries.data(), count(entries), MPI_DOUBLE, from, 1, comm, post()));
        });
        for_each_receiver([&](int to, const auto&, const auto&) {
            const std::vector<double>& entries = outgoing_[at(to)];
            if (to != rank())
                TANGRAM_MPI(MPI_Isend(entries.data(), count(entries), MPI_DOUBLE, to, 1, comm, post()));
        });
        TANGRAM_MPI(MPI_Waitall(narrow(std::ssize(requests_), "number of messages"), requests_.data(),
                                MPI_STATUSES_IGNORE));
        requests_.clear();
        for_each_sender(
            [&](int from, const std::vector<Index>& local_rows, const std::vector<Index>& local_columns) {
                if (from == rank()) return;
                parallel_for(std::ssize(local_columns), [&](Index c) {
                    double* const entries = out_->data() + local_columns[at(c)] * out_->lld();
                    const double* packed = incoming_[at(from)].data() + c * std::ssize(local_rows);
                    for (const Index i : local_rows) entries[i] = *packed++;
                });
            });
    }

  private:
    int rank() const { return source_.comm().rank(); }
    static std::size_t counted(const std::vector<Index>& rows, const std::vector<Index>& columns) {
        return at(narrow(std::ssize(rows) * std::ssize(columns), "entries"));
    }
    /// Copies local rows and columns of the source that the result has on this rank, too.
    void put_own(const std::vector<Index>& rows, const std::vector<Index>& columns) {
        const std::vector<Index>& to_rows = row_.incoming[at(source_.row())];
        const std::vector<Index>& to_columns = column_->incoming[at(source_.column())];
        parallel_for(std::ssize(columns), [&](Index c) {
            const double* const from = matrix_.data() + columns[at(c)] * matrix_.lld();
            double* const to = out_->data() + to_columns[at(c)] * out_->lld();
            for (std::size_t i = 0; i < rows.size(); ++i) to[to_rows[i]] = from[rows[i]];
        });
    }
    /// visit(rank, local rows of the result, its local columns) for every rank that something comes from.
    template <class Visit>
    void for_each_sender(Visit&& visit) const {
        for (int p = 0; p < source_.rows(); ++p)
            for (int q = 0; q < source_.columns(); ++q)
                if (!row_.incoming[at(p)].empty() && !column_->incoming[at(q)].empty())
                    visit(source_.rank_of(p, q), row_.incoming[at(p)], column_->incoming[at(q)]);
    }
    /// visit(rank, local rows of the source, its local columns) for every rank that something goes to.
    template <class Visit>
    void for_each_receiver(Visit&& visit) const {
        for (int p = 0; p < target_.rows; ++p)
            for (int q = 0; q < target_.columns; ++q)
                if (!row_.outgoing[at(p)].empty() && !column_->outgoing[at(q)].empty())
                    visit(target_.ranks[at(p * target_.columns + q)], row_.outgoing[at(p)],
                          column_->outgoing[at(q)]);
    }

    const DistributedMatrix& matrix_;
    const ProcessGrid& source_;
    const Target& target_;
    std::span<const Index> columns_;
    DistributedMatrix* out_;
    Dimension row_;
    std::optional<Dimension> column_;
    std::vector<std::vector<double>> outgoing_, incoming_;
    std::vector<MPI_Request> requests_;
};

/// Sends the chosen entries to the target's ranks. Collective over the source's grid.
/// @param out  nullptr on ranks that are not the target's
void transfer(const DistributedMatrix& matrix, std::span<const Index> rows, std::span<const Index> columns,
              const Target& target, DistributedMatrix* out) {
    const MPI_Comm comm = matrix.grid().comm().get();
    const Index m = std::ssize(rows), n = std::ssize(columns);
    // Panels of columns bound the buffers: at most 2^22 numbers to send and as many to receive, where no
    // process row has much more than its share of the chosen rows.
    const Index thinnest = std::min(matrix.grid().rows(), target.rows);
    const Index panel = std::max<Index>(1, (thinnest << 22) / std::max<Index>(1, m));
    std::optional<Transfer> entries;
    collectively(comm, [&] { entries.emplace(matrix, rows, columns, target, out); });
    for (Index first = 0; first < n; first += panel) {
        collectively(comm, [&] { entries->prepare(first, std::min(n, first + panel)); });
        entries->move();
    }
}

}  // namespace

DistributedMatrix submatrix(const DistributedMatrix& matrix, std::span<const Index> rows,
                            std::span<const Index> columns, const ProcessGrid& grid, Index block) {
    check_chosen(rows, matrix.rows(), "row");
    check_chosen(columns, matrix.columns(), "column");
    const MPI_Comm comm = matrix.grid().comm().get();
    std::vector<int> ranks;
    DistributedMatrix out = collectively(comm, [&] {
        ranks = ranks_in(comm, grid.comm().get());
        return DistributedMatrix(grid, std::ssize(rows), std::ssize(columns), block);
    });
    const Target target{grid.rows(), grid.columns(), std::move(ranks), out.row_layout(), out.column_layout()};
    transfer(matrix, rows, columns, target, &out);
    return out;
}

std::optional<DistributedMatrix> submatrix(const DistributedMatrix& matrix, std::span<const Index> rows,
                                           std::span<const Index> columns, const RankGroups& groups,
                                           int group, Index block) {
    check_chosen(rows, matrix.rows(), "row");
    check_chosen(columns, matrix.columns(), "column");
    const Index m = std::ssize(rows), n = std::ssize(columns);
    std::optional<DistributedMatrix> out;
    std::vector<int> ranks;
    collectively(matrix.grid().comm().get(), [&] {
        if (groups.mine() == group) out.emplace(groups.grid(), m, n, block);
        ranks.resize(at(groups.size()));
        std::iota(ranks.begin(), ranks.end(), group * groups.size());
    });
    const Target target{groups.grid_rows(), groups.grid_columns(), std::move(ranks),
                        BlockCyclic{m, block, groups.grid_rows()},
                        BlockCyclic{n, block, groups.grid_columns()}};
    transfer(matrix, rows, columns, target, out ? &*out : nullptr);
    return out;
}

DistributedMatrix redistribute(const DistributedMatrix& matrix, const ProcessGrid& grid, Index block) {
    const auto all = collectively(matrix.grid().comm().get(), [&] {
        std::vector<Index> indices(at(std::max(matrix.rows(), matrix.columns())));
        std::iota(indices.begin(), indices.end(), 0);
        return indices;
    });
    return submatrix(matrix, std::span(all).first(at(matrix.rows())),
                     std::span(all).first(at(matrix.columns())), grid, block);
}

DistributedMatrix principal_submatrix(const DistributedMatrix& matrix, std::span<const Index> indices) {
    return submatrix(matrix, indices, indices, matrix.grid(), matrix.block());
}

}  // namespace tangram
