#pragma once
#include <vector>

#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram {

/// Whether this build has ELPA.
bool has_elpa();

/// Ascending eigenvalues and, where asked for, eigenvectors by ELPA's one- or two-stage solver. Every rank
/// must own part of G. @param count  only the smallest so many, w's and V's first. Collective over G's grid;
/// G is overwritten. @throws Error(numerical) with ELPA's own error text
void solve_elpa(DistributedMatrix& G, bool two_stage, bool vectors, Index count, std::vector<double>& w,
                DistributedMatrix& V);

}  // namespace tangram
