#pragma once
#include <array>
#include <limits>

#include "tangram/index.hpp"
#include "tangram/spectrum/eigenpairs.hpp"

namespace tangram {

inline constexpr double not_measured = std::numeric_limits<double>::infinity();
inline constexpr std::array measured_solver{Solver::lapack, Solver::elpa1, Solver::scalapack_dc,
                                            Solver::scalapack_mrrr};

/// Median seconds of the eigenproblem of one n x n matrix on idle cores, one per rank, by solver.
struct MeasuredSolvers {
    int ranks;
    Index n;
    bool vectors;  ///< with eigenvectors, or eigenvalues alone
    std::array<double, measured_solver.size()> seconds;
};

/// Written by tools/benchmarks/solvers --write. One and two ranks: AMD EPYC with AVX-512, Debian 12's
/// OpenBLAS 0.3.21, ScaLAPACK 2.2.1 and ELPA 2022.11. Sixteen: a machine of 16 cores and a current OpenBLAS;
/// the seconds under lapack are numpy's, which calls the same routine, with 16 threads.
inline constexpr MeasuredSolvers measured_solvers[] = {
    {1, 500, true, {0.0388, 0.0521, 0.053, 0.0442}},
    {1, 500, false, {0.0159, 0.0349, 0.0467, 0.0237}},
    {1, 1000, true, {0.183, 0.237, 0.232, 0.206}},
    {1, 1000, false, {0.0694, 0.146, 0.232, 0.101}},
    {1, 2000, true, {1.31, 1.6, 1.72, 1.54}},
    {1, 2000, false, {0.58, 1.1, 1.7, 0.761}},
    {2, 500, true, {0.0413, 0.0345, 0.0374, 0.0496}},
    {2, 500, false, {0.0158, 0.0264, 0.0431, 0.0527}},
    {2, 1000, true, {0.159, 0.154, 0.171, 0.235}},
    {2, 1000, false, {0.0662, 0.114, 0.189, 0.227}},
    {2, 2000, true, {0.964, 1.02, 1.16, 1.41}},
    {2, 2000, false, {0.354, 0.655, 1.07, 1.12}},
    {2, 4000, true, {6.4, 7.31, 8.54, 10.6}},
    {2, 4000, false, {3.62, 5.55, 8.84, 7.83}},
    {16, 4096, true, {2.95, 2.3, not_measured, not_measured}},
    {16, 8192, true, {19.8, 16.7, not_measured, not_measured}},
};

}  // namespace tangram
