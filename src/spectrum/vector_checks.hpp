#pragma once
#include "tangram/spectrum/eigenpairs.hpp"

namespace tangram {

/// By the device that has found them, where it still has the room; else by all ranks. Collective over G's
/// grid.
/// @param pairs  with vectors
VectorChecks checks_of_vectors(const DistributedMatrix& G, const Eigenpairs& pairs);

}  // namespace tangram
