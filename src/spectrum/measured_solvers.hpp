#pragma once
#include <array>
#include <limits>

#include "tangram/index.hpp"
#include "tangram/spectrum/eigenpairs.hpp"

namespace tangram {

inline constexpr double not_measured = std::numeric_limits<double>::infinity();
inline constexpr std::array measured_solver{Solver::lapack, Solver::elpa1, Solver::scalapack_dc,
                                            Solver::scalapack_mrrr};

/// Median seconds of a solver, and the layout at which it was fastest; zeros of one that works in one piece.
struct MeasuredSolver {
    double seconds;
    Index block = 0;
    int grid_rows = 0;
};

/// Of the eigenproblem of one n x n matrix on idle cores, one per rank, by solver as in `measured_solver`.
struct MeasuredSolvers {
    int ranks;
    Index n;
    bool vectors;  ///< with eigenvectors, or eigenvalues alone
    MeasuredSolver by[measured_solver.size()];
};

/// Written by tools/benchmarks/solvers --write. One and two ranks: AMD EPYC with AVX-512, Debian 12's
/// OpenBLAS 0.3.21, ScaLAPACK 2.2.1 and ELPA 2022.11. Sixteen: a machine of 16 cores and a current OpenBLAS;
/// the seconds under lapack are numpy's, which calls the same routine, with 16 threads. Rows whose solvers
/// all stand at blocks of 64 and the most square grid were measured there alone.
inline constexpr MeasuredSolvers measured_solvers[] = {
    {1, 500, true, {{0.0388}, {0.0521, 64, 1}, {0.053, 64, 1}, {0.0442, 64, 1}}},
    {1, 500, false, {{0.0159}, {0.0349, 64, 1}, {0.0467, 64, 1}, {0.0237, 64, 1}}},
    {1, 1000, true, {{0.183}, {0.237, 64, 1}, {0.232, 64, 1}, {0.206, 64, 1}}},
    {1, 1000, false, {{0.0694}, {0.146, 64, 1}, {0.232, 64, 1}, {0.101, 64, 1}}},
    {1, 2000, true, {{1.31}, {1.6, 64, 1}, {1.72, 64, 1}, {1.54, 64, 1}}},
    {1, 2000, false, {{0.58}, {1.1, 64, 1}, {1.7, 64, 1}, {0.761, 64, 1}}},
    {1, 4000, true, {{11.7}, {14, 128, 1}, {15.3, 32, 1}, {14, 32, 1}}},
    {1, 4000, false, {{5.85}, {10.7, 256, 1}, {13.3, 32, 1}, {7.06, 64, 1}}},
    {2, 500, true, {{0.0413}, {0.0345, 64, 1}, {0.0374, 64, 1}, {0.0496, 64, 1}}},
    {2, 500, false, {{0.0158}, {0.0264, 64, 1}, {0.0431, 64, 1}, {0.0527, 64, 1}}},
    {2, 1000, true, {{0.137}, {0.141, 16, 1}, {0.151, 32, 1}, {0.222, 64, 1}}},
    {2, 1000, false, {{0.0552}, {0.0989, 64, 1}, {0.153, 16, 1}, {0.215, 64, 1}}},
    {2, 2000, true, {{0.761}, {0.851, 64, 1}, {0.948, 32, 1}, {1.41, 64, 1}}},
    {2, 2000, false, {{0.28}, {0.609, 64, 1}, {0.878, 32, 1}, {1.1, 64, 1}}},
    {2, 4000, true, {{6.47}, {6.83, 32, 1}, {7.45, 64, 1}, {11.7, 32, 1}}},
    {2, 4000, false, {{3.58}, {5.9, 32, 1}, {8.06, 64, 1}, {9.71, 256, 1}}},
    {16, 4096, true, {{2.95}, {2.3, 64, 4}, {not_measured}, {not_measured}}},
    {16, 8192, true, {{19.8}, {16.7, 64, 4}, {not_measured}, {not_measured}}},
};

}  // namespace tangram
