#include "tangram/spectrum/quality.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "invariants.hpp"
#include "lapack.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {

namespace {

// A NaN must not vanish in a maximum.
double worse(double a, double b) { return std::isnan(b) || b > a ? b : a; }

double relative(double difference, double scale) {
    return scale > 0 ? std::abs(difference) / scale : std::abs(difference);
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

/// max_j ||G v_j - w_j v_j||. Collective.
double largest_residual(const DistributedMatrix& G, const DistributedMatrix& V,
                        const std::vector<double>& w) {
    const MPI_Comm comm = G.grid().comm().get();
    std::vector<double> squares = collectively(comm, [&] { return std::vector<double>(w.size(), 0.0); });
    const Index width = panel_width(V);
    for (Index first = 0; first < V.columns(); first += width) {
        DistributedMatrix GV = collectively(comm, [&] {
            return DistributedMatrix(G.grid(), G.rows(), std::min(width, V.columns() - first), G.block());
        });
        multiply_panel("N", G, 0, V, first, GV);
        const Index first_local = V.column_layout().to_local(first);
        for (Index j = 0; j < GV.local_columns(); ++j) {
            const auto column = static_cast<std::size_t>(first + GV.global_column(j));
            const double* const v = V.data() + (first_local + j) * V.lld();
            for (Index i = 0; i < GV.local_rows(); ++i) {
                const double r = GV.data()[i + j * GV.lld()] - w[column] * v[i];
                squares[column] += r * r;
            }
        }
    }
    sum_over_ranks(comm, squares);
    double worst = 0;
    for (const double square : squares) worst = worse(worst, std::sqrt(square));
    return worst;
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

Invariants Invariants::of(const DistributedMatrix& G) {
    double sums[3] = {0, 0, 0};
    for (Index j = 0; j < G.local_columns(); ++j) {
        double column = 0;  // one sum of n^2 like terms would lose digits in proportion to n^2
        for (Index i = 0; i < G.local_rows(); ++i) {
            const double value = G.data()[i + j * G.lld()];
            column += value * value;
            if (G.global_row(i) == G.global_column(j)) {
                sums[0] += value;
                sums[1] += std::abs(value);
            }
        }
        sums[2] += column;
    }
    sum_over_ranks(G.grid().comm().get(), sums);
    return {sums[0], sums[1], sums[2]};
}

double Invariants::trace_error(const std::vector<double>& w) const {
    return relative(std::accumulate(w.begin(), w.end(), 0.0) - trace, magnitudes);
}

double Invariants::frobenius_error(const std::vector<double>& w) const {
    return relative(std::inner_product(w.begin(), w.end(), w.begin(), 0.0) - squares, squares);
}

double noise_floor(const std::vector<double>& descending, double trace, bool mixed_precision) {
    if (descending.empty()) return 0;
    const auto n = static_cast<double>(descending.size());
    double floor = n * 0x1p-52 * std::abs(descending.front());
    if (mixed_precision) floor = std::max(floor, std::sqrt(n) * 0x1p-24 * trace / n);
    if (descending.back() < 0) floor = std::max(floor, -descending.back());
    return floor;
}

Quality quality(const DistributedMatrix& G, const Eigenpairs& pairs, bool mixed_precision) {
    const std::vector<double>& w = pairs.values;
    if (G.rows() != G.columns() || G.rows() != std::ssize(w) ||
        (pairs.vectors && (pairs.vectors->rows() != G.rows() || pairs.vectors->columns() != G.rows() ||
                           pairs.vectors->block() != G.block())))
        throw Error(ExitStatus::input, ErrorKind::contradiction,
                    fmt::format("{} eigenvalues and their vectors are not those of a {} x {} matrix",
                                w.size(), G.rows(), G.columns()));
    const Invariants invariants = Invariants::of(G);
    Quality result{std::nullopt,
                   std::nullopt,
                   invariants.trace_error(w),
                   invariants.frobenius_error(w),
                   noise_floor(w, invariants.trace, mixed_precision),
                   std::count_if(w.begin(), w.end(), [](double value) { return value < 0; })};
    if (!pairs.vectors) return result;
    const double scale = w.empty() ? 0.0 : std::max(std::abs(w.front()), std::abs(w.back()));
    result.residual_max = relative(largest_residual(G, *pairs.vectors, w), scale);
    result.orthogonality_max = largest_overlap(*pairs.vectors);
    return result;
}

}  // namespace tangram
