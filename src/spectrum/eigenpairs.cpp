#include "tangram/spectrum/eigenpairs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "elpa_solver.hpp"
#include "lapack.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {

namespace {

constexpr std::pair<Solver, const char*> names[] = {
    {Solver::automatic, "auto"},           {Solver::lapack, "lapack"}, {Solver::scalapack_dc, "scalapack-dc"},
    {Solver::scalapack_mrrr, "scalapack-mrrr"}, {Solver::elpa1, "elpa1"},   {Solver::elpa2, "elpa2"}};

/// Block of the tridiagonal reductions: 64 is where ScaLAPACK and ELPA are fastest here; smaller where a rank would own
/// nothing (lesson 2).
Index own_block(Index n, const ProcessGrid& grid) {
    const Index widest = std::max(grid.rows(), grid.columns());
    return std::clamp<Index>(n / widest, 1, 64);
}

/// Non-finite and asymmetric entries, found before any solver sees them; the first in column order, on every rank.
void check_symmetric(const DistributedMatrix& G) {
    const MPI_Comm comm = G.grid().comm().get();
    constexpr Index none = std::numeric_limits<Index>::max();
    const auto first_over_ranks = [&](Index mine) { return -max_over_ranks(comm, -mine); };
    const auto name_entry = [&](Index entry, const char* problem) {
        throw Error(ExitStatus::input, fmt::format("the matrix is {} at row {}, column {} (counted from 0); eigenvalues "
                                                   "need a finite symmetric matrix",
                                                   problem, entry % G.rows(), entry / G.rows()));
    };
    Index bad = none;
    double largest = 0;
    for (Index j = 0; j < G.local_columns(); ++j)
        for (Index i = 0; i < G.local_rows(); ++i) {
            const double value = G.data()[i + j * G.lld()];
            if (!std::isfinite(value))
                bad = std::min(bad, G.global_column(j) * G.rows() + G.global_row(i));
            else
                largest = std::max(largest, std::abs(value));
        }
    bad = first_over_ranks(bad);
    if (bad != none) name_entry(bad, "not finite");
    // Our own matrices are symmetric to the bit; others' may carry rounding of two different sums.
    const double tolerance = 1e-12 * max_over_ranks(comm, largest);
    const DistributedMatrix mirrored = transpose(G);
    for (Index j = 0; j < G.local_columns(); ++j)
        for (Index i = 0; i < G.local_rows(); ++i)
            if (!(std::abs(G.data()[i + j * G.lld()] - mirrored.data()[i + j * G.lld()]) <= tolerance))
                bad = std::min(bad, G.global_column(j) * G.rows() + G.global_row(i));
    bad = first_over_ranks(bad);
    if (bad != none) name_entry(bad, "not symmetric");
}

void check_info(int info, Solver solver) {
    if (info != 0)
        throw Error(ExitStatus::numerical,
                    fmt::format("{} did not converge (info = {}); try another spectrum.solver", name(solver), info));
}

/// Workspace of at least `bound` doubles, or what the routine itself asks for where that is more (lesson 1).
std::vector<double> workspace(double query, Index bound) {
    return std::vector<double>(static_cast<std::size_t>(std::max(static_cast<Index>(query), bound)));
}

void solve_dc(DistributedMatrix& G, std::vector<double>& w, DistributedMatrix& V) {
    const Index n = G.rows();
    const ProcessGrid& grid = G.grid();
    const Index bound = pdsyevd_workspace(n, G.block(), grid.rows(), grid.columns());
    const int order = narrow(n, "matrix size"), one = 1;
    const auto descriptor = G.descriptor(), vectors = V.descriptor();
    const int integers = narrow(7 * n + 8 * static_cast<Index>(grid.columns()) + 2, "integer workspace");
    std::vector<int> iwork(static_cast<std::size_t>(integers));
    double query = 0;
    int info = 0, ask = -1;
    pdsyevd_("V", "L", &order, G.data(), &one, &one, descriptor.data(), w.data(), V.data(), &one, &one, vectors.data(),
             &query, &ask, iwork.data(), &integers, &info);
    std::vector<double> work = workspace(query, bound);
    const int size = narrow(std::ssize(work), "pdsyevd workspace");
    pdsyevd_("V", "L", &order, G.data(), &one, &one, descriptor.data(), w.data(), V.data(), &one, &one, vectors.data(),
             work.data(), &size, iwork.data(), &integers, &info);
    check_info(info, Solver::scalapack_dc);
}

void solve_mrrr(DistributedMatrix& G, bool vectors, std::vector<double>& w, DistributedMatrix& V) {
    const int order = narrow(G.rows(), "matrix size"), one = 1;
    const auto descriptor = G.descriptor(), vector_descriptor = V.descriptor();
    const char* const job = vectors ? "V" : "N";
    const double unused = 0;
    int found = 0, found_vectors = 0, info = 0, ask = -1, integer_query = 0;
    double query[3] = {0, 0, 0};
    pdsyevr_(job, "A", "L", &order, G.data(), &one, &one, descriptor.data(), &unused, &unused, &one, &order, &found,
             &found_vectors, w.data(), V.data(), &one, &one, vector_descriptor.data(), query, &ask, &integer_query, &ask,
             &info);
    std::vector<double> work = workspace(query[0], 0);
    std::vector<int> iwork(static_cast<std::size_t>(std::max(1, integer_query)));
    const int size = narrow(std::ssize(work), "pdsyevr workspace"), integers = narrow(std::ssize(iwork), "integer workspace");
    pdsyevr_(job, "A", "L", &order, G.data(), &one, &one, descriptor.data(), &unused, &unused, &one, &order, &found,
             &found_vectors, w.data(), V.data(), &one, &one, vector_descriptor.data(), work.data(), &size, iwork.data(),
             &integers, &info);
    check_info(info, Solver::scalapack_mrrr);
    if (found != order)
        throw Error(ExitStatus::numerical, fmt::format("scalapack-mrrr found {} of {} eigenvalues; use scalapack-dc", found, order));
}

/// On the first rank alone, with the whole matrix; the others wait.
void solve_lapack(const DistributedMatrix& G, bool vectors, std::vector<double>& w, DistributedMatrix& V) {
    const Index n = G.rows();
    if (n * n > std::numeric_limits<int>::max() / 2)
        throw Error(ExitStatus::study, fmt::format("lapack gathers the matrix on one rank, and its workspace at n = {} "
                                                   "exceeds 32-bit integers; use scalapack-dc",
                                                   n));
    const ProcessGrid& grid = G.grid();
    std::vector<double> whole = gather(G, 0);
    collectively(grid.comm().get(), [&] {
        if (grid.comm().rank() != 0) return;
        const int order = static_cast<int>(n);
        const char* const job = vectors ? "V" : "N";
        double query = 0;
        int info = 0, ask = -1, integer_query = 0;
        dsyevd_(job, "L", &order, whole.data(), &order, w.data(), &query, &ask, &integer_query, &ask, &info);
        std::vector<double> work = workspace(query, 1 + 6 * n + 2 * n * n);
        std::vector<int> iwork(static_cast<std::size_t>(std::max(integer_query, 3 + 5 * order)));
        const int size = narrow(std::ssize(work), "dsyevd workspace"), integers = narrow(std::ssize(iwork), "dsyevd workspace");
        dsyevd_(job, "L", &order, whole.data(), &order, w.data(), work.data(), &size, iwork.data(), &integers, &info);
        check_info(info, Solver::lapack);
    });
    if (vectors) V = scatter(whole, grid, n, n, V.block(), 0);
}

/// Columns in the reverse order: solvers give ascending eigenvalues. Collective.
DistributedMatrix reversed_columns(const DistributedMatrix& V) {
    const ProcessGrid& grid = V.grid();
    DistributedMatrix out(grid, V.rows(), V.columns(), V.block());
    const Index n = V.columns();
    std::vector<MPI_Request> requests;
    const int rows = narrow(V.local_rows(), "rows");
    for (Index j = 0; j < V.local_columns(); ++j) {
        const Index to = n - 1 - V.global_column(j);
        const int owner = V.column_layout().owner(to);
        const double* const from = V.data() + j * V.lld();
        if (owner == grid.column()) {
            std::copy_n(from, rows, out.data() + out.column_layout().to_local(to) * out.lld());
        } else if (rows > 0) {
            TANGRAM_MPI(MPI_Isend(from, rows, MPI_DOUBLE, grid.rank_of(grid.row(), owner), 3, grid.comm().get(),
                                  &requests.emplace_back()));
        }
    }
    // A sender goes through its columns ascending, so its messages arrive for descending columns here.
    for (Index j = out.local_columns(); j-- > 0;) {
        const int owner = V.column_layout().owner(n - 1 - out.global_column(j));
        if (owner != grid.column() && rows > 0)
            TANGRAM_MPI(MPI_Irecv(out.data() + j * out.lld(), rows, MPI_DOUBLE, grid.rank_of(grid.row(), owner), 3,
                                  grid.comm().get(), &requests.emplace_back()));
    }
    TANGRAM_MPI(MPI_Waitall(narrow(std::ssize(requests), "messages"), requests.data(), MPI_STATUSES_IGNORE));
    return out;
}

}  // namespace

Solver solver_by_name(std::string_view wanted) {
    std::string known = "\"auto\"";
    for (const Solver solver : solvers()) known += fmt::format(", \"{}\"", name(solver));
    for (const auto& [solver, text] : names)
        if (wanted == text) {
            const auto available = solvers();
            if (solver == Solver::automatic || std::find(available.begin(), available.end(), solver) != available.end())
                return solver;
            throw Error(ExitStatus::study, fmt::format("spectrum.solver = \"{}\": this tangram was built without ELPA; "
                                                       "install libelpa-dev and build again, or use {}",
                                                       wanted, known));
        }
    throw Error(ExitStatus::study, fmt::format("spectrum.solver = \"{}\" is not available; use {}", wanted, known));
}

std::string name(Solver solver) {
    for (const auto& [known, text] : names)
        if (known == solver) return text;
    return "";
}

std::vector<Solver> solvers() {
    std::vector<Solver> list{Solver::lapack, Solver::scalapack_dc, Solver::scalapack_mrrr};
    if (has_elpa()) list.insert(list.end(), {Solver::elpa1, Solver::elpa2});
    return list;
}

Index pdsyevd_workspace(Index n, Index nb, int grid_rows, int grid_columns) {
    const Index np0 = BlockCyclic{n, nb, grid_rows}.local_size(0), nq0 = BlockCyclic{n, nb, grid_columns}.local_size(0);
    return 4 * n + (6 * n + 2 * np0 * nq0) + std::max(n, np0 * (nb + nq0)) +
           std::max(nb * (nb - 1) / 2, (np0 + nq0) * nb) + nb * nb;
}

void check_scalapack_size(Index n, Index workspace, int ranks) {
    constexpr Index limit = std::numeric_limits<int>::max();
    if (workspace <= limit) return;
    // About three local matrices; near-square grids need ranks > 3 n^2 / 2^31 (lesson 3 says n^2 / 2^30 at least).
    const auto needed = static_cast<Index>(std::ceil(3.2 * static_cast<double>(n) * static_cast<double>(n) / 2147483647.0));
    throw Error(ExitStatus::study,
                fmt::format("the eigenvalue problem of size {} needs a workspace of {} numbers per rank on {} ranks, more "
                            "than ScaLAPACK's 32-bit integers can count; use about {} ranks",
                            n, workspace, ranks, std::max<Index>(needed, ranks + 1)));
}

Eigenpairs eigenpairs(DistributedMatrix G, Solver solver, bool vectors, Index block) {
    const ProcessGrid& grid = G.grid();
    const Index n = G.rows(), layout_block = G.block();
    if (G.rows() != G.columns() || n < 1)
        throw Error(ExitStatus::input, fmt::format("a matrix of {} x {} has no eigenvalues; give a square one", G.rows(), G.columns()));
    check_symmetric(G);
    Eigenpairs result{std::vector<double>(static_cast<std::size_t>(n), std::numeric_limits<double>::quiet_NaN()),
                      std::nullopt, solver, "named by the study"};
    if (solver == Solver::automatic) std::tie(result.solver, result.reason) = choose_solver(n, grid.comm().size(), vectors);
    solver = result.solver;

    // ScaLAPACK and ELPA go wrong where a rank owns nothing (lesson 2): the smallest problems are solved on one rank.
    const bool tiny = n < 2 * std::max(grid.rows(), grid.columns());
    if (tiny && solver != Solver::lapack) {
        result.reason += fmt::format("; n = {} is too small for a grid of {} x {}, solved by LAPACK", n, grid.rows(), grid.columns());
        solver = result.solver = Solver::lapack;
    }
    const Index widest = std::max(grid.rows(), grid.columns());
    const Index nb = block > 0 && solver != Solver::lapack ? std::min(block, std::max<Index>(1, n / widest)) : own_block(n, grid);
    if (solver == Solver::scalapack_dc || solver == Solver::scalapack_mrrr)
        check_scalapack_size(n, pdsyevd_workspace(n, nb, grid.rows(), grid.columns()), grid.comm().size());
    if (nb != layout_block && solver != Solver::lapack) G = redistribute(G, grid, nb);
    DistributedMatrix V(grid, n, n, solver == Solver::lapack ? layout_block : nb);
    switch (solver) {
        case Solver::scalapack_dc:
            solve_dc(G, result.values, V);
            break;
        case Solver::scalapack_mrrr:
            solve_mrrr(G, vectors, result.values, V);
            break;
        case Solver::elpa1:
        case Solver::elpa2:
            solve_elpa(G, solver == Solver::elpa2, vectors, result.values, V);
            break;
        default:
            solve_lapack(G, vectors, result.values, V);
    }
    // Only the first process's eigenvalues are sure to be right (lesson 2).
    broadcast(grid.comm().get(), result.values, 0);
    if (std::any_of(result.values.begin(), result.values.end(), [](double w) { return !std::isfinite(w); }))
        throw Error(ExitStatus::numerical, fmt::format("{} gave eigenvalues that are not finite; try another spectrum.solver", name(solver)));
    if (!std::is_sorted(result.values.begin(), result.values.end()))
        throw Error(ExitStatus::numerical, fmt::format("{} gave eigenvalues out of order; try another spectrum.solver", name(solver)));
    std::reverse(result.values.begin(), result.values.end());
    if (vectors) {
        DistributedMatrix descending = reversed_columns(V);
        result.vectors.emplace(descending.block() == layout_block ? std::move(descending)
                                                                  : redistribute(descending, grid, layout_block));
    }
    return result;
}

}  // namespace tangram
