#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "measured_solvers.hpp"
#include "tangram/spectrum/eigenpairs.hpp"

namespace tangram {

namespace {

/// LAPACK counts in 32 bits (check_lapack_size) and needs four whole matrices on one rank. Where others have
/// each a share of the memory it is left at 2 GiB.
Index lapack_up_to(int ranks) { return ranks == 1 ? 32766 : 8192; }

/// Less than this much faster, in seconds, is not faster: the first in the table's order is taken.
constexpr double noticed = 0.05;

/// The row for the nearest number of ranks and among these for the nearest n, both by their ratio.
const MeasuredSolvers& nearest(Index n, int ranks, bool vectors) {
    const auto distance = [&](const MeasuredSolvers& row) {
        return std::tuple(row.vectors != vectors, std::abs(std::log(static_cast<double>(ranks) / row.ranks)),
                          std::abs(std::log(static_cast<double>(n) / static_cast<double>(row.n))));
    };
    return *std::ranges::min_element(measured_solvers,
                                     [&](const auto& a, const auto& b) { return distance(a) < distance(b); });
}

}  // namespace

std::pair<Solver, std::string> choose_solver(Index n, int ranks, bool vectors) {
    const std::string problem =
        fmt::format("auto: {} at n = {} on {} rank{}", vectors ? "with eigenvectors" : "eigenvalues alone", n,
                    ranks, ranks == 1 ? "" : "s");
    if (n <= always_in_one_piece)
        return {Solver::lapack, fmt::format("{}: in one piece up to n = {}", problem, always_in_one_piece)};
    const MeasuredSolvers& row = nearest(n, ranks, vectors);
    const auto available = solvers();
    Solver best = Solver::scalapack_dc;
    double least = not_measured;
    std::string seconds;
    for (std::size_t s = 0; s < measured_solver.size(); ++s) {
        const Solver solver = measured_solver[s];
        if (std::ranges::find(available, solver) == available.end() || row.seconds[s] == not_measured ||
            (solver == Solver::lapack && n > lapack_up_to(ranks)))
            continue;
        seconds += fmt::format("{}{} {:.3g} s", seconds.empty() ? "" : ", ", name(solver), row.seconds[s]);
        if (row.seconds[s] + noticed >= least) continue;
        least = row.seconds[s];
        best = solver;
    }
    return {best, fmt::format("{}: measured nearest at n = {} on {}: {}", problem, row.n, row.ranks,
                              seconds.empty() ? "none of this build's solvers" : seconds)};
}

}  // namespace tangram
