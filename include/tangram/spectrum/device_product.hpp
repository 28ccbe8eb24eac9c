#pragma once
#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram {

/// A B, m x k times k x n, on A's grid in A's blocks. Where one rank has both, and B as many columns as an
/// eigenproblem that goes to the registered solver's device, that device multiplies them if it takes A; else
/// multiply(). Collective; throws as multiply(), and as HeldMatrix::multiply().
DistributedMatrix product_by_device_or_ranks(const DistributedMatrix& A, const DistributedMatrix& B);

}  // namespace tangram
