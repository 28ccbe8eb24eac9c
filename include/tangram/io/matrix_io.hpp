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

/// How a matrix travels: bytes per rank of a panel of the file's rows.
inline constexpr Index largest_transfer = Index{1} << 25;

/// Of the bits and places of the leading rows x columns entries, whatever the layout: a sum modulo 2^64.
/// Collective over the matrix's grid.
Index checksum(const DistributedMatrix& matrix, Index rows, Index columns);

/// Writes every entry into a data set that Hdf5File::create_matrix made: panels of the file's rows go to the
/// ranks in long pieces, each rank writes its own into the file's bytes and syncs them, the first stores the
/// checksum. What one rank cannot write is an error on all. Collective over the matrix's grid; ranks that own
/// nothing take part. Memory per rank: two panels of `transfer` bytes and submatrix()'s buffers.
/// @throws Error(output) on every rank: missing, another shape, cannot be written
void write_matrix(const std::filesystem::path& file, const std::string& path, const DistributedMatrix& matrix,
                  Orientation orientation, Index transfer = largest_transfer);

/// Reads a two-dimensional data set of any number type, byte order and layout (contiguous, chunked,
/// compressed) into a matrix of the given block; every rank reads pieces of the file's rows, which then go
/// where they belong. Collective over grid. Memory per rank as write_matrix, and one block of rows more.
/// @throws Error(place's status) on every rank: missing, not two-dimensional, not numbers, torn
DistributedMatrix read_matrix(const Hdf5Place& place, const std::string& path, const ProcessGrid& grid,
                              Index block, Orientation orientation, Index transfer = largest_transfer);

/// The same into the leading entries of a matrix that is there, without a second one; the others stay.
/// Collective over its grid. @return rows and columns of what was read
/// @throws Error(place's status) as read_matrix, and where the data set has more rows or columns
std::pair<Index, Index> read_into(const Hdf5Place& place, const std::string& path, DistributedMatrix& matrix,
                                  Orientation orientation, Index transfer = largest_transfer);

}  // namespace tangram
