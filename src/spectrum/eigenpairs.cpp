#include "tangram/spectrum/eigenpairs.hpp"

#include <fmt/core.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "elpa_solver.hpp"
#include "invariants.hpp"
#include "lapack.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel/large_pages.hpp"
#include "tangram/parallel_for.hpp"
#include "tangram/spectrum/quality.hpp"
#include "tangram/spectrum/whole_solver.hpp"
#include "vector_checks.hpp"
#include "whole_matrix.hpp"

namespace tangram {

namespace {

constexpr std::pair<Solver, const char*> names[] = {{Solver::automatic, "auto"},
                                                    {Solver::lapack, "lapack"},
                                                    {Solver::scalapack_dc, "scalapack-dc"},
                                                    {Solver::scalapack_mrrr, "scalapack-mrrr"},
                                                    {Solver::elpa1, "elpa1"},
                                                    {Solver::elpa2, "elpa2"},
                                                    {Solver::cusolver, "cusolver"},
                                                    {Solver::lanczos, "lanczos"}};

bool is_elpa(Solver solver) { return solver == Solver::elpa1 || solver == Solver::elpa2; }

void check_square(const DistributedMatrix& G, const MatrixName& matrix) {
    if (G.rows() != G.columns() || G.rows() < 1)
        throw Error(matrix.status, ErrorKind::contradiction,
                    fmt::format("{} is {} x {}; eigenvalues need a square matrix", matrix.text, G.rows(),
                                G.columns()));
}

/// The largest magnitude, and the largest |G_ij - G_ji|; the same on every rank.
struct Magnitudes {
    double entry = 0, asymmetry = 0;
};

/// The largest magnitude; NaN where a number is not finite. Local.
double largest_magnitude(std::span<const double> numbers) {
    constexpr std::size_t lanes = 8;  // a maximum waits for the one before it
    double largest[lanes] = {}, zero[lanes] = {};
    const auto take = [&](double x, std::size_t lane) {
        largest[lane] = std::max(largest[lane], std::abs(x));
        zero[lane] += x - x;  // of what is finite
    };
    const std::size_t even = numbers.size() / lanes * lanes;
    for (std::size_t i = 0; i < even; i += lanes)
        for (std::size_t lane = 0; lane < lanes; ++lane) take(numbers[i + lane], lane);
    for (std::size_t i = even; i < numbers.size(); ++i) take(numbers[i], 0);
    double result = 0;
    for (std::size_t lane = 0; lane < lanes; ++lane) result = std::max(result, largest[lane]);
    return result + std::accumulate(std::begin(zero), std::end(zero), 0.0);
}

/// Non-finite and asymmetric entries, found before any solver sees them; the first in column order, on every
/// rank.
Magnitudes check_symmetric(const DistributedMatrix& G, const MatrixName& matrix, double tolerance) {
    const MPI_Comm comm = G.grid().comm().get();
    constexpr Index none = std::numeric_limits<Index>::max();
    const auto name_entry = [&](ErrorKind kind, Index entry, const char* problem) {
        throw Error(matrix.status, kind,
                    fmt::format("{} is {} at row {}, column {} (counted from 0); eigenvalues "
                                "need a finite symmetric matrix",
                                matrix.text, problem, entry % G.rows(), entry / G.rows()));
    };
    Index bad = none;
    Magnitudes largest;
    const auto column = [&](Index j) {
        return G.local().subspan(static_cast<std::size_t>(j * G.local_rows()),
                                 static_cast<std::size_t>(G.local_rows()));
    };
    std::vector<double> most =
        collectively(comm, [&] { return std::vector<double>(static_cast<std::size_t>(G.local_columns())); });
    parallel_for(G.local_columns(),
                 [&](Index j) { most[static_cast<std::size_t>(j)] = largest_magnitude(column(j)); });
    for (Index j = 0; j < G.local_columns() && bad == none; ++j) {
        const double of_column = most[static_cast<std::size_t>(j)];
        largest.entry = std::max(largest.entry, of_column);
        if (std::isfinite(of_column)) continue;
        const auto entries = column(j);
        const auto at = std::ranges::find_if(entries, [](double value) { return !std::isfinite(value); });
        bad = G.global_column(j) * G.rows() + G.global_row(at - entries.begin());
    }
    bad = -max_over_ranks(comm, -bad);
    if (bad != none) name_entry(ErrorKind::non_finite, bad, "not finite");
    // Our own matrices are symmetric to the bit; others' may carry rounding of two different sums.
    largest.entry = max_over_ranks(comm, largest.entry);
    const Asymmetry off = asymmetry(G, tolerance * largest.entry);
    if (off.first >= 0) name_entry(ErrorKind::contradiction, off.first, "not symmetric");
    largest.asymmetry = off.largest;
    return largest;
}

/// Squares of the entries and of the eigenvalues are summed; both sums are at most (n largest)^2.
void check_magnitude(double largest, Index n, const MatrixName& matrix) {
    const double most = std::sqrt(std::numeric_limits<double>::max()) / static_cast<double>(n);
    if (!(largest <= most))
        throw Error(
            ExitStatus::numerical, ErrorKind::out_of_range,
            fmt::format("{} holds entries up to {:.3g}, too large for float64: their squares add up to "
                        "infinity; divide it by a power of two, to {:.0e} at most",
                        matrix.text, largest, most));
}

/// Exponent e of the power of two that brings the largest magnitude to between 1/2 and 1 as 2^-e. ELPA
/// 2022.11 has absolute thresholds: at magnitudes of 1e-12 its eigenvalues are off by 1e-7 of the largest
/// [seen]. Exact, because only exponents change. LAPACK's steps are the same at any scale but for the
/// farthest (dsterf scales from 1e-122 and 1e153 on): 0 where it needs none.
int exponent_of(double largest, Solver solver) {
    int exponent = 0;
    std::frexp(largest, &exponent);
    constexpr int at_any_scale = 300;
    if (solver == Solver::lapack && std::abs(exponent) <= at_any_scale) return 0;
    return std::clamp(exponent, -1000, 1000);
}

void check_info(int info, Solver solver) {
    if (info != 0)
        throw Error(
            ExitStatus::numerical, ErrorKind::not_converged,
            fmt::format("{} did not converge (info = {}); try another spectrum.solver", name(solver), info));
}

void refuse(ErrorKind kind, const Eigenpairs& result, const std::string& what) {
    throw Error(ExitStatus::numerical, kind,
                fmt::format("{} gave {}; try another spectrum.solver", name(result.solver), what));
}

/// Finite and descending: what info = 0 does not promise.
void check_finite(const Eigenpairs& result) {
    if (!std::ranges::all_of(result.values, [](double value) { return std::isfinite(value); }))
        refuse(ErrorKind::non_finite, result, "eigenvalues that are not finite");
    if (!std::is_sorted(result.values.rbegin(), result.values.rend()))
        refuse(ErrorKind::failed_check, result, "eigenvalues out of order");
    if (!result.vectors) return;
    if (!is_finite(*result.vectors))
        refuse(ErrorKind::non_finite, result, "eigenvectors that are not finite");
}

/// With the trace and the norm of the matrix.
void check_sums(const Eigenpairs& result, const Invariants& invariants) {
    const std::vector<double>& w = result.values;
    double sum_of_magnitudes = 0;
    for (const double value : w) sum_of_magnitudes += std::abs(value);
    // Good solvers keep both to a few epsilon; n epsilon is the bound of the plain sums themselves. A matrix
    // whose diagonal is small beside its eigenvalues is measured by the eigenvalues.
    const double tolerance =
        4 * (10 + static_cast<double>(w.size())) * std::numeric_limits<double>::epsilon();
    const double scale = invariants.magnitudes > 0 ? invariants.magnitudes : 1.0;
    const double trace_error =
        invariants.trace_error(w) * std::min(1.0, scale / std::max(sum_of_magnitudes, scale));
    if (!(trace_error <= tolerance && invariants.frobenius_error(w) <= tolerance))
        refuse(ErrorKind::failed_check, result,
               fmt::format(
                   "eigenvalues that do not add up to the matrix (trace off by {:.1e}, squares by {:.1e})",
                   invariants.trace_error(w), invariants.frobenius_error(w)));
}

/// What a solver is asked for: eigenvalues, and the vectors of the largest `count`, alone where `alone`.
struct Wanted {
    Solver solver;
    SolverLayout layout;
    bool vectors;
    Index count;
    bool alone;
};

/// Of vectors that the sums of check_result say too little about. ELPA 2022.11's two-stage solver returns
/// success and wrong vectors where the blocks beside the diagonal have low rank: for min(i, j) residuals of
/// 1e-3 w_1 and orthogonality of 0.05 at n = 400 [seen]. Of some eigenvalues alone nothing adds up.
void check_vectors(const DistributedMatrix& G, const Eigenpairs& result) {
    const Quality found = quality(G, result, false);
    const double tolerance =
        10 * (10 + static_cast<double>(G.rows())) * std::numeric_limits<double>::epsilon();
    // Inverse iteration (dsyevr) computes each vector by itself and promises less.
    const double overlap = (result.solver == Solver::lapack ? 30 : 1) * tolerance;
    if (!(*found.residual_max <= tolerance && *found.orthogonality_max <= overlap))
        refuse(ErrorKind::failed_check, result,
               fmt::format("vectors with a residual of {:.1e} and an orthogonality of {:.1e}",
                           *found.residual_max, *found.orthogonality_max));
    if (!(found.trace_error <= tolerance && found.frobenius_error <= tolerance))
        refuse(ErrorKind::failed_check, result,
               fmt::format(
                   "eigenvalues that are not the largest (trace short by {:.1e}, squares above by {:.1e})",
                   found.trace_error, found.frobenius_error));
}

/// Workspace of at least `bound` doubles, or what the routine itself asks for where that is more
/// (docs/libraries.md, Workspace). A query that wrapped around 32 bits may say anything (docs/libraries.md,
/// 32-bit sizes) and is then below the bound. Collective.
std::vector<double> workspace(MPI_Comm comm, double query, Index bound) {
    return collectively(comm, [&] {
        return std::vector<double>(static_cast<std::size_t>(std::max(static_cast<Index>(query), bound)));
    });
}

void solve_dc(DistributedMatrix& G, std::vector<double>& w, DistributedMatrix& V) {
    const Index n = G.rows();
    const ProcessGrid& grid = G.grid();
    const Index bound = pdsyevd_workspace(n, G.block(), grid.rows(), grid.columns());
    const int order = narrow(n, "matrix size"), one = 1;
    const auto descriptor = G.descriptor(), vectors = V.descriptor();
    const int integers = narrow(7 * n + 8 * static_cast<Index>(grid.columns()) + 2, "integer workspace");
    std::vector<int> iwork =
        collectively(grid.comm().get(), [&] { return std::vector<int>(static_cast<std::size_t>(integers)); });
    double query = 0;
    int info = 0, ask = -1;
    pdsyevd_("V", "L", &order, G.data(), &one, &one, descriptor.data(), w.data(), V.data(), &one, &one,
             vectors.data(), &query, &ask, iwork.data(), &integers, &info);
    check_info(info, Solver::scalapack_dc);
    std::vector<double> work = workspace(grid.comm().get(), query, bound);
    const int size = narrow(std::ssize(work), "pdsyevd workspace");
    pdsyevd_("V", "L", &order, G.data(), &one, &one, descriptor.data(), w.data(), V.data(), &one, &one,
             vectors.data(), work.data(), &size, iwork.data(), &integers, &info);
    check_info(info, Solver::scalapack_dc);
}

void solve_mrrr(DistributedMatrix& G, bool vectors, std::vector<double>& w, DistributedMatrix& V) {
    const Index n = G.rows();
    const ProcessGrid& grid = G.grid();
    const int order = narrow(n, "matrix size"), one = 1;
    const auto descriptor = G.descriptor(), vector_descriptor = V.descriptor();
    const char* const job = vectors ? "V" : "N";
    const double unused = 0;
    int found = 0, found_vectors = 0, info = 0, ask = -1, integer_query = 0;
    double query[3] = {0, 0, 0};
    pdsyevr_(job, "A", "L", &order, G.data(), &one, &one, descriptor.data(), &unused, &unused, &one, &order,
             &found, &found_vectors, w.data(), V.data(), &one, &one, vector_descriptor.data(), query, &ask,
             &integer_query, &ask, &info);
    check_info(info, Solver::scalapack_mrrr);
    std::vector<double> work =
        workspace(grid.comm().get(), query[0], pdsyevr_workspace(n, G.block(), grid.rows(), grid.columns()));
    const Index most = std::max({n, static_cast<Index>(grid.comm().size()) + 1, Index{4}});
    std::vector<int> iwork = collectively(grid.comm().get(), [&] {
        return std::vector<int>(static_cast<std::size_t>(std::max<Index>(integer_query, 12 * most + 2 * n)));
    });
    const int size = narrow(std::ssize(work), "pdsyevr workspace");
    const int integers = narrow(std::ssize(iwork), "integer workspace");
    pdsyevr_(job, "A", "L", &order, G.data(), &one, &one, descriptor.data(), &unused, &unused, &one, &order,
             &found, &found_vectors, w.data(), V.data(), &one, &one, vector_descriptor.data(), work.data(),
             &size, iwork.data(), &integers, &info);
    check_info(info, Solver::scalapack_mrrr);
    if (found != order)
        throw Error(ExitStatus::numerical, ErrorKind::not_converged,
                    fmt::format("scalapack-mrrr found {} of {} eigenvalues; use scalapack-dc", found, order));
}

/// All eigenvalues of a whole matrix, and their vectors in its place. Local.
void solve_whole(std::span<double> whole, int order, bool vectors, std::vector<double>& w) {
    const int ask = -1;
    const Index n = order;
    const char* const job = vectors ? "V" : "N";
    double query = 0;
    int info = 0, integer_query = 0;
    dsyevd_(job, "L", &order, whole.data(), &order, w.data(), &query, &ask, &integer_query, &ask, &info);
    check_info(info, Solver::lapack);
    const Index bound = vectors ? 1 + 6 * n + 2 * n * n : 2 * n + 1;
    const Index numbers = std::max(static_cast<Index>(query), bound);
    const std::unique_ptr<double[]> work = unset_on_large_pages(numbers);
    std::vector<int> iwork(static_cast<std::size_t>(std::max<Index>(integer_query, 3 + 5 * n)));
    const int size = narrow(numbers, "dsyevd workspace");
    const int integers = narrow(std::ssize(iwork), "dsyevd workspace");
    dsyevd_(job, "L", &order, whole.data(), &order, w.data(), work.get(), &size, iwork.data(), &integers,
            &info);
    check_info(info, Solver::lapack);
}

/// The largest `count` eigenvalues first in w, and their vectors in the first columns of the matrix. Local.
void solve_largest(std::span<double> whole, int order, Index count, std::vector<double>& w) {
    const Index n = order;
    const int ask = -1, first = narrow(n - count + 1, "matrix size");
    const double unused = 0, exact = 0;
    int info = 0, integer_query = 0, found = 0;
    double query = 0;
    const std::unique_ptr<double[]> z = unset_on_large_pages(n * count);
    std::vector<int> support(static_cast<std::size_t>(2 * n));
    const auto solve = [&](double* work, const int* size, int* iwork, const int* integers) {
        dsyevr_("V", "I", "L", &order, whole.data(), &order, &unused, &unused, &first, &order, &exact, &found,
                w.data(), z.get(), &order, support.data(), work, size, iwork, integers, &info);
        check_info(info, Solver::lapack);
    };
    solve(&query, &ask, &integer_query, &ask);
    std::vector<double> work(static_cast<std::size_t>(std::max(static_cast<Index>(query), 26 * n)));
    std::vector<int> iwork(static_cast<std::size_t>(std::max<Index>(integer_query, 10 * n)));
    const int size = narrow(std::ssize(work), "dsyevr workspace");
    const int integers = narrow(std::ssize(iwork), "dsyevr workspace");
    solve(work.data(), &size, iwork.data(), &integers);
    if (found != count)
        throw Error(ExitStatus::numerical, ErrorKind::not_converged,
                    fmt::format("lapack found {} of {} eigenvalues; use scalapack-dc", found, count));
    std::copy_n(z.get(), n * count, whole.begin());
}

/// Smaller matrices are solved in a tenth of a second by one thread of BLAS, and keep the bits that it gives
/// them, however many cores the first rank's host has.
constexpr Index threaded_from = 1000;

/// On the first rank alone, in the memory of the whole matrix, by LAPACK or the registered solver; the others
/// sleep. Collective.
/// @param whole   G on the first rank; overwritten, with vectors by those of scale * G
/// @param wanted  of scale * G
void solve_whole_by(Solver solver, MPI_Comm comm, std::span<double> whole, Index n, double scale,
                    const Wanted& wanted, std::vector<double>& w) {
    if (scale != 1 && !whole.empty())
        parallel_for(n, [&](Index j) {
            for (double& entry : whole.subspan(static_cast<std::size_t>(j * n), static_cast<std::size_t>(n)))
                entry *= scale;
        });
    const auto solve = [&] {
        if (solver == Solver::cusolver) return registered_whole_solver()->solve(whole, n, wanted.vectors, w);
        const int order = narrow(n, "matrix size");
        if (wanted.alone)
            solve_largest(whole, order, wanted.count, w);
        else
            solve_whole(whole, order, wanted.vectors, w);
    };
    on_first_rank(comm, solver == Solver::lapack && n >= threaded_from, std::cref(solve));
}

/// The same on one rank, in the memory of the vectors.
DistributedMatrix solve_in_place(const DistributedMatrix& G, double scale, const Wanted& wanted,
                                 Solver solver, std::vector<double>& w) {
    const MPI_Comm comm = G.grid().comm().get();
    const Index n = G.rows();
    DistributedMatrix V = collectively(comm, [&] { return G.copy(); });
    solve_whole_by(solver, comm, V.local(), n, scale, wanted, w);
    // Theirs are ascending.
    parallel_for(n / 2, [&](Index j) {
        std::swap_ranges(V.data() + j * n, V.data() + (j + 1) * n, V.data() + (n - 1 - j) * n);
    });
    return V;
}

/// By LAPACK or the registered solver. Collective.
/// @param columns  of the vectors, in the order in which they are returned: of all, the largest first
std::optional<DistributedMatrix> solve_in_one_piece(const DistributedMatrix& G, double scale,
                                                    const Wanted& wanted, std::span<const Index> columns,
                                                    Solver solver, std::vector<double>& w) {
    const Index n = G.rows();
    const ProcessGrid& grid = G.grid();
    if (grid.comm().size() == 1 && wanted.vectors && std::ssize(columns) == n)
        return solve_in_place(G, scale, wanted, solver, w);
    const Index entries = grid.comm().rank() == 0 ? n * n : 0;
    const std::unique_ptr<double[]> memory =
        collectively(grid.comm().get(), [&] { return unset_on_large_pages(entries); });
    const std::span<double> whole(memory.get(), static_cast<std::size_t>(entries));
    gather(G, 0, whole);
    solve_whole_by(solver, grid.comm().get(), whole, n, scale, wanted, w);
    if (!wanted.vectors) return std::nullopt;
    return scatter(whole, grid, n, columns, G.block(), 0);
}

/// An eigenvector is known up to its sign: the first component that has at least 0.6 of the largest magnitude
/// becomes positive. (Not the largest itself: mirror-symmetric matrices have pairs of equal magnitude, which
/// rounding orders.)
void fix_signs(DistributedMatrix& V) {
    const MPI_Comm comm = V.grid().comm().get();
    const auto n = static_cast<std::size_t>(V.columns());
    const int count = narrow(V.columns(), "eigenvectors");
    std::vector<double> largest;
    // 2 row + 1 where the component is negative, 2 row where it is not: the smallest tells row and sign.
    std::vector<Index> first;
    collectively(comm, [&] {
        largest.assign(n, 0.0);
        first.assign(n, std::numeric_limits<Index>::max());
    });
    const auto global = [&](Index j) { return static_cast<std::size_t>(V.global_column(j)); };
    parallel_for(V.local_columns(), [&](Index j) {
        const double* const column = V.data() + j * V.lld();
        double& most = largest[global(j)];
        for (Index i = 0; i < V.local_rows(); ++i) most = std::max(most, std::abs(column[i]));
    });
    TANGRAM_MPI(MPI_Allreduce(MPI_IN_PLACE, largest.data(), count, MPI_DOUBLE, MPI_MAX, comm));
    for (Index j = 0; j < V.local_columns(); ++j) {
        const double* const column = V.data() + j * V.lld();
        const double enough = 0.6 * largest[global(j)];
        for (Index i = 0; i < V.local_rows(); ++i)
            if (std::abs(column[i]) >= enough) {  // local rows ascend as global ones do
                first[global(j)] = 2 * V.global_row(i) + (column[i] < 0 ? 1 : 0);
                break;
            }
    }
    TANGRAM_MPI(MPI_Allreduce(MPI_IN_PLACE, first.data(), count, MPI_INT64_T, MPI_MIN, comm));
    parallel_for(V.local_columns(), [&](Index j) {
        if (first[global(j)] % 2 == 1)
            for (Index i = 0; i < V.local_rows(); ++i) V.data()[i + j * V.lld()] *= -1;
    });
}

/// Those of the given columns of V, in their order, laid out as G was; V may be on another grid.
DistributedMatrix vectors_in_order(DistributedMatrix V, const std::vector<Index>& columns,
                                   const ProcessGrid& grid, Index block) {
    const std::vector<Index> rows = collectively(V.grid().comm().get(), [&] {
        std::vector<Index> all(static_cast<std::size_t>(V.rows()));
        std::iota(all.begin(), all.end(), Index{0});
        return all;
    });
    return submatrix(V, rows, columns, grid, block);
}

/// Places of the largest eigenvalues, descending, among what solvers give, ascending. Local.
/// @param turned  the smallest ones of -G are computed
std::vector<Index> largest_first(const Wanted& wanted, Index n, bool turned) {
    std::vector<Index> places;
    for (Index j = 0; j < wanted.count; ++j)
        places.push_back(turned ? j : (wanted.alone ? wanted.count : n) - 1 - j);
    return places;
}

}  // namespace

Solver solver_by_name(std::string_view wanted) {
    std::string known = "\"auto\"";
    for (const Solver solver : solvers()) known += fmt::format(", \"{}\"", name(solver));
    if (wanted == name(Solver::lanczos))
        throw Error(
            ExitStatus::study, ErrorKind::unsupported,
            fmt::format("spectrum.solver = \"lanczos\" is for spectrum.matrix = \"free\"; use {}", known));
    for (const auto& [solver, text] : names)
        if (wanted == text) {
            const auto available = solvers();
            if (solver == Solver::automatic ||
                std::find(available.begin(), available.end(), solver) != available.end())
                return solver;
            throw Error(
                ExitStatus::study, ErrorKind::unsupported,
                fmt::format("spectrum.solver = \"{}\": {}, or use {}", wanted,
                            solver == Solver::cusolver
                                ? "no GPU is in use; run a build with -DTANGRAM_CUDA=ON where there is "
                                  "one"
                                : "this tangram was built without ELPA; install libelpa-dev and build "
                                  "again",
                            known));
        }
    throw Error(ExitStatus::study, ErrorKind::unknown_name,
                fmt::format("spectrum.solver = \"{}\" is unknown; use {}", wanted, known));
}

std::string name(Solver solver) {
    for (const auto& [known, text] : names)
        if (known == solver) return text;
    return "";
}

std::vector<Solver> solvers() {
    std::vector<Solver> list{Solver::lapack, Solver::scalapack_dc, Solver::scalapack_mrrr};
    if (has_elpa()) list.insert(list.end(), {Solver::elpa1, Solver::elpa2});
    if (registered_whole_solver() != nullptr) list.push_back(Solver::cusolver);
    return list;
}

Index pdsyevd_workspace(Index n, Index nb, int grid_rows, int grid_columns) {
    const Index np0 = BlockCyclic{n, nb, grid_rows}.local_size(0),
                nq0 = BlockCyclic{n, nb, grid_columns}.local_size(0);
    return 4 * n + (6 * n + 2 * np0 * nq0) + std::max(n, np0 * (nb + nq0)) +
           std::max(nb * (nb - 1) / 2, (np0 + nq0) * nb) + nb * nb;
}

Index pdsyevr_workspace(Index n, Index nb, int grid_rows, int grid_columns) {
    const Index padded = std::max({n, nb, Index{2}}), ranks = static_cast<Index>(grid_rows) * grid_columns;
    const Index np0 = BlockCyclic{padded, nb, grid_rows}.local_size(0);
    const Index nq0 = BlockCyclic{padded, nb, grid_columns}.local_size(0);
    return 2 + 5 * n + std::max(18 * padded, np0 * nq0 + 2 * nb * nb) +
           (2 + (n + ranks - 1) / ranks) * padded;
}

void check_scalapack_size(Index n, int grid_rows, int grid_columns,
                          Index (*workspace)(Index, Index, int, int), Index block) {
    constexpr Index limit = std::numeric_limits<int>::max();
    const auto needed = [&](int p, int q) {
        return workspace(n, std::clamp<Index>(n / std::max(p, q), 1, block), p, q);
    };
    const int ranks = grid_rows * grid_columns;
    if (needed(grid_rows, grid_columns) <= limit) return;
    // The first larger number of ranks whose most square grid will do.
    const auto fits = [&](int candidate) {
        int rows = 1;
        for (int p = 1; static_cast<Index>(p) * p <= candidate; ++p)
            if (candidate % p == 0) rows = p;
        return needed(rows, candidate / rows) <= limit;
    };
    int enough = ranks + 1;
    while (enough < (1 << 20) && !fits(enough)) ++enough;
    throw Error(
        ExitStatus::study, ErrorKind::out_of_range,
        fmt::format(
            "eigenvalues of a {0} x {0} matrix need a workspace of {1} numbers per rank on a {2} x {3} grid, "
            "more than ScaLAPACK's 32-bit integers can count; use {4} ranks",
            n, needed(grid_rows, grid_columns), grid_rows, grid_columns, enough));
}

void check_lapack_size(Index n, bool vectors) {
    constexpr Index limit = std::numeric_limits<int>::max();
    // dsyevd's workspace is 1 + 6n + 2n^2 with vectors; without, the matrix itself is the largest. The first
    // term keeps n * n from overflowing.
    if (n <= limit && (vectors ? 1 + 6 * n + 2 * n * n : n * n) <= limit) return;
    throw Error(ExitStatus::study, ErrorKind::out_of_range,
                fmt::format("lapack gathers the matrix on one rank and counts in 32-bit integers, which "
                            "end before n = {}; use \"scalapack-dc\" or \"auto\"",
                            n));
}

Solver solver_on_grid(Solver solver, Index n, int grid_rows, int grid_columns) {
    return n < 2 * std::max(grid_rows, grid_columns) ? Solver::lapack : solver;
}

void check_solver_size(Solver solver, Index n, int grid_rows, int grid_columns, Index block, bool vectors,
                       bool alone) {
    if (solver == Solver::lapack)
        check_lapack_size(n, vectors && !alone);
    else  // ELPA needs less than pdsyevr, and its local matrices are counted in the same integers
        check_scalapack_size(n, grid_rows, grid_columns,
                             solver == Solver::scalapack_dc ? pdsyevd_workspace : pdsyevr_workspace, block);
}

namespace {

/// What the first rank's device says of a matrix.
struct DeviceAnswer {
    bool asked = false, takes = false;
    std::string words;
};

bool is_asked(Index n, Solver solver) {
    return registered_whole_solver() != nullptr &&
           (solver == Solver::cusolver || (solver == Solver::automatic && n > always_in_one_piece));
}

/// Asks it where it may be the solver. Collective.
DeviceAnswer ask_device(MPI_Comm comm, Index n, Solver solver, bool vectors) {
    DeviceAnswer answer;
    answer.asked = is_asked(n, solver);
    if (!answer.asked) return answer;
    std::string words = collectively(comm, [&] {
        int rank = 0;
        TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
        if (rank != 0) return std::string();
        WholeSolver& device = *registered_whole_solver();
        WholeSolver::Room room{};
        try {
            room = device.room(n, vectors);
        } catch (const Error& e) {  // a library that counts in 32-bit integers, a GPU that others fill
            return fmt::format("!no room: {}", e.what());
        }
        constexpr double gibibyte = 0x1p30;
        return fmt::format("{}matrix and workspace of {:.3g} GiB {} {} ({:.3g} GiB free)",
                           room.needed <= room.free ? "" : "!", room.needed / gibibyte,
                           room.needed <= room.free ? "find room on" : "find no room on", device.name(),
                           room.free / gibibyte);
    });
    broadcast(comm, words, 0);
    answer.takes = !words.starts_with('!');
    answer.words = answer.takes ? words : words.substr(1);
    return answer;
}

/// The cores of the first rank's host that LAPACK has there, where `auto` asks for them. Collective.
int cores_of_lapack(MPI_Comm comm, Index n, Solver solver) {
    if (n <= always_in_one_piece || (solver != Solver::automatic && solver != Solver::cusolver)) return 1;
    int cores = Communicator::of_host(comm).size() * omp_get_max_threads();
    TANGRAM_MPI(MPI_Bcast(&cores, 1, MPI_INT, 0, comm));
    return cores;
}

/// The result before it is there, and how its solver works.
struct Plan {
    Eigenpairs result;  ///< the solver, and why; values NaN
    SolverLayout layout;
};

void check_request(const DistributedMatrix& G, const Wanted& wanted, const MatrixName& matrix) {
    check_square(G, matrix);
    if (wanted.count > G.rows())
        throw Error(
            ExitStatus::study, ErrorKind::out_of_range,
            fmt::format("spectrum.count = {}: {} has {} rows and as many eigenvalues; 0 takes all of them",
                        wanted.count, matrix.text, G.rows()));
}

/// Refuses what no solver can do. Local. @param cores  as choose_solver()'s
Plan planned(const DistributedMatrix& G, const Wanted& wanted, const MatrixName& matrix,
             const DeviceAnswer& device, int cores) {
    check_request(G, wanted, matrix);
    const Index n = G.rows();
    const int ranks = G.grid().comm().size();
    Plan plan{{std::vector<double>(static_cast<std::size_t>(n), std::numeric_limits<double>::quiet_NaN()),
               std::nullopt, wanted.solver, "named by the study"},
              wanted.layout};
    Eigenpairs& result = plan.result;
    if (device.takes) {
        result.solver = Solver::cusolver;
        result.reason += "; " + device.words;
        if (wanted.solver == Solver::automatic) result.reason = "auto: " + device.words;
        return plan;
    }
    if (wanted.solver == Solver::automatic || device.asked)
        std::tie(result.solver, result.reason) = choose_solver(n, ranks, cores, wanted.vectors);
    if (device.asked) result.reason += "; " + device.words;
    plan.layout = solver_layout(result.solver, n, ranks, wanted.vectors, wanted.layout, G.grid().rows());
    const int rows = plan.layout.grid_rows, columns = ranks / rows;
    const Solver on_grid = solver_on_grid(result.solver, n, rows, columns);
    if (on_grid != result.solver)
        result.reason +=
            fmt::format("; n = {} is too small for a grid of {} x {}, solved by LAPACK", n, rows, columns);
    result.solver = on_grid;
    check_solver_size(result.solver, n, rows, columns, plan.layout.block, wanted.vectors, wanted.alone);
    return plan;
}

/// Ascending values and their vectors of scale * G, by a solver that works on all ranks, in its own layout.
/// Collective.
/// @param own  receives the solver's grid where G's is another; the vectors refer to it
void solve_distributed(const DistributedMatrix& G, double scale, const Wanted& wanted,
                       const SolverLayout& layout, std::optional<ProcessGrid>& own, Eigenpairs& result) {
    const Index n = G.rows(), nb = layout.block;
    const MPI_Comm comm = G.grid().comm().get();
    if (layout.grid_rows != G.grid().rows())
        own.emplace(comm, layout.grid_rows, G.grid().comm().size() / layout.grid_rows);
    const ProcessGrid& grid = own ? *own : G.grid();
    DistributedMatrix overwritten =
        own || nb != G.block() ? redistribute(G, grid, nb) : collectively(comm, [&] { return G.copy(); });
    for (double& entry : overwritten.local()) entry *= scale;
    DistributedMatrix V = collectively(comm, [&] {
        result.reason += fmt::format("; block {} on a grid of {} x {}", nb, grid.rows(), grid.columns());
        return DistributedMatrix(grid, n, n, nb);
    });
    // What a solver leaves unset shows as NaN, here and in the values.
    std::fill(V.local().begin(), V.local().end(), std::numeric_limits<double>::quiet_NaN());
    if (result.solver == Solver::scalapack_dc)
        solve_dc(overwritten, result.values, V);
    else if (result.solver == Solver::scalapack_mrrr)
        solve_mrrr(overwritten, wanted.vectors, result.values, V);
    else
        solve_elpa(overwritten, result.solver == Solver::elpa2, wanted.vectors,
                   wanted.alone ? wanted.count : n, result.values, V);
    if (wanted.vectors) result.vectors.emplace(std::move(V));
}

}  // namespace

double make_symmetric(DistributedMatrix& G, double tolerance, const MatrixName& matrix) {
    check_square(G, matrix);
    const Magnitudes largest = check_symmetric(G, matrix, tolerance);
    if (largest.asymmetry == 0) return 0;
    const DistributedMatrix mirrored = transpose(G);
    for (Index j = 0; j < G.local_columns(); ++j)
        for (Index i = 0; i < G.local_rows(); ++i) {
            double& entry = G.data()[i + j * G.lld()];
            entry = 0.5 * entry + 0.5 * mirrored.data()[i + j * G.lld()];
        }
    return largest.asymmetry / largest.entry;
}

void prepare_solver(const DistributedMatrix& G, Solver solver) {
    if (!is_asked(G.rows(), solver)) return;
    if (G.grid().comm().rank() == 0) registered_whole_solver()->prepare();
    TANGRAM_MPI(MPI_Barrier(G.grid().comm().get()));
}

Eigenpairs eigenpairs(const DistributedMatrix& G, Solver solver, bool vectors, const SolverLayout& layout,
                      const MatrixName& matrix, Index count) {
    const ProcessGrid& grid = G.grid();
    const MPI_Comm comm = grid.comm().get();
    const Index n = G.rows(), block = G.block();
    Wanted wanted{solver, layout, vectors, count > 0 ? count : n, vectors && count > 0 && 2 * count <= n};
    if (solver == Solver::cusolver && registered_whole_solver() == nullptr) solver_by_name(name(solver));
    const DeviceAnswer device = ask_device(comm, n, solver, vectors);
    const int cores = cores_of_lapack(comm, n, solver);
    std::optional<ProcessGrid> own;
    Plan plan = collectively(comm, [&] { return planned(G, wanted, matrix, device, cores); });
    Eigenpairs& result = plan.result;
    wanted.alone = wanted.alone && (result.solver == Solver::lapack || is_elpa(result.solver));
    const double largest = check_symmetric(G, matrix, symmetry_tolerance).entry;
    check_magnitude(largest, n, matrix);
    const int exponent = exponent_of(largest, result.solver);
    const bool checked = wanted.alone || (result.solver == Solver::elpa2 && vectors);
    // ELPA has the smallest eigenvalues alone.
    const bool turned = wanted.alone && is_elpa(result.solver);
    const double scale = std::ldexp(turned ? -1.0 : 1.0, -exponent);
    const Invariants invariants = Invariants::of(G, scale);
    const std::vector<Index> places = collectively(comm, [&] { return largest_first(wanted, n, turned); });
    if (result.solver == Solver::lapack || result.solver == Solver::cusolver) {
        result.vectors = solve_in_one_piece(G, scale, wanted, places, result.solver, result.values);
    } else {
        solve_distributed(G, scale, wanted, plan.layout, own, result);
        if (result.vectors)
            result.vectors = vectors_in_order(std::move(*result.vectors), places, grid, block);
    }
    if (result.vectors) fix_signs(*result.vectors);
    // Only the first process's eigenvalues are sure to be right (docs/libraries.md, Small problems).
    broadcast(comm, result.values, 0);
    if (!wanted.alone) check_sums(result, invariants);
    result.values = collectively(comm, [&] {
        std::vector<double> descending;
        for (const Index place : places)
            descending.push_back(std::ldexp(result.values[static_cast<std::size_t>(place)], exponent) *
                                 (turned ? -1 : 1));
        return descending;
    });
    check_finite(result);
    if (checked) {
        result.checks = checks_of_vectors(G, result);
        check_vectors(G, result);
    }
    return std::move(plan.result);
}

}  // namespace tangram
