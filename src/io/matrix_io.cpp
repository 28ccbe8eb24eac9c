#include "tangram/io/matrix_io.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "tangram/io/hdf5_file.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {

namespace {

/// A file opened by all ranks of a grid. Every rank calls; a failure anywhere is an Error everywhere.
Hdf5Handle open_together(const std::filesystem::path& file, MPI_Comm comm, bool writable, ExitStatus status) {
    const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5Pset_fapl_mpio(access, comm, MPI_INFO_NULL);
    Hdf5Handle handle(H5Fopen(file.c_str(), writable ? H5F_ACC_RDWR : H5F_ACC_RDONLY, access), H5Fclose);
    collectively(comm, [&] {
        if (handle < 0)
            throw Error(status, fmt::format("{}: cannot be opened by all ranks: {}", file.string(), hdf5_failure()));
    });
    return handle;
}

/// Adds the box rows x columns of whole and ragged blocks to a selection. [first, last) are local indices that start
/// at a block boundary.
struct Stripes {
    hsize_t start, stride, count, block;
};
std::vector<Stripes> stripes(const BlockCyclic& layout, int process, Index first, Index last) {
    std::vector<Stripes> parts;
    if (first >= last) return parts;
    const Index whole = (last - first) / layout.block, ragged = (last - first) % layout.block;
    const auto u = [](Index value) { return static_cast<hsize_t>(value); };
    if (whole > 0)
        parts.push_back({u(layout.to_global(first, process)), u(layout.block * layout.processes), u(whole), u(layout.block)});
    if (ragged > 0)
        parts.push_back({u(layout.to_global(first + whole * layout.block, process)), 1, 1, u(ragged)});
    return parts;
}

/// The part of the file that holds local indices [first, last) of the file's first dimension and all of the second.
Hdf5Handle selection(hid_t data_set, const BlockCyclic& outer, int outer_process, Index first, Index last,
                     const BlockCyclic& inner, int inner_process) {
    Hdf5Handle space(H5Dget_space(data_set), H5Sclose);
    H5Sselect_none(space);
    for (const Stripes& a : stripes(outer, outer_process, first, last))
        for (const Stripes& b : stripes(inner, inner_process, 0, inner.local_size(inner_process))) {
            const hsize_t start[] = {a.start, b.start}, stride[] = {a.stride, b.stride}, count[] = {a.count, b.count},
                          block[] = {a.block, b.block};
            H5Sselect_hyperslab(space, H5S_SELECT_OR, start, stride, count, block);
        }
    return space;
}

/// What the file's two dimensions are in the matrix.
struct Dimensions {
    BlockCyclic outer, inner;
    int outer_process, inner_process;
    Index outer_local, inner_local;
};
Dimensions dimensions(const DistributedMatrix& matrix, Orientation orientation) {
    const ProcessGrid& grid = matrix.grid();
    if (orientation == Orientation::as_is)
        return {matrix.row_layout(), matrix.column_layout(), grid.row(),           grid.column(),
                matrix.local_rows(), matrix.local_columns()};
    return {matrix.column_layout(), matrix.row_layout(), grid.column(), grid.row(), matrix.local_columns(),
            matrix.local_rows()};
}

/// Calls visit(first, last) for panels of whole blocks of the outer dimension, as often on every rank.
template <class Visit>
void for_panels(MPI_Comm comm, const Dimensions& d, Index transfer, Visit visit) {
    const Index inner_bytes = 8 * std::max<Index>(1, d.inner.local_size(0));
    const Index blocks = std::max<Index>(1, transfer / (inner_bytes * d.outer.block));
    const Index panel = blocks * d.outer.block;
    const Index panels = max_over_ranks(comm, (d.outer_local + panel - 1) / panel);
    for (Index p = 0; p < panels; ++p) {
        const Index first = std::min(d.outer_local, p * panel);
        visit(first, std::min(d.outer_local, first + panel));
    }
}

Hdf5Handle collective_transfer() {
    Hdf5Handle transfer(H5Pcreate(H5P_DATASET_XFER), H5Pclose);
    H5Pset_dxpl_mpio(transfer, H5FD_MPIO_COLLECTIVE);
    return transfer;
}

}  // namespace

bool write_matrix(const std::filesystem::path& file, const std::string& path, const DistributedMatrix& matrix,
                  Orientation orientation, Index transfer) {
    const MPI_Comm comm = matrix.grid().comm().get();
    Hdf5Handle handle = open_together(file, comm, true, ExitStatus::output);
    Hdf5Handle set(H5Dopen2(handle, path.c_str(), H5P_DEFAULT), H5Dclose);
    const Dimensions d = dimensions(matrix, orientation);
    const Hdf5Handle property = collective_transfer();
    std::vector<double> packed;
    bool collective = true;
    std::exception_ptr failure;
    for_panels(comm, d, transfer, [&](Index first, Index last) {
        const double* from = matrix.data() + first * matrix.lld();
        if (orientation == Orientation::as_is) {
            packed.resize(static_cast<std::size_t>((last - first) * d.inner_local));
            for (Index j = 0; j < d.inner_local; ++j)
                for (Index i = first; i < last; ++i)
                    packed[static_cast<std::size_t>((i - first) * d.inner_local + j)] = matrix.data()[i + j * matrix.lld()];
            from = packed.data();
        }
        const Hdf5Handle place = selection(set, d.outer, d.outer_process, first, last, d.inner, d.inner_process);
        const hsize_t count = static_cast<hsize_t>((last - first) * d.inner_local);
        const Hdf5Handle memory(H5Screate_simple(1, &count, nullptr), H5Sclose);
        if (count == 0) H5Sselect_none(memory);
        static constexpr double nothing = 0;
        if (H5Dwrite(set, H5T_NATIVE_DOUBLE, memory, place, property, count == 0 ? &nothing : from) < 0 && !failure)
            failure = std::make_exception_ptr(
                Error(ExitStatus::output, fmt::format("{}: {} cannot be written: {}; check free space",
                                                      file.string(), path, hdf5_failure())));
        H5D_mpio_actual_io_mode_t mode = H5D_MPIO_NO_COLLECTIVE;
        H5Pget_mpio_actual_io_mode(property, &mode);
        collective = collective && mode != H5D_MPIO_NO_COLLECTIVE;
    });
    if ((set.close() < 0 || handle.close() < 0) && !failure)
        failure = std::make_exception_ptr(Error(
            ExitStatus::output, fmt::format("{}: cannot be closed: {}; check free space", file.string(), hdf5_failure())));
    agree_on_failure(comm, failure);
    return !any_rank(comm, !collective);
}

DistributedMatrix read_matrix(const std::filesystem::path& file, const std::string& path, const ProcessGrid& grid,
                              Index block, Orientation orientation, ExitStatus status, Index transfer) {
    const MPI_Comm comm = grid.comm().get();
    std::vector<Index> shape = collectively(comm, [&] {
        std::vector<Index> found;
        if (grid.comm().rank() == 0) {
            found = Hdf5File::open(file, false, status).shape(path);
            if (found.size() != 2)
                throw Error(status, fmt::format("{}: {} is not a matrix: it has {} dimensions", file.string(), path,
                                                found.size()));
        }
        return found;
    });
    broadcast(comm, shape, 0);
    if (orientation == Orientation::transposed) std::swap(shape[0], shape[1]);
    DistributedMatrix matrix = collectively(comm, [&] { return DistributedMatrix(grid, shape[0], shape[1], block); });
    Hdf5Handle handle = open_together(file, comm, false, status);
    const Hdf5Handle set(H5Dopen2(handle, path.c_str(), H5P_DEFAULT), H5Dclose);
    const Hdf5Handle type(H5Dget_type(set), H5Tclose);
    collectively(comm, [&] {
        const H5T_class_t kind = H5Tget_class(type);
        if (kind != H5T_FLOAT && kind != H5T_INTEGER)
            throw Error(status, fmt::format("{}: {} does not hold numbers", file.string(), path));
    });
    const Dimensions d = dimensions(matrix, orientation);
    const Hdf5Handle property = collective_transfer();
    std::vector<double> packed;
    std::exception_ptr failure;
    for_panels(comm, d, transfer, [&](Index first, Index last) {
        const Hdf5Handle place = selection(set, d.outer, d.outer_process, first, last, d.inner, d.inner_process);
        const hsize_t count = static_cast<hsize_t>((last - first) * d.inner_local);
        const Hdf5Handle memory(H5Screate_simple(1, &count, nullptr), H5Sclose);
        if (count == 0) H5Sselect_none(memory);
        packed.resize(std::max<std::size_t>(1, count));
        const bool in_place = orientation == Orientation::transposed && count > 0;
        double* const to = in_place ? matrix.data() + first * matrix.lld() : packed.data();
        if (H5Dread(set, H5T_NATIVE_DOUBLE, memory, place, property, to) < 0 && !failure)
            failure = std::make_exception_ptr(
                Error(status, fmt::format("{}: {} cannot be read: {}", file.string(), path, hdf5_failure())));
        if (!in_place)
            for (Index j = 0; j < d.inner_local; ++j)
                for (Index i = first; i < last; ++i)
                    matrix.data()[i + j * matrix.lld()] = packed[static_cast<std::size_t>((i - first) * d.inner_local + j)];
    });
    agree_on_failure(comm, failure);
    return matrix;
}

}  // namespace tangram
