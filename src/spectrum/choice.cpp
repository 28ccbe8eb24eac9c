#include "choice.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <tuple>

namespace tangram {

namespace {

/// LAPACK counts in 32 bits (check_lapack_size) and needs four whole matrices on one rank. Where others have
/// each a share of the memory it is left at 2 GiB.
Index lapack_up_to(int ranks) { return ranks == 1 ? 32766 : 8192; }

/// Less than this much faster, in seconds, is not faster: the first in the table's order is taken.
constexpr double noticed = 0.05;

/// Of a solver that no layout was measured of.
constexpr Index usual_block = 64;

/// The row for the nearest number of ranks and among these for the nearest n, both by their ratio.
const MeasuredSolvers& nearest(std::span<const MeasuredSolvers> table, Index n, int ranks, bool vectors) {
    const auto distance = [&](const MeasuredSolvers& row) {
        return std::tuple(row.vectors != vectors, std::abs(std::log(static_cast<double>(ranks) / row.ranks)),
                          std::abs(std::log(static_cast<double>(n) / static_cast<double>(row.n))));
    };
    return *std::ranges::min_element(table,
                                     [&](const auto& a, const auto& b) { return distance(a) < distance(b); });
}

/// What there is to choose from at one size: its seconds there, and in words.
struct Candidate {
    double seconds;
    std::string words;
};

/// @param row  of the ranks  @param of_cores  of LAPACK's cores; its seconds are brought to row's n by n^3
Candidate candidate(Solver solver, const MeasuredSolver& by, const MeasuredSolvers& row,
                    const MeasuredSolvers& of_cores) {
    Candidate of{by.seconds, fmt::format("{} {:.3g} s", name(solver), by.seconds)};
    if (solver == Solver::lapack && &of_cores != &row) {
        of.seconds *= std::pow(static_cast<double>(row.n) / static_cast<double>(of_cores.n), 3);
        of.words += fmt::format(" (n = {} on {} cores)", of_cores.n, of_cores.ranks);
    }
    return of;
}

}  // namespace

std::pair<Solver, std::string> choose_solver(std::span<const MeasuredSolvers> table, Index n, int ranks,
                                             int cores, bool vectors) {
    const std::string problem =
        fmt::format("auto: {} at n = {} on {} rank{}", vectors ? "with eigenvectors" : "eigenvalues alone", n,
                    ranks, ranks == 1 ? "" : "s");
    if (n <= always_in_one_piece)
        return {Solver::lapack, fmt::format("{}: in one piece up to n = {}", problem, always_in_one_piece)};
    const MeasuredSolvers &row = nearest(table, n, ranks, vectors),
                          &of_cores = nearest(table, n, cores, vectors);
    const auto available = solvers();
    Solver best = Solver::scalapack_dc;
    double least = not_measured;
    std::string seconds;
    for (std::size_t s = 0; s < measured_solver.size(); ++s) {
        const Solver solver = measured_solver[s];
        const MeasuredSolver& by = (solver == Solver::lapack ? of_cores : row).by[s];
        if (std::ranges::find(available, solver) == available.end() || by.seconds == not_measured ||
            (solver == Solver::lapack && n > lapack_up_to(ranks)))
            continue;
        const Candidate of = candidate(solver, by, row, of_cores);
        seconds += (seconds.empty() ? "" : ", ") + of.words;
        if (of.seconds + noticed >= least) continue;
        least = of.seconds;
        best = solver;
    }
    return {best, fmt::format("{}: measured nearest at n = {} on {}: {}", problem, row.n, row.ranks,
                              seconds.empty() ? "none of this build's solvers" : seconds)};
}

SolverLayout solver_layout(std::span<const MeasuredSolvers> table, Solver solver, Index n, int ranks,
                           bool vectors, const SolverLayout& asked, int grid_rows) {
    const MeasuredSolvers& row = nearest(table, n, ranks, vectors);
    // elpa2 is in no table; it reduces in blocks as elpa1 does.
    const Solver measured = solver == Solver::elpa2 ? Solver::elpa1 : solver;
    const auto at = std::ranges::find(measured_solver, measured);
    const MeasuredSolver by = at == measured_solver.end()
                                  ? MeasuredSolver{not_measured}
                                  : row.by[static_cast<std::size_t>(at - measured_solver.begin())];
    const auto widest = [&](int rows) { return std::max(rows, ranks / rows); };
    SolverLayout layout = asked;
    const bool fits = row.ranks == ranks && by.grid_rows > 0 && n >= 2 * widest(by.grid_rows);
    if (layout.grid_rows == 0) layout.grid_rows = fits ? by.grid_rows : grid_rows;
    if (layout.block == 0) layout.block = by.block > 0 ? by.block : usual_block;
    layout.block = std::clamp<Index>(layout.block, 1, std::max<Index>(1, n / widest(layout.grid_rows)));
    return layout;
}

std::pair<Solver, std::string> choose_solver(Index n, int ranks, int cores, bool vectors) {
    return choose_solver(measured_solvers, n, ranks, cores, vectors);
}

SolverLayout solver_layout(Solver solver, Index n, int ranks, bool vectors, const SolverLayout& asked,
                           int grid_rows) {
    return solver_layout(measured_solvers, solver, n, ranks, vectors, asked, grid_rows);
}

}  // namespace tangram
