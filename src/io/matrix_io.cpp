#include "tangram/io/matrix_io.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "tangram/io/damaged_file.hpp"
#include "tangram/io/hdf5_file.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/random.hpp"

namespace tangram {

namespace {

/// A panel that has to be transposed in memory is a copy; it stays below this, whatever the transfer may be.
constexpr Index largest_copy = Index{1} << 27;

/// A file and a data set in it, opened by all ranks of a grid; closing is collective.
struct OpenSet {
    Hdf5Handle file, set;
};

/// Every rank calls; a failure anywhere is an Error everywhere.
OpenSet open_together(const Hdf5Place& place, const std::string& path, MPI_Comm comm, bool writable) {
    silence_hdf5();
    note_hdf5_file(place);
    OpenSet open;
    Hdf5Handle access;
    collectively(comm, [&] {
        access = {check_hdf5(H5Pcreate(H5P_FILE_ACCESS), place, "the file", "opened"), H5Pclose};
        check_hdf5(H5Pset_fapl_mpio(access, comm, MPI_INFO_NULL), place, "the file", "opened");
        check_hdf5(H5Pset_all_coll_metadata_ops(access, true), place, "the file", "opened");
        check_hdf5(H5Pset_coll_metadata_write(access, true), place, "the file", "opened");
    });
    open.file = {H5Fopen(place.file.c_str(), writable ? H5F_ACC_RDWR : H5F_ACC_RDONLY, access), H5Fclose};
    collectively(comm, [&] { check_hdf5(open.file, place, "the file", "opened by all ranks"); });
    open.set = {H5Dopen2(open.file, path.c_str(), within_the_file()), H5Dclose};
    collectively(comm, [&] { check_hdf5(open.set, place, path, "opened by all ranks"); });
    return open;
}

/// Evenly spaced runs of one dimension of the file.
struct Stripes {
    hsize_t start, stride, count, block;
};

/// Where local indices [first, last) stand: the rest of a block, whole blocks, the beginning of a block.
std::vector<Stripes> stripes(const BlockCyclic& layout, int process, Index first, Index last) {
    std::vector<Stripes> parts;
    const auto add = [&](Index from, Index count, Index block) {
        if (count > 0 && block > 0)
            parts.push_back({static_cast<hsize_t>(layout.to_global(from, process)),
                             static_cast<hsize_t>(layout.block * layout.processes),
                             static_cast<hsize_t>(count), static_cast<hsize_t>(block)});
    };
    const Index nb = layout.block;
    const Index head = std::min(last, (first + nb - 1) / nb * nb), tail = std::max(head, last / nb * nb);
    add(first, 1, head - first);
    add(head, (tail - head) / nb, nb);
    add(tail, 1, last - tail);
    return parts;
}

/// What the file's two dimensions are in the matrix.
struct Dimensions {
    BlockCyclic outer, inner;
    int outer_process, inner_process;
    Index outer_local, inner_local;
};
Dimensions dimensions(const BlockCyclic& rows, const BlockCyclic& columns, const ProcessGrid& grid,
                      Orientation orientation) {
    const int p = grid.row(), q = grid.column();
    if (orientation == Orientation::as_is)
        return {rows, columns, p, q, rows.local_size(p), columns.local_size(q)};
    return {columns, rows, q, p, columns.local_size(q), rows.local_size(p)};
}

/// The part of a panel's entries in file and memory, or nothing: what a rank without work, or in trouble,
/// takes part with.
struct Selection {
    Hdf5Handle file, memory;
};
Selection nothing(hid_t set) {
    Selection none;
    const hsize_t one = 1;
    none.file = {H5Dget_space(set), H5Sclose};
    none.memory = {H5Screate_simple(1, &one, nullptr), H5Sclose};
    H5Sselect_none(none.file);
    H5Sselect_none(none.memory);
    return none;
}
Selection select(hid_t set, const Dimensions& d, Index first, Index last, const Hdf5Place& place,
                 const std::string& path) {
    Selection found = nothing(set);
    const auto entries = static_cast<hsize_t>((last - first) * d.inner_local);
    if (entries == 0) return found;
    for (const Stripes& a : stripes(d.outer, d.outer_process, first, last))
        for (const Stripes& b : stripes(d.inner, d.inner_process, 0, d.inner_local)) {
            const hsize_t start[] = {a.start, b.start}, stride[] = {a.stride, b.stride},
                          count[] = {a.count, b.count}, block[] = {a.block, b.block};
            check_hdf5(H5Sselect_hyperslab(found.file, H5S_SELECT_OR, start, stride, count, block), place,
                       path, "selected");
        }
    found.memory = {check_hdf5(H5Screate_simple(1, &entries, nullptr), place, path, "selected"), H5Sclose};
    return found;
}

/// Visits entries (i, j) of the panel, i in [first, last) rows, in small squares that fit the cache.
template <class Visit>
void in_squares(Index first, Index last, Index columns, Visit visit) {
    constexpr Index edge = 32;
    for (Index i0 = first; i0 < last; i0 += edge)
        for (Index j0 = 0; j0 < columns; j0 += edge)
            for (Index j = j0; j < std::min(columns, j0 + edge); ++j)
                for (Index i = i0; i < std::min(last, i0 + edge); ++i) visit(i, j);
}

/// Calls visit(first, last) for panels of the outer dimension, as often on every rank, each panel within
/// `bytes`.
template <class Visit>
void for_panels(MPI_Comm comm, const Dimensions& d, Index bytes, Visit visit) {
    const Index panel = std::max<Index>(1, bytes / (8 * std::max<Index>(1, d.inner.local_size(0))));
    const Index panels = max_over_ranks(comm, (d.outer_local + panel - 1) / panel);
    for (Index p = 0; p < panels; ++p) {
        const Index first = std::min(d.outer_local, p * panel);
        visit(first, std::min(d.outer_local, first + panel));
    }
}

Hdf5Handle collective_transfer(MPI_Comm comm, const Hdf5Place& place, const std::string& path) {
    return collectively(comm, [&] {
        Hdf5Handle transfer(check_hdf5(H5Pcreate(H5P_DATASET_XFER), place, path, "transferred"), H5Pclose);
        check_hdf5(H5Pset_dxpl_mpio(transfer, H5FD_MPIO_COLLECTIVE), place, path, "transferred");
        return transfer;
    });
}

Index panel_bytes(Index transfer, Orientation orientation) {
    return orientation == Orientation::as_is ? std::min(transfer, largest_copy)
                                             : std::min(transfer, largest_transfer);
}

/// The panel's entries in the file's order: the matrix's own, or copies in `packed`.
const double* in_file_order(const DistributedMatrix& matrix, const Dimensions& d, Index first, Index last,
                            Orientation orientation, std::vector<double>& packed) {
    const double* const own = matrix.data() + first * matrix.lld();
    if (orientation != Orientation::as_is) return own;
    packed.resize(static_cast<std::size_t>((last - first) * d.inner_local));
    in_squares(first, last, d.inner_local, [&](Index i, Index j) {
        packed[static_cast<std::size_t>((i - first) * d.inner_local + j)] =
            matrix.data()[i + j * matrix.lld()];
    });
    return packed.data();
}

/// Into the attribute that holds it, where there is one. Every rank calls.
void write_checksum(const OpenSet& open, Index sum, const Hdf5Place& place, const std::string& path,
                    MPI_Comm comm) {
    std::exception_ptr failure;
    try {
        if (check_hdf5(H5Aexists(open.set, checksum_name), place, path, "described") > 0) {
            const Hdf5Handle attribute(
                check_hdf5(H5Aopen(open.set, checksum_name, H5P_DEFAULT), place, path, "opened"), H5Aclose);
            check_hdf5(H5Awrite(attribute, H5T_NATIVE_INT64, &sum), place, path, "written");
        }
    } catch (...) {
        failure = std::current_exception();
    }
    agree_on_failure(comm, failure);
}

/// To the disk on every rank: a host that dies later takes nothing of it along.
void flush_and_close(OpenSet& open, const Hdf5Place& place, MPI_Comm comm) {
    const herr_t flushed = H5Fflush(open.file, H5F_SCOPE_GLOBAL);
    const herr_t set_closed = open.set.close(), file_closed = open.file.close();
    collectively(comm, [&] {
        if (flushed < 0 || set_closed < 0 || file_closed < 0)
            throw Error(place.status, fmt::format("{}: cannot be closed: {}; check free space",
                                                  place.file.string(), hdf5_failure()));
    });
}

}  // namespace

Index checksum(const DistributedMatrix& matrix, Index rows, Index columns) {
    std::uint64_t sum = 0;
    for (Index j = 0; j < matrix.local_columns() && matrix.global_column(j) < columns; ++j) {
        const Index column = matrix.global_column(j) * rows;
        for (Index i = 0; i < matrix.local_rows() && matrix.global_row(i) < rows; ++i)
            sum += random::mixed(std::bit_cast<std::uint64_t>(matrix.data()[i + j * matrix.lld()]) ^
                                 random::mixed(static_cast<std::uint64_t>(column + matrix.global_row(i))));
    }
    std::uint64_t all = 0;
    TANGRAM_MPI(MPI_Allreduce(&sum, &all, 1, MPI_UINT64_T, MPI_SUM, matrix.grid().comm().get()));
    return static_cast<Index>(all);
}

bool write_matrix(const std::filesystem::path& file, const std::string& path, const DistributedMatrix& matrix,
                  Orientation orientation, Index transfer) {
    const MPI_Comm comm = matrix.grid().comm().get();
    const Hdf5Place place{file, ExitStatus::output};
    const Dimensions d = dimensions(matrix.row_layout(), matrix.column_layout(), matrix.grid(), orientation);
    // A collective open says little about what is wrong, so one rank looks first.
    collectively(comm, [&] {
        if (matrix.grid().comm().rank() != 0) return;
        const auto shape = Hdf5File::open(file, false, place.status).shape(path);
        if (shape != std::vector<Index>{d.outer.size, d.inner.size})
            throw Error(place.status, fmt::format("{}: {} has not the shape {} x {} of the matrix",
                                                  file.string(), path, d.outer.size, d.inner.size));
    });
    OpenSet open = open_together(place, path, comm, true);
    const Hdf5Handle property = collective_transfer(comm, place, path);
    const Index sum = checksum(matrix, matrix.rows(), matrix.columns());
    std::vector<double> packed;
    bool collective = true;
    for_panels(comm, d, panel_bytes(transfer, orientation), [&](Index first, Index last) {
        std::exception_ptr failure;
        static constexpr double none = 0;
        const double* from = &none;
        Selection selection;
        try {
            selection = select(open.set, d, first, last, place, path);
            if (last > first && d.inner_local > 0)
                from = in_file_order(matrix, d, first, last, orientation, packed);
        } catch (...) {
            failure = std::current_exception();
            selection = nothing(open.set);
            from = &none;
        }
        try {
            check_hdf5(
                H5Dwrite(open.set, H5T_NATIVE_DOUBLE, selection.memory, selection.file, property, from),
                place, path, "written");
            H5D_mpio_actual_io_mode_t mode = H5D_MPIO_NO_COLLECTIVE;
            check_hdf5(H5Pget_mpio_actual_io_mode(property, &mode), place, path, "written");
            collective = collective && mode != H5D_MPIO_NO_COLLECTIVE;
        } catch (...) {
            if (!failure) failure = std::current_exception();
        }
        agree_on_failure(comm, failure);
    });
    write_checksum(open, sum, place, path, comm);
    flush_and_close(open, place, comm);
    return !any_rank(comm, !collective);
}

namespace {

/// Rows and columns of the matrix that a data set holds. Collective.
std::pair<Index, Index> matrix_shape(const Hdf5Place& place, const std::string& path, Orientation orientation,
                                     const Communicator& comm) {
    std::vector<Index> shape = collectively(comm.get(), [&] {
        std::vector<Index> found;
        if (comm.rank() == 0) {
            found = Hdf5File::open(place.file, false, place.status).shape(path);
            if (found.size() != 2)
                throw Error(place.status, fmt::format("{}: {} is not a matrix: it has {} dimensions",
                                                      place.file.string(), path, found.size()));
        }
        return found;
    });
    broadcast(comm.get(), shape, 0);
    if (orientation == Orientation::transposed) std::swap(shape[0], shape[1]);
    return {shape[0], shape[1]};
}

/// Reads a data set of shape.first x shape.second into the leading entries of a matrix at least as large.
void read_leading(const Hdf5Place& place, const std::string& path, const std::pair<Index, Index>& shape,
                  DistributedMatrix& matrix, Orientation orientation, Index transfer) {
    const MPI_Comm comm = matrix.grid().comm().get();
    OpenSet open = open_together(place, path, comm, false);
    collectively(comm, [&] {
        const Hdf5Handle type(check_hdf5(H5Dget_type(open.set), place, path, "described"), H5Tclose);
        const H5T_class_t kind = H5Tget_class(type);
        if (kind != H5T_FLOAT && kind != H5T_INTEGER)
            throw Error(place.status, fmt::format("{}: {} does not hold numbers", place.file.string(), path));
    });
    // In the same blocks, local indices of the leading part are those of the whole.
    BlockCyclic row_layout = matrix.row_layout(), column_layout = matrix.column_layout();
    row_layout.size = shape.first;
    column_layout.size = shape.second;
    const Dimensions d = dimensions(row_layout, column_layout, matrix.grid(), orientation);
    const bool as_is = orientation == Orientation::as_is;
    const bool contiguous = !any_rank(comm, as_is || (d.outer_local > 0 && d.inner_local != matrix.lld()));
    const auto entry = [&](Index outer, Index inner) -> double& {
        return as_is ? matrix.data()[outer + inner * matrix.lld()]
                     : matrix.data()[inner + outer * matrix.lld()];
    };
    const Hdf5Handle property = collective_transfer(comm, place, path);
    std::vector<double> packed;
    for_panels(comm, d, std::min(transfer, contiguous ? largest_transfer : largest_copy),
               [&](Index first, Index last) {
                   std::exception_ptr failure;
                   double none = 0;
                   double* to = &none;
                   Selection selection;
                   bool unpack = false;
                   try {
                       selection = select(open.set, d, first, last, place, path);
                       if (last > first && d.inner_local > 0) {
                           unpack = !contiguous;
                           if (unpack)
                               packed.resize(static_cast<std::size_t>((last - first) * d.inner_local));
                           to = unpack ? packed.data() : matrix.data() + first * matrix.lld();
                       }
                   } catch (...) {
                       failure = std::current_exception();
                       selection = nothing(open.set);
                       unpack = false;
                       to = &none;
                   }
                   try {
                       check_hdf5(H5Dread(open.set, H5T_NATIVE_DOUBLE, selection.memory, selection.file,
                                          property, to),
                                  place, path, "read");
                   } catch (...) {
                       if (!failure) failure = std::current_exception();
                   }
                   agree_on_failure(comm, failure);
                   if (unpack)
                       in_squares(first, last, d.inner_local, [&](Index i, Index j) {
                           entry(i, j) = packed[static_cast<std::size_t>((i - first) * d.inner_local + j)];
                       });
               });
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
        throw Error(place.status,
                    fmt::format("{}: {} is {} x {}, more than the {} x {} that are needed",
                                place.file.string(), path, rows, columns, matrix.rows(), matrix.columns()));
    read_leading(place, path, shape, matrix, orientation, transfer);
    return shape;
}

}  // namespace tangram
