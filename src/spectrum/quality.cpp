#include "tangram/spectrum/quality.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "invariants.hpp"
#include "lapack.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel/large_pages.hpp"
#include "tangram/parallel_for.hpp"
#include "tangram/spectrum/whole_solver.hpp"
#include "vector_checks.hpp"
#include "whole_matrix.hpp"

namespace tangram {

namespace {

// A NaN must not vanish in a maximum.
double worse(double a, double b) { return std::isnan(b) || b > a ? b : a; }

double relative(double difference, double scale) {
    return scale > 0 ? std::abs(difference) / scale : std::abs(difference);
}

/// Of scale times the numbers, in several sums, none of which waits for another.
double sum_of_squares(const double* numbers, Index count, double scale) {
    constexpr Index lanes = 8;
    double sums[lanes] = {};
    const Index even = count / lanes * lanes;
    for (Index i = 0; i < even; i += lanes)
        for (Index lane = 0; lane < lanes; ++lane) {
            const double number = scale * numbers[i + lane];
            sums[lane] += number * number;
        }
    for (Index i = even; i < count; ++i) sums[i - even] += scale * numbers[i] * (scale * numbers[i]);
    return std::accumulate(std::begin(sums), std::end(sums), 0.0);
}

/// Columns per panel: whole turns round the grid, so that a panel begins on the first process column, and at
/// least 256, where pdgemm is near its full speed.
Index panel_width(const DistributedMatrix& V) {
    const Index turn = V.block() * V.grid().columns();
    return (std::max<Index>(256, turn) + turn - 1) / turn * turn;
}

/// Rows first_row and on of op(A) times columns first to first + P.columns() of V, into P.
void multiply_panel(const char* op, const DistributedMatrix& A, Index first_row, const DistributedMatrix& V,
                    Index first, DistributedMatrix& P) {
    const int m = narrow(P.rows(), "rows"), n = narrow(P.columns(), "columns"), k = narrow(V.rows(), "rows");
    const int one = 1, row = narrow(first_row + 1, "row"), column = narrow(first + 1, "column");
    const bool transposed = *op == 'T';
    const double alpha = 1, beta = 0;
    const auto da = A.descriptor(), dv = V.descriptor(), dp = P.descriptor();
    pdgemm_(op, "N", &m, &n, &k, &alpha, A.data(), transposed ? &one : &row, transposed ? &row : &one,
            da.data(), V.data(), &one, &column, dv.data(), &beta, P.data(), &one, &one, dp.data());
}

VectorChecks no_checks(std::size_t count) {
    VectorChecks checks;
    for (std::vector<double>* const of : {&checks.squares, &checks.along, &checks.lengths}) of->resize(count);
    return checks;
}

/// `rows` of column j, from those of G v_j.
void add_residual(VectorChecks& to, Index j, const double* v, const double* Gv, Index rows, double value) {
    double square = 0, projection = 0, length = 0;
    for (Index i = 0; i < rows; ++i) {
        const double r = Gv[i] - value * v[i];
        square += r * r;
        projection += v[i] * r;
        length += v[i] * v[i];
    }
    const auto column = static_cast<std::size_t>(j);
    to.squares[column] += square;
    to.along[column] += projection;
    to.lengths[column] += length;
}

double largest_residual(const VectorChecks& checks) {
    double worst = 0;
    for (const double square : checks.squares) worst = worse(worst, std::sqrt(square));
    return worst;
}

/// By all ranks. Collective.
VectorChecks checks_by_ranks(const DistributedMatrix& G, const DistributedMatrix& V,
                             const std::vector<double>& w) {
    const MPI_Comm comm = G.grid().comm().get();
    VectorChecks found = collectively(comm, [&] { return no_checks(w.size()); });
    const Index width = panel_width(V);
    for (Index first = 0; first < V.columns(); first += width) {
        DistributedMatrix GV = collectively(comm, [&] {
            return DistributedMatrix(G.grid(), G.rows(), std::min(width, V.columns() - first), G.block());
        });
        multiply_panel("N", G, 0, V, first, GV);
        const Index first_local = V.column_layout().to_local(first);
        parallel_for(GV.local_columns(), [&](Index j) {
            const Index column = first + GV.global_column(j);
            add_residual(found, column, V.data() + (first_local + j) * V.lld(), GV.data() + j * GV.lld(),
                         GV.local_rows(), w[static_cast<std::size_t>(column)]);
        });
    }
    for (std::vector<double>* const sums : {&found.squares, &found.along, &found.lengths})
        sum_over_ranks(comm, *sums);
    found.overlap = largest_overlap(V);
    return found;
}

/// The bound on the error of every eigenvalue (Quality::error_bound_max). Local.
std::vector<double> error_bounds(const std::vector<double>& w, const VectorChecks& of, Index rows) {
    std::vector<double> bounds(w.size());
    for (std::size_t j = 0; j < w.size(); ++j) bounds[j] = std::sqrt(of.squares[j] / of.lengths[j]);
    const std::vector<double> plain = bounds;
    for (std::size_t j = 0; j < w.size(); ++j) {
        double gap = std::numeric_limits<double>::infinity();
        if (j > 0) gap = std::min(gap, w[j - 1] - plain[j - 1] - w[j]);
        if (j + 1 < w.size()) gap = std::min(gap, w[j] - w[j + 1] - plain[j + 1]);
        if (j + 1 == w.size() && std::ssize(w) < rows) gap = 0;  // to an eigenvalue that is not known
        if (gap > 0)
            bounds[j] = std::min(plain[j], std::abs(of.along[j]) / of.lengths[j] + plain[j] * plain[j] / gap);
    }
    return bounds;
}

}  // namespace

// From the blocks on and below the diagonal: the product is symmetric.
double largest_overlap(const DistributedMatrix& V) {
    double worst = 0;
    const Index width = panel_width(V);
    for (Index first = 0; first < V.columns(); first += width) {
        // Rows begin at the panel's first column as well; a multiple of the block, but of any process row.
        DistributedMatrix product = collectively(V.grid().comm().get(), [&] {
            return DistributedMatrix(V.grid(), V.columns() - first, std::min(width, V.columns() - first),
                                     V.block());
        });
        multiply_panel("T", V, first, V, first, product);
        for (Index j = 0; j < product.local_columns(); ++j)
            for (Index i = 0; i < product.local_rows(); ++i)
                worst =
                    worse(worst, std::abs(product.data()[i + j * product.lld()] -
                                          (product.global_row(i) == product.global_column(j) ? 1.0 : 0.0)));
    }
    return max_over_ranks(V.grid().comm().get(), worst);
}

namespace {

/// The same of n x k vectors by the device that has found them: on the first rank with the whole matrices,
/// one after the other. Collective. Memory of the first rank: a panel, and of several ranks a whole matrix.
VectorChecks checks_on_device(const DistributedMatrix& G, const DistributedMatrix& V,
                              const std::vector<double>& w, WholeSolver& device) {
    const MPI_Comm comm = G.grid().comm().get();
    const bool is_first = G.grid().comm().rank() == 0, gathered = G.grid().comm().size() > 1;
    const Index n = G.rows(), k = V.columns();
    constexpr Index width = columns_multiplied_together;
    const std::unique_ptr<double[]> memory =
        collectively(comm, [&] { return unset_on_large_pages(is_first && gathered ? n * n : 0); });
    const auto whole = [&](const DistributedMatrix& A) -> std::span<const double> {
        if (!gathered) return A.local();
        const std::span<double> all(memory.get(), static_cast<std::size_t>(is_first ? n * A.columns() : 0));
        gather(A, 0, all);
        return all;
    };
    VectorChecks found = collectively(comm, [&] { return no_checks(w.size()); });
    std::vector<double> overlap;  // of each column with itself and those behind it
    std::unique_ptr<HeldMatrix> held;
    const std::span<const double> of_G = whole(G);
    const auto hold = [&] { held = device.hold(of_G, n, n); };
    on_first_rank(comm, false, std::cref(hold));
    const std::span<const double> of_V = whole(V);
    const auto compare = [&] {
        overlap.assign(w.size(), 0.0);
        std::vector<double> product(static_cast<std::size_t>(n * std::min(width, k)));
        const auto for_panels = [&](const auto& visit) {
            for (Index first = 0; first < k; first += width) {
                const Index count = std::min(width, k - first);
                visit(first, count,
                      of_V.subspan(static_cast<std::size_t>(first * n), static_cast<std::size_t>(count * n)));
            }
        };
        for_panels([&](Index first, Index count, std::span<const double> columns) {
            held->multiply(columns, count, product);
            parallel_for(count, [&](Index j) {
                add_residual(found, first + j, columns.data() + j * n, product.data() + j * n, n,
                             w[static_cast<std::size_t>(first + j)]);
            });
        });
        held.reset();  // before the next one is there
        held = device.hold(of_V, n, k);
        for_panels([&](Index first, Index count, std::span<const double>) {
            held->multiply_columns(first, count, product);
            parallel_for(count, [&](Index j) {
                double& worst = overlap[static_cast<std::size_t>(first + j)];
                for (Index i = j; i < k - first; ++i)
                    worst = worse(worst, std::abs(product[static_cast<std::size_t>(i + j * (k - first))] -
                                                  (i == j ? 1.0 : 0.0)));
            });
        });
    };
    on_first_rank(comm, false, std::cref(compare));
    for (std::vector<double>* const of : {&found.squares, &found.along, &found.lengths, &overlap})
        broadcast(comm, *of, 0);
    for (const double of_column : overlap) found.overlap = worse(found.overlap, of_column);
    return found;
}

}  // namespace

VectorChecks checks_of_vectors(const DistributedMatrix& G, const Eigenpairs& pairs) {
    const DistributedMatrix& V = *pairs.vectors;
    WholeSolver* const device = registered_whole_solver();
    std::string no_room;
    if (pairs.solver == Solver::cusolver && device != nullptr) {
        try {
            return checks_on_device(G, V, pairs.values, *device);
        } catch (const Error& e) {
            if (e.kind() != ErrorKind::no_memory) throw;
            no_room = e.what();
        }
    }
    VectorChecks found = checks_by_ranks(G, V, pairs.values);
    found.left_to_ranks = no_room;
    return found;
}

Invariants Invariants::of(const DistributedMatrix& G, double scale) {
    double sums[3] = {0, 0, 0}, largest = 0;
    // One sum of n^2 like terms would lose digits in proportion to n^2.
    std::vector<double> squares = collectively(G.grid().comm().get(), [&] {
        return std::vector<double>(static_cast<std::size_t>(G.local_columns()));
    });
    parallel_for(G.local_columns(), [&](Index j) {
        squares[static_cast<std::size_t>(j)] = sum_of_squares(G.data() + j * G.lld(), G.local_rows(), scale);
    });
    for (Index j = 0; j < G.local_columns(); ++j) {
        const double* const entries = G.data() + j * G.lld();
        sums[2] += squares[static_cast<std::size_t>(j)];
        const Index diagonal = G.global_column(j);
        if (diagonal >= G.rows() || G.row_layout().owner(diagonal) != G.grid().row()) continue;
        const double value = scale * entries[G.row_layout().to_local(diagonal)];
        sums[0] += value;
        sums[1] += std::abs(value);
        largest = worse(largest, std::abs(value));
    }
    sum_over_ranks(G.grid().comm().get(), sums);
    return {sums[0], sums[1], sums[2], max_over_ranks(G.grid().comm().get(), largest)};
}

double Invariants::trace_error(const std::vector<double>& w) const {
    return relative(std::accumulate(w.begin(), w.end(), 0.0) - trace, magnitudes);
}

double Invariants::trace_missing(const std::vector<double>& w, Index rows) const {
    const double rest = trace - std::accumulate(w.begin(), w.end(), 0.0);
    return relative(std::max(0.0, rest - static_cast<double>(rows - std::ssize(w)) * w.back()), magnitudes);
}

double Invariants::squares_beyond(const std::vector<double>& w) const {
    return relative(std::max(0.0, std::inner_product(w.begin(), w.end(), w.begin(), 0.0) - squares), squares);
}

double Invariants::frobenius_error(const std::vector<double>& w) const {
    return relative(std::inner_product(w.begin(), w.end(), w.begin(), 0.0) - squares, squares);
}

double noise_floor(const std::vector<double>& descending, double trace, bool mixed_precision, Index rows) {
    if (descending.empty()) return 0;
    const auto n = static_cast<double>(rows > 0 ? rows : std::ssize(descending));
    double floor = n * 0x1p-52 * std::abs(descending.front());
    if (mixed_precision) floor = std::max(floor, std::sqrt(n) * 0x1p-24 * trace / n);
    if (descending.back() < 0) floor = std::max(floor, -descending.back());
    return floor;
}

double gram_rounding(const std::vector<double>& descending, double largest_diagonal, double trace,
                     bool mixed_precision, Index rows) {
    if (descending.empty()) return 0;
    const auto n = static_cast<double>(rows > 0 ? rows : std::ssize(descending));
    const double largest = std::max(std::abs(descending.front()), std::abs(descending.back()));
    const double solver = 10 * n * 0x1p-52 * largest;
    return mixed_precision
               ? std::max(solver, 8 * 0x1p-24 * std::sqrt(largest_diagonal * std::max(trace, 0.0)))
               : solver;
}

double solver_tolerance(Index rows) { return 10 * static_cast<double>(rows) * 0x1p-52; }

std::string beyond_rounding(const std::vector<double>& descending, double rounding) {
    if (descending.empty() || descending.back() >= -rounding) return "";
    const auto below = std::ranges::count_if(descending, [&](double value) { return value < -rounding; });
    return fmt::format(
        "{} of {} eigenvalues are negative beyond rounding, down to {:.3g} where rounding reaches "
        "{:.1e} below zero and the largest is {:.3g}",
        below, descending.size(), descending.back(), rounding, descending.front());
}

Quality quality(const DistributedMatrix& G, const Eigenpairs& pairs, bool mixed_precision) {
    const std::vector<double>& w = pairs.values;
    const Index n = G.rows(), k = std::ssize(w);
    if (n != G.columns() || k > n || (k == 0 && n > 0) ||
        (pairs.vectors && (pairs.vectors->rows() != n || pairs.vectors->columns() != k ||
                           pairs.vectors->block() != G.block())))
        throw Error(ExitStatus::input, ErrorKind::contradiction,
                    fmt::format("{} eigenvalues and their vectors are not those of a {} x {} matrix", k, n,
                                G.columns()));
    const Invariants invariants = Invariants::of(G);
    Quality result{std::nullopt,
                   std::nullopt,
                   k < n ? invariants.trace_missing(w, n) : invariants.trace_error(w),
                   k < n ? invariants.squares_beyond(w) : invariants.frobenius_error(w),
                   noise_floor(w, invariants.trace, mixed_precision, n),
                   std::count_if(w.begin(), w.end(), [](double value) { return value < 0; }),
                   gram_rounding(w, invariants.largest_diagonal, invariants.trace, mixed_precision, n),
                   std::nullopt,
                   n,
                   invariants.trace,
                   std::nullopt};
    if (!pairs.vectors) return result;
    const double scale = w.empty() ? 0.0 : std::max(std::abs(w.front()), std::abs(w.back()));
    std::optional<VectorChecks> made;
    if (!pairs.checks) made = checks_of_vectors(G, pairs);
    const VectorChecks& checks = made ? *made : *pairs.checks;
    result.residual_max = relative(largest_residual(checks), scale);
    result.resolved = 0;
    double largest_bound = 0;
    const std::vector<double> bounds =
        collectively(G.grid().comm().get(), [&] { return error_bounds(w, checks, n); });
    for (std::size_t j = 0; j < w.size(); ++j) {
        largest_bound = worse(largest_bound, bounds[j]);
        if (bounds[j] < std::abs(w[j])) ++*result.resolved;
    }
    result.error_bound_max = relative(largest_bound, scale);
    result.orthogonality_max = checks.overlap;
    result.left_to_ranks = checks.left_to_ranks;
    return result;
}

}  // namespace tangram
