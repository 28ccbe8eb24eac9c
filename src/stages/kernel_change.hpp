#pragma once
#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram {

/// Centred alignment of two symmetric matrices, <H A H, H B H> / (|H A H| |H B H|), H = 1 - 11^T/N: 1 where
/// they are multiples of each other apart from constants (Cortes, Mohri, Rostamizadeh 2012). NaN where one of
/// them is constant. Sums go along whole rows and then over them, the same bits on any number of ranks.
/// Collective. @param A, B  on one grid of all ranks x 1, in one block
double centred_alignment(const DistributedMatrix& A, const DistributedMatrix& B);

/// The largest over examples of the sum of `per_example` diagonal entries that belong to it. Collective; A as
/// above.
double largest_trace(const DistributedMatrix& A, Index per_example);

}  // namespace tangram
