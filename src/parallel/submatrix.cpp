#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel/distributed_matrix.hpp"

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

}  // namespace

DistributedMatrix submatrix(const DistributedMatrix& matrix, std::span<const Index> rows,
                            std::span<const Index> columns, const ProcessGrid& grid, Index block) {
    check_chosen(rows, matrix.rows(), "row");
    check_chosen(columns, matrix.columns(), "column");
    const ProcessGrid& source = matrix.grid();
    const MPI_Comm comm = source.comm().get();
    const int me = source.comm().rank();
    const std::vector<int> rank_of_result = ranks_in(comm, grid.comm().get());
    const Index m = std::ssize(rows), n = std::ssize(columns);
    DistributedMatrix out = collectively(comm, [&] { return DistributedMatrix(grid, m, n, block); });

    const Dimension row(matrix.row_layout(), source.row(), out.row_layout(), grid.row(), rows, 0, m);
    // Panels of columns bound the buffers: at most 2^22 numbers to send and as many to receive, where no
    // process row has much more than its share of the chosen rows.
    const Index thinnest = std::min(source.rows(), grid.rows());
    const Index panel = std::max<Index>(1, (thinnest << 22) / std::max<Index>(1, m));
    const auto ranks = at(source.comm().size());
    std::vector<std::vector<double>> outgoing(ranks), incoming(ranks);
    std::vector<MPI_Request> requests;
    const auto post = [&]() -> MPI_Request* { return &requests.emplace_back(MPI_REQUEST_NULL); };
    for (Index first = 0; first < n; first += panel) {
        const Dimension column(matrix.column_layout(), source.column(), out.column_layout(), grid.column(),
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
        for (int p = 0; p < grid.rows(); ++p)
            for (int q = 0; q < grid.columns(); ++q) {
                const int to = rank_of_result[at(grid.rank_of(p, q))];
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
        for (int p = 0; p < source.rows(); ++p)
            for (int q = 0; q < source.columns(); ++q) {
                const int from = source.rank_of(p, q);
                const auto& local_rows = row.incoming[at(p)];
                const auto& local_columns = column.incoming[at(q)];
                const double* packed = (from == me ? outgoing : incoming)[at(from)].data();
                for (const Index j : local_columns) {
                    double* const entries = out.data() + j * out.lld();
                    for (const Index i : local_rows) entries[i] = *packed++;
                }
            }
    }
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
