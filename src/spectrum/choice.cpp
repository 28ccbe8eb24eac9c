#include <fmt/format.h>

#include <algorithm>

#include "tangram/spectrum/eigenpairs.hpp"

namespace tangram {

namespace {

/// Fastest solvers by measurement on two AVX-512 cores (Debian 12's ScaLAPACK 2.2.1 and ELPA 2022.11,
/// OpenBLAS with its SkylakeX kernels, one thread per rank). Seconds with vectors / eigenvalues alone:
///   n     ranks  lapack       elpa1        scalapack-dc  scalapack-mrrr
///   1000  1      0.20 / 0.16  0.24 / 0.22  0.53 / -      0.35 / 0.15   (cores shared with other work)
///   1000  2      0.25 / 0.11  0.31 / 0.27  0.42 / -      0.61 / 0.57   (shared)
///   2000  1      1.37 / 0.74  1.60 / 1.27  1.94 / -                    (shared)
///   2000  2      1.42 / 0.90  1.93 / 1.60  2.38 / -      2.10 / 1.82   (shared)
///   3000  1      5.05 / 3.60  7.36 / 7.87                             (shared)
///   3000  2      5.51 / 2.30  5.03 / -                                (shared)
///   3000  2                   2.7  / 1.8   3.0  / -      4.1  / 3.5   (idle machine)
/// pdsyevd always computes vectors. elpa2 takes 8.4 s with vectors and 1.5 s without in the last row, and is
/// never chosen: it is not stable (check_two_stage in eigenpairs.cpp).
struct Measured {
    int most_ranks;      ///< for up to so many ranks
    Index lapack_up_to;  ///< LAPACK on one of them is fastest up to this n
};
constexpr Measured measured[] = {{1, 32766}, {2, 2000}};
/// More ranks were not measured: they gain sooner than two do.
constexpr Index lapack_on_many_ranks = 1000;

}  // namespace

std::pair<Solver, std::string> choose_solver(Index n, int ranks, bool vectors) {
    Index lapack_up_to = lapack_on_many_ranks;
    for (const Measured& row : measured)
        if (ranks <= row.most_ranks) {
            lapack_up_to = row.lapack_up_to;
            break;
        }
    const std::string_view what = vectors ? "with eigenvectors" : "eigenvalues alone";
    if (n <= lapack_up_to)
        return {Solver::lapack,
                fmt::format("auto: {} at n = {} on {} rank{}: measured fastest in one piece up to n = {}",
                            what, n, ranks, ranks == 1 ? "" : "s", lapack_up_to)};
    const auto available = solvers();
    if (std::find(available.begin(), available.end(), Solver::elpa1) != available.end())
        return {Solver::elpa1,
                fmt::format("auto: {} at n = {} on {} ranks: one-stage ELPA measured fastest of the "
                            "distributed solvers",
                            what, n, ranks)};
    return {Solver::scalapack_dc,
            fmt::format("auto: {} at n = {} on {} ranks: divide and conquer measured fastest without "
                        "ELPA, which this build has not",
                        what, n, ranks)};
}

}  // namespace tangram
