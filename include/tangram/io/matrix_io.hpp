#pragma once
#include <filesystem>
#include <string>
#include <utility>

#include "tangram/io/hdf5_handle.hpp"
#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram {

enum class Orientation {
    as_is,       ///< entry (i, j) stands at [i][j] of the file
    transposed,  ///< entry (i, j) stands at [j][i]: no local packing; for symmetric matrices and eigenvectors
};

/// How a matrix travels: bytes per rank of one collective transfer (below the 2 GiB that HDF5 1.10 can do).
/// Matrices that go as_is travel in panels of at most 128 MiB, which are copied.
inline constexpr Index largest_transfer = Index{1} << 30;

/// Of the bits and places of the leading rows x columns entries, whatever the layout: a sum modulo 2^64.
/// Collective over the matrix's grid.
Index checksum(const DistributedMatrix& matrix, Index rows, Index columns);

/// Writes every entry into a data set that Hdf5File::create_matrix made, one strided collective transfer per
/// `transfer` bytes. Collective over the matrix's grid; ranks that own nothing take part. The file's space
/// must have been claimed (StagedFile::write_small does): OpenMPI 4.1 reports success for what a full disk
/// did not take [seen].
/// @return true if every transfer was collective on every rank
/// @throws Error(output) on every rank: missing, another shape, cannot be written
bool write_matrix(const std::filesystem::path& file, const std::string& path, const DistributedMatrix& matrix,
                  Orientation orientation, Index transfer = largest_transfer);

/// Reads a two-dimensional data set of any number type, byte order and layout (contiguous, chunked,
/// compressed) into a matrix of the given block. Collective over grid.
/// @throws Error(place's status) on every rank: missing, not two-dimensional, not numbers, torn
DistributedMatrix read_matrix(const Hdf5Place& place, const std::string& path, const ProcessGrid& grid,
                              Index block, Orientation orientation, Index transfer = largest_transfer);

/// The same into the leading entries of a matrix that is there, without a second one; the others stay.
/// Collective over its grid. @return rows and columns of what was read
/// @throws Error(place's status) as read_matrix, and where the data set has more rows or columns
std::pair<Index, Index> read_into(const Hdf5Place& place, const std::string& path, DistributedMatrix& matrix,
                                  Orientation orientation, Index transfer = largest_transfer);

}  // namespace tangram
