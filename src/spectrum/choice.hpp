#pragma once
#include <span>

#include "measured_solvers.hpp"

namespace tangram {

/// choose_solver() by a table of measurements. LAPACK's seconds are those of the row for its cores, of the
/// others of the row for the ranks: threads help them little. Local.
std::pair<Solver, std::string> choose_solver(std::span<const MeasuredSolvers> table, Index n, int ranks,
                                             int cores, bool vectors);

/// solver_layout() by a table of measurements. Local.
SolverLayout solver_layout(std::span<const MeasuredSolvers> table, Solver solver, Index n, int ranks,
                           bool vectors, const SolverLayout& asked, int grid_rows);

}  // namespace tangram
