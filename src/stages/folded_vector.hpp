#pragma once
#include <vector>

#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram {

/// Rows of a vector's matrix, and columns that stand together on one rank: every rank has some columns of all
/// but small vectors, and writes whole ones.
inline constexpr Index folded_rows = 4096, folded_block = 64;

/// A vector that every rank holds, column by column in a matrix that they share: at most folded_rows rows,
/// zeros behind the last entry. Local.
DistributedMatrix folded(const std::vector<double>& values, const ProcessGrid& grid);

/// Its first `size` entries, on every rank. Collective; memory: on the first rank the whole twice.
std::vector<double> unfolded(const DistributedMatrix& matrix, Index size);

}  // namespace tangram
