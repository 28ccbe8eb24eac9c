#include "tangram/io/matrix_io.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstring>
#include <numeric>
#include <thread>
#include <utility>

#include "descriptor.hpp"
#include "tangram/io/hdf5_file.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel_for.hpp"
#include "tangram/random.hpp"

namespace tangram {

namespace {

/// Rows of the file that stand together on one rank: long enough for a file system, short enough that all
/// ranks send and receive at once.
constexpr Index piece_bytes = Index{1} << 20;

/// The file's two dimensions, and panels of its rows that lie on a line of ranks: in pieces, whole rows each.
struct Panels {
    Orientation orientation;
    Index outer, inner;  ///< rows and columns of the data set
    Index piece, width;  ///< rows of a piece, of a panel
    ProcessGrid line;
    std::vector<Index> all;  ///< 0, 1, ...: indices of either dimension

    /// Collective. @param step  a panel's rows are a multiple of it
    Panels(std::pair<Index, Index> shape, Orientation as, MPI_Comm comm, int ranks, Index transfer,
           Index step)
        : orientation(as),
          outer(as_is() ? shape.first : shape.second),
          inner(as_is() ? shape.second : shape.first),
          line(comm, as_is() ? ranks : 1, as_is() ? 1 : ranks) {
        const Index row_bytes = 8 * std::max<Index>(1, inner),
                    rows = std::max<Index>(1, transfer / row_bytes);
        const Index share = std::max<Index>(1, (outer + ranks - 1) / ranks);
        piece = std::clamp<Index>(piece_bytes / row_bytes, 1, std::min(rows, share));
        width = std::max<Index>(1, rows * ranks / step) * step;
        all = collectively(comm, [&] {
            std::vector<Index> indices(static_cast<std::size_t>(std::max(inner, std::min(outer, width))));
            std::iota(indices.begin(), indices.end(), 0);
            return indices;
        });
    }
    bool as_is() const { return orientation == Orientation::as_is; }
    std::span<const Index> first(Index count) const {
        return std::span(all).first(static_cast<std::size_t>(count));
    }
    /// The panel's rows of the file, and which process of the line this rank is.
    const BlockCyclic& rows(const DistributedMatrix& panel) const {
        return as_is() ? panel.row_layout() : panel.column_layout();
    }
    int process() const { return as_is() ? line.row() : line.column(); }
};

/// Visits entries (i, j) of rows x columns in small squares that fit the cache.
template <class Visit>
void in_squares(Index rows, Index columns, Visit visit) {
    constexpr Index edge = 32;
    for (Index i0 = 0; i0 < rows; i0 += edge)
        for (Index j0 = 0; j0 < columns; j0 += edge)
            for (Index j = j0; j < std::min(columns, j0 + edge); ++j)
                for (Index i = i0; i < std::min(rows, i0 + edge); ++i) visit(i, j);
}

[[noreturn]] void refuse(const Hdf5Place& place, const std::string& path, const std::string& problem) {
    throw Error(place.status, ErrorKind::no_access,
                fmt::format("{}: {} {}", place.file.string(), path, problem));
}

[[noreturn]] void refuse_other(const Hdf5Place& place, const std::string& path, int rank) {
    refuse(place, path,
           fmt::format("is in another file of this name on rank {}; all ranks need the same folder", rank));
}

/// An open file, as a rank sees it.
struct FileSeen {
    Index serial = 0, size = 0;  ///< both 0: it cannot look
    bool operator==(const FileSeen&) const = default;
};
FileSeen seen(int descriptor) {
    struct stat status {};
    if (fstat(descriptor, &status) != 0) return {};
    return {static_cast<Index>(status.st_ino), status.st_size};
}

/// Opens the file that the first rank has seen under this name: for a minute network file systems may lead to
/// the one that had the name before. Local.
/// @return -1 where it cannot be opened (errno), or is another one all the time (ESTALE)
int open_as_first(const std::filesystem::path& file, int flags, const FileSeen& by_first) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (true) {
        Descriptor descriptor(::open(file.c_str(), flags | O_CLOEXEC));
        if (descriptor.id < 0) return -1;
        if (seen(descriptor.id) == by_first) return std::exchange(descriptor.id, -1);
        errno = ESTALE;
        if (std::chrono::steady_clock::now() > give_up) return -1;
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
}

/// A rank's way into the bytes of a data set that the first rank has made. HDF5's own parallel writing, and
/// OpenMPI's beneath it, leaves ranks waiting, or the loss unsaid, where one cannot write
/// (docs/libraries.md, MPI-IO).
class SharedBytes {
  public:
    /// Where a matrix stands.
    struct Where {
        FileSeen file;  ///< as the first rank sees it
        Index begin = 0;
    };

    /// Local. @throws Error(output) where this rank cannot write the file, or sees another one
    SharedBytes(const Hdf5Place& place, const std::string& path, const Where& where, int rank)
        : place_(place),
          path_(path),
          begin_(where.begin),
          rank_(rank),
          descriptor_(open_as_first(place.file, O_WRONLY | O_NOFOLLOW, where.file)) {
        if (descriptor_.id < 0) errno == ESTALE ? refuse_other(place, path, rank) : fail(errno);
    }
    void write(const double* entries, Index count, Index place) const {
        if (const int reason = write_all(descriptor_.id, entries, 8 * count, begin_ + 8 * place))
            fail(reason);
    }
    /// To the disk: a host that dies later takes nothing of it along.
    void sync() const {
        if (fsync(descriptor_.id) != 0) fail(errno);
    }

  private:
    [[noreturn]] void fail(int reason) const {
        refuse(place_, path_,
               fmt::format("cannot be written by rank {} ({}); make room or change output.path", rank_,
                           std::strerror(reason)));
    }
    const Hdf5Place& place_;
    const std::string& path_;
    Index begin_;
    int rank_;
    Descriptor descriptor_;
};

/// This rank's rows of a panel that begins with row `first` of the file. Local.
void write_rows(const SharedBytes& file, const Panels& panels, const DistributedMatrix& panel, Index first) {
    const BlockCyclic& rows = panels.rows(panel);
    const Index local = rows.local_size(panels.process()), inner = panels.inner;
    parallel_for((local + rows.block - 1) / rows.block,
                 [&] {
                     return std::vector<double>(
                         static_cast<std::size_t>(panels.as_is() ? std::min(local, rows.block) * inner : 0));
                 },
                 [&](std::vector<double>& turned, Index piece) {
                     const Index from = piece * rows.block, count = std::min(rows.block, local - from);
                     const double* entries = panel.data() + from * inner;
                     if (panels.as_is()) {
                         in_squares(count, inner, [&](Index i, Index j) {
                             turned[static_cast<std::size_t>(i * inner + j)] =
                                 panel.data()[from + i + j * panel.lld()];
                         });
                         entries = turned.data();
                     }
                     file.write(entries, count * inner,
                                (first + rows.to_global(from, panels.process())) * inner);
                 });
}

/// The same the other way round. Local.
void read_rows(const Hdf5File& file, const std::string& path, const Panels& panels, DistributedMatrix& panel,
               Index first) {
    const BlockCyclic& rows = panels.rows(panel);
    if (!panels.as_is()) return file.read_rows(path, first, rows, panels.process(), panel.data());
    std::vector<double> turned(panel.local().size());
    file.read_rows(path, first, rows, panels.process(), turned.data());
    in_squares(panel.local_rows(), panels.inner, [&](Index i, Index j) {
        panel.data()[i + j * panel.lld()] = turned[static_cast<std::size_t>(i * panels.inner + j)];
    });
}

}  // namespace

Index checksum(const DistributedMatrix& matrix, Index rows, Index columns) {
    std::atomic<std::uint64_t> sum = 0;
    parallel_for(matrix.local_columns(), [&](Index j) {
        if (matrix.global_column(j) >= columns) return;
        const Index column = matrix.global_column(j) * rows;
        std::uint64_t of_column = 0;
        for (Index i = 0; i < matrix.local_rows() && matrix.global_row(i) < rows; ++i)
            of_column +=
                random::mixed(std::bit_cast<std::uint64_t>(matrix.data()[i + j * matrix.lld()]) ^
                              random::mixed(static_cast<std::uint64_t>(column + matrix.global_row(i))));
        sum += of_column;
    });
    const std::uint64_t own = sum;
    std::uint64_t all = 0;
    TANGRAM_MPI(MPI_Allreduce(&own, &all, 1, MPI_UINT64_T, MPI_SUM, matrix.grid().comm().get()));
    return static_cast<Index>(all);
}

void write_matrix(const std::filesystem::path& file, const std::string& path, const DistributedMatrix& matrix,
                  Orientation orientation, Index transfer) {
    const Communicator& comm = matrix.grid().comm();
    const Hdf5Place place{file, ExitStatus::output};
    const Panels panels({matrix.rows(), matrix.columns()}, orientation, comm.get(), comm.size(), transfer, 1);
    SharedBytes::Where where = collectively(comm.get(), [&] {
        if (comm.rank() != 0) return SharedBytes::Where{};
        const Index begin =
            Hdf5File::open(file, false, place.status).matrix_begin(path, panels.outer, panels.inner);
        const Descriptor descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
        const FileSeen found = seen(descriptor.id);
        if (found == FileSeen{})
            refuse(place, path, "cannot be looked at (" + std::string(std::strerror(errno)) + ")");
        return SharedBytes::Where{found, begin};
    });
    broadcast_bytes(comm.get(), std::as_writable_bytes(std::span(&where, 1)), 0);
    const Index sum = checksum(matrix, matrix.rows(), matrix.columns());

    std::optional<SharedBytes> bytes;
    collectively(comm.get(), [&] { bytes.emplace(place, path, where, comm.rank()); });
    for (Index first = 0; first < panels.outer; first += panels.width) {
        const Index count = std::min(panels.width, panels.outer - first);
        const std::vector<Index> lines = collectively(comm.get(), [&] {
            std::vector<Index> indices(static_cast<std::size_t>(count));
            std::iota(indices.begin(), indices.end(), first);
            return indices;
        });
        const auto whole = panels.first(panels.inner);
        const DistributedMatrix panel = panels.as_is()
                                            ? submatrix(matrix, lines, whole, panels.line, panels.piece)
                                            : submatrix(matrix, whole, lines, panels.line, panels.piece);
        collectively(comm.get(), [&] { write_rows(*bytes, panels, panel, first); });
    }
    collectively(comm.get(), [&] { bytes->sync(); });
    collectively(comm.get(), [&] {
        if (comm.rank() != 0) return;
        Hdf5File h5 = Hdf5File::open(file, true, place.status);
        h5.set_checksum(path, sum);
        h5.close();
    });
}

namespace {

/// Rows and columns of the matrix that a data set holds. Every rank's name leads to the first rank's file
/// behind it; of inputs each host may have a copy of its own. Collective.
std::pair<Index, Index> matrix_shape(const Hdf5Place& place, const std::string& path, Orientation orientation,
                                     const Communicator& comm) {
    struct Found {
        Index rows = 0, columns = 0;
        FileSeen file = {};
    };
    Found found = collectively(comm.get(), [&] {
        if (comm.rank() != 0) return Found{};
        const std::vector<Index> shape = Hdf5File::open(place.file, false, place.status).shape(path);
        if (shape.size() != 2)
            throw Error(place.status, ErrorKind::contradiction,
                        fmt::format("{}: {} is not a matrix: it has {} dimensions", place.file.string(), path,
                                    shape.size()));
        const Descriptor descriptor(::open(place.file.c_str(), O_RDONLY | O_CLOEXEC));
        return Found{shape[0], shape[1], seen(descriptor.id)};
    });
    broadcast_bytes(comm.get(), std::as_writable_bytes(std::span(&found, 1)), 0);
    if (place.status == ExitStatus::output)
        collectively(comm.get(), [&] {
            const Descriptor descriptor(open_as_first(place.file, O_RDONLY, found.file));
            if (descriptor.id >= 0) return;
            if (errno == ESTALE) refuse_other(place, path, comm.rank());
            refuse(place, path,
                   fmt::format("cannot be read by rank {} ({})", comm.rank(), std::strerror(errno)));
        });
    if (orientation == Orientation::transposed) std::swap(found.rows, found.columns);
    return {found.rows, found.columns};
}

/// Reads a data set of shape.first x shape.second into the leading entries of a matrix at least as large.
void read_leading(const Hdf5Place& place, const std::string& path, const std::pair<Index, Index>& shape,
                  DistributedMatrix& matrix, Orientation orientation, Index transfer) {
    const Communicator& comm = matrix.grid().comm();
    const BlockCyclic& layout =
        orientation == Orientation::as_is ? matrix.row_layout() : matrix.column_layout();
    // Panels that begin with a block of the first process: local indices then go on from panel to panel.
    const Index cycle = layout.block * layout.processes;
    const Panels panels(shape, orientation, comm.get(), comm.size(), transfer, cycle);
    std::optional<Hdf5File> file;
    collectively(comm.get(), [&] {
        file.emplace(Hdf5File::open(place.file, false, place.status));
        file->trust_chunks(path);  // matrix_shape() has looked at them, and each rank needs some alone
    });
    for (Index first = 0; first < panels.outer; first += panels.width) {
        const Index count = std::min(panels.width, panels.outer - first);
        const Index rows = panels.as_is() ? count : panels.inner,
                    columns = panels.as_is() ? panels.inner : count;
        const DistributedMatrix panel = collectively(comm.get(), [&] {
            DistributedMatrix read(panels.line, rows, columns, panels.piece);
            read_rows(*file, path, panels, read, first);
            return read;
        });
        const DistributedMatrix part =
            submatrix(panel, panels.first(rows), panels.first(columns), matrix.grid(), matrix.block());
        const Index before = first / cycle * layout.block;
        double* const to = matrix.data() + (panels.as_is() ? before : before * matrix.lld());
        for (Index j = 0; j < part.local_columns(); ++j)
            std::copy_n(part.data() + j * part.lld(), part.local_rows(), to + j * matrix.lld());
    }
    collectively(comm.get(), [&] { file.reset(); });  // no rank goes on while another holds the file's lock
}

}  // namespace

DistributedMatrix read_matrix(const Hdf5Place& place, const std::string& path, const ProcessGrid& grid,
                              Index block, Orientation orientation, Index transfer) {
    const auto shape = matrix_shape(place, path, orientation, grid.comm());
    DistributedMatrix matrix = collectively(
        grid.comm().get(), [&] { return DistributedMatrix(grid, shape.first, shape.second, block); });
    read_leading(place, path, shape, matrix, orientation, transfer);
    return matrix;
}

std::pair<Index, Index> read_into(const Hdf5Place& place, const std::string& path, DistributedMatrix& matrix,
                                  Orientation orientation, Index transfer) {
    const auto shape = matrix_shape(place, path, orientation, matrix.grid().comm());
    const auto [rows, columns] = shape;
    if (rows > matrix.rows() || columns > matrix.columns())
        throw Error(place.status, ErrorKind::contradiction,
                    fmt::format("{}: {} is {} x {}, more than the {} x {} that are needed",
                                place.file.string(), path, rows, columns, matrix.rows(), matrix.columns()));
    read_leading(place, path, shape, matrix, orientation, transfer);
    return shape;
}

}  // namespace tangram
