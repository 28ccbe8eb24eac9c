#include <fmt/format.h>

#include <algorithm>

#include "tangram/spectrum/eigenpairs.hpp"

namespace tangram {

std::pair<Solver, std::string> choose_solver(Index n, int ranks, bool vectors) {
    // Measured with Debian 12's libraries on two AVX-512 cores, two ranks, n = 3000, seconds. With vectors: pdsyevd 3.0,
    // pdsyevr 4.1, elpa1 2.7, elpa2 8.4 (its back-transform kernel is the generic one there); values only: pdsyevr 3.5,
    // elpa1 1.8, elpa2 1.5. Below a few hundred rows the distributed solvers are latency-bound.
    if (n <= 256 || (ranks == 1 && n <= 4096))
        return {Solver::lapack, fmt::format("auto: n = {} on {} ranks is fastest in one piece", n, ranks)};
    const auto available = solvers();
    const bool elpa = std::find(available.begin(), available.end(), Solver::elpa1) != available.end();
    if (!vectors && elpa) return {Solver::elpa1, "auto: eigenvalues alone are fastest in ELPA"};
    return {Solver::scalapack_dc, "auto: divide and conquer is as fast as any with eigenvectors and always there"};
}

}  // namespace tangram
