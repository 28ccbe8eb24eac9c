#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel/distributed_matrix.hpp"
#include "tangram/parallel/rank_groups.hpp"

namespace tangram {

namespace {

/// Local indices by the process at the other end, in the result's order: what goes to it, or what comes from
/// it.
using LocalIndices = std::vector<std::vector<Index>>;

std::size_t at(Index i) { return static_cast<std::size_t>(i); }
std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// One dimension of the transfer: result index i, from `first` to `last`, comes from source index chosen[i].
struct Dimension {
    LocalIndices outgoing;  ///< per result process: local source indices on `source_process`
    LocalIndices incoming;  ///< per source process: local result indices on `result_process`

    Dimension(const BlockCyclic& source, int source_process, const BlockCyclic& result, int result_process,
              std::span<const Index> chosen, Index first, Index last)
        : outgoing(at(result.processes)), incoming(at(source.processes)) {
        for (Index i = first; i < last; ++i) {
            const Index from = chosen[at(i)];
            if (source.owner(from) == source_process)
                outgoing[at(result.owner(i))].push_back(source.to_local(from));
            if (result.owner(i) == result_process)
                incoming[at(source.owner(from))].push_back(result.to_local(i));
        }
    }
};

/// Ranks of the source grid's communicator that the result grid's ranks are.
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
        throw Error(ExitStatus::study, "a matrix moves between grids of the same ranks only");
    return translated;
}

void check_chosen(std::span<const Index> chosen, Index size, const char* what) {
    for (const Index index : chosen)
        if (index < 0 || index >= size)
            throw Error(ExitStatus::study,
                        fmt::format("{} {} is not in a matrix of {} {}s", what, index, size, what));
}

/// The process grid that a result stands on, told to every rank of the source.
struct Target {
    int rows, columns;
    std::vector<int> ranks;  ///< of the source's communicator, row-major
    BlockCyclic row_layout, column_layout;
};

/// Sends the chosen entries to the target's ranks. Collective over the source's grid.
/// @param out  nullptr on ranks that are not the target's
void transfer(const DistributedMatrix& matrix, std::span<const Index> rows, std::span<const Index> columns,
              const Target& target, DistributedMatrix* out) {
    const ProcessGrid& source = matrix.grid();
    const MPI_Comm comm = source.comm().get();
    const int me = source.comm().rank();
    const Index m = std::ssize(rows), n = std::ssize(columns);
    const int result_row = out != nullptr ? out->grid().row() : -1,
              result_column = out != nullptr ? out->grid().column() : -1;
    const Dimension row(matrix.row_layout(), source.row(), target.row_layout, result_row, rows, 0, m);
    // Panels of columns bound the buffers: at most 2^22 numbers to send and as many to receive, where no
    // process row has much more than its share of the chosen rows.
    const Index thinnest = std::min(source.rows(), target.rows);
    const Index panel = std::max<Index>(1, (thinnest << 22) / std::max<Index>(1, m));
    const auto ranks = at(source.comm().size());
    std::vector<std::vector<double>> outgoing(ranks), incoming(ranks);
    std::vector<MPI_Request> requests;
    const auto post = [&]() -> MPI_Request* { return &requests.emplace_back(MPI_REQUEST_NULL); };
    for (Index first = 0; first < n; first += panel) {
        const Dimension column(matrix.column_layout(), source.column(), target.column_layout, result_column,
                               columns, first, std::min(n, first + panel));
        for (int p = 0; p < source.rows(); ++p)
            for (int q = 0; q < source.columns(); ++q) {
                const int from = source.rank_of(p, q);
                const std::size_t count = row.incoming[at(p)].size() * column.incoming[at(q)].size();
                if (from == me || count == 0) continue;
                incoming[at(from)].resize(count);
                TANGRAM_MPI(MPI_Irecv(incoming[at(from)].data(), narrow(static_cast<Index>(count), "entries"),
                                      MPI_DOUBLE, from, 1, comm, post()));
            }
        for (int p = 0; p < target.rows; ++p)
            for (int q = 0; q < target.columns; ++q) {
                const int to = target.ranks[at(p * target.columns + q)];
                const auto& local_rows = row.outgoing[at(p)];
                const auto& local_columns = column.outgoing[at(q)];
                const std::size_t count = local_rows.size() * local_columns.size();
                if (count == 0) continue;
                outgoing[at(to)].resize(count);
                double* packed = outgoing[at(to)].data();
                for (const Index j : local_columns) {
                    const double* const entries = matrix.data() + j * matrix.lld();
                    for (const Index i : local_rows) *packed++ = entries[i];
                }
                if (to != me)
                    TANGRAM_MPI(MPI_Isend(outgoing[at(to)].data(),
                                          narrow(static_cast<Index>(count), "entries"), MPI_DOUBLE, to, 1,
                                          comm, post()));
            }
        TANGRAM_MPI(MPI_Waitall(narrow(std::ssize(requests), "number of messages"), requests.data(),
                                MPI_STATUSES_IGNORE));
        requests.clear();
        if (out == nullptr) continue;
        for (int p = 0; p < source.rows(); ++p)
            for (int q = 0; q < source.columns(); ++q) {
                const int from = source.rank_of(p, q);
                const auto& local_rows = row.incoming[at(p)];
                const auto& local_columns = column.incoming[at(q)];
                const double* packed = (from == me ? outgoing : incoming)[at(from)].data();
                for (const Index j : local_columns) {
                    double* const entries = out->data() + j * out->lld();
                    for (const Index i : local_rows) entries[i] = *packed++;
                }
            }
    }
}

}  // namespace

DistributedMatrix submatrix(const DistributedMatrix& matrix, std::span<const Index> rows,
                            std::span<const Index> columns, const ProcessGrid& grid, Index block) {
    check_chosen(rows, matrix.rows(), "row");
    check_chosen(columns, matrix.columns(), "column");
    const MPI_Comm comm = matrix.grid().comm().get();
    const std::vector<int> ranks = ranks_in(comm, grid.comm().get());
    DistributedMatrix out = collectively(
        comm, [&] { return DistributedMatrix(grid, std::ssize(rows), std::ssize(columns), block); });
    transfer(matrix, rows, columns,
             {grid.rows(), grid.columns(), ranks, out.row_layout(), out.column_layout()}, &out);
    return out;
}

std::optional<DistributedMatrix> submatrix(const DistributedMatrix& matrix, std::span<const Index> rows,
                                           std::span<const Index> columns, const RankGroups& groups,
                                           int group, Index block) {
    check_chosen(rows, matrix.rows(), "row");
    check_chosen(columns, matrix.columns(), "column");
    const Index m = std::ssize(rows), n = std::ssize(columns);
    std::optional<DistributedMatrix> out;
    collectively(matrix.grid().comm().get(), [&] {
        if (groups.mine() == group) out.emplace(groups.grid(), m, n, block);
    });
    std::vector<int> ranks(at(groups.size()));
    std::iota(ranks.begin(), ranks.end(), group * groups.size());
    transfer(matrix, rows, columns,
             {groups.grid_rows(), groups.grid_columns(), ranks, BlockCyclic{m, block, groups.grid_rows()},
              BlockCyclic{n, block, groups.grid_columns()}},
             out ? &*out : nullptr);
    return out;
}

DistributedMatrix redistribute(const DistributedMatrix& matrix, const ProcessGrid& grid, Index block) {
    std::vector<Index> rows(at(matrix.rows())), columns(at(matrix.columns()));
    std::iota(rows.begin(), rows.end(), 0);
    std::iota(columns.begin(), columns.end(), 0);
    return submatrix(matrix, rows, columns, grid, block);
}

DistributedMatrix principal_submatrix(const DistributedMatrix& matrix, std::span<const Index> indices) {
    return submatrix(matrix, indices, indices, matrix.grid(), matrix.block());
}

}  // namespace tangram
