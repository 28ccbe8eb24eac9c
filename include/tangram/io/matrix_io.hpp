#pragma once
#include <filesystem>
#include <string>

#include "tangram/error.hpp"
#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram {

enum class Orientation {
    as_is,       ///< entry (i, j) stands at [i][j] of the file
    transposed,  ///< entry (i, j) stands at [j][i]: no local packing; for symmetric matrices and eigenvectors
};

/// How a matrix travels: bytes per rank of one collective transfer (below the 2 GiB that HDF5 1.10 can do). Matrices
/// that go as_is travel in panels of at most 128 MiB, which are copied.
inline constexpr Index largest_transfer = Index{1} << 30;

/// Writes every entry into a data set that Hdf5File::create_matrix made, one strided collective transfer per
/// `transfer` bytes. Collective over the matrix's grid; ranks that own nothing take part. The file's space must have
/// been claimed (StagedFile::write_small does): OpenMPI 4.1 reports success for what a full disk did not take [seen].
/// @return true if every transfer was collective on every rank
/// @throws Error(output) on every rank: missing, another shape, cannot be written
bool write_matrix(const std::filesystem::path& file, const std::string& path, const DistributedMatrix& matrix,
                  Orientation orientation, Index transfer = largest_transfer);

/// Reads a two-dimensional data set of any number type, byte order and layout (contiguous, chunked, compressed) into a
/// matrix of the given block. Collective over grid.
/// @param status  of failures: output for tangram's own file, input for somebody else's
/// @throws Error(status) on every rank: missing, not two-dimensional, not numbers, torn
DistributedMatrix read_matrix(const std::filesystem::path& file, const std::string& path, const ProcessGrid& grid,
                              Index block, Orientation orientation, ExitStatus status,
                              Index transfer = largest_transfer);

}  // namespace tangram
