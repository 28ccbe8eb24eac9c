#pragma once
#include <string>

#include "tangram/parallel/distributed_matrix.hpp"
#include "tangram/session/session.hpp"
#include "tangram/spectrum/quality.hpp"

namespace tangram {

/// Somebody else's symmetric matrix, and what is known of it.
struct SymmetricInput {
    DistributedMatrix matrix;  ///< symmetric to the bit
    MatrixName name;
    bool rounded;  ///< stored in float32 or half precision: its noise floor is mixed precision's
};

/// Reads the matrix at "F.h5:/path". What its number type's rounding leaves off symmetry (float64 1e-12 of
/// the largest entry; float32 1e-4, as J J^T over 1e8 parameters may be off by some 1e-5; half precision
/// 1e-2) is averaged away with a warning. Collective. @throws Error(input) on every rank: as read_matrix();
/// not square, not finite, further off symmetry
SymmetricInput read_symmetric(const std::string& place, const ProcessGrid& grid, const Session& session);

/// Warns where a matrix that may be anybody's is no Gram matrix: it has negative eigenvalues that rounding
/// does not explain. Local.
void warn_indefinite(const SymmetricInput& input, const Eigenpairs& pairs, const Quality& checks,
                     const Session& session);

}  // namespace tangram
