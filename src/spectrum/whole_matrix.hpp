#pragma once
#include <functional>

#include "tangram/parallel/communicator.hpp"

namespace tangram {

/// Runs `work` on the first rank while the others sleep (they look every now and then whether it is done),
/// with as many BLAS threads as the ranks of its host have together: that many ranks, times the OpenMP
/// threads of each, on all of their cores. Only OpenBLAS lets its threads be set; fewer than it has already
/// are never set. Collective over comm. @param threaded  false: BLAS's threads stay as they are
/// @throws Error on every rank what `work` throws; it holds no collective call
void on_first_rank(MPI_Comm comm, bool threaded, const std::function<void()>& work);

}  // namespace tangram
