#include "kernel_change.hpp"

#include <algorithm>
#include <cmath>

#include "tangram/parallel/communicator.hpp"

namespace tangram {

namespace {

/// One number per row, of this rank's rows, known to all. Collective.
template <class OfRow>
std::vector<double> of_rows(const DistributedMatrix& A, OfRow of_row) {
    std::vector<double> all = collectively(A.grid().comm().get(), [&] {
        std::vector<double> own(static_cast<std::size_t>(A.rows()), 0.0);
        for (Index i = 0; i < A.local_rows(); ++i) own[static_cast<std::size_t>(A.global_row(i))] = of_row(i);
        return own;
    });
    sum_over_ranks(A.grid().comm().get(), all);
    return all;
}

double sum(const std::vector<double>& values) {
    double total = 0;
    for (const double value : values) total += value;
    return total;
}

std::vector<double> row_sums(const DistributedMatrix& A) {
    return of_rows(A, [&](Index i) {
        double total = 0;
        for (Index j = 0; j < A.columns(); ++j) total += A.data()[i + j * A.lld()];
        return total;
    });
}

}  // namespace

double centred_alignment(const DistributedMatrix& A, const DistributedMatrix& B) {
    const auto n = static_cast<double>(A.rows());
    const std::vector<double> a = row_sums(A), b = row_sums(B);
    const double mean_a = sum(a) / n / n, mean_b = sum(b) / n / n;
    /// <HXH, HYH>; rows of X and Y centred as they are read.
    const auto inner = [&](const DistributedMatrix& X, const std::vector<double>& x, double mean_x,
                           const DistributedMatrix& Y, const std::vector<double>& y, double mean_y) {
        return sum(of_rows(X, [&](Index i) {
            const auto row = static_cast<std::size_t>(X.global_row(i));
            double total = 0;
            for (Index j = 0; j < X.columns(); ++j) {
                const auto column = static_cast<std::size_t>(j);
                total += (X.data()[i + j * X.lld()] - x[row] / n - x[column] / n + mean_x) *
                         (Y.data()[i + j * Y.lld()] - y[row] / n - y[column] / n + mean_y);
            }
            return total;
        }));
    };
    return inner(A, a, mean_a, B, b, mean_b) /
           std::sqrt(inner(A, a, mean_a, A, a, mean_a) * inner(B, b, mean_b, B, b, mean_b));
}

double largest_trace(const DistributedMatrix& A, Index per_example) {
    const std::vector<double> diagonal =
        of_rows(A, [&](Index i) { return A.data()[i + A.global_row(i) * A.lld()]; });
    double largest = 0;
    for (std::size_t first = 0; first < diagonal.size(); first += static_cast<std::size_t>(per_example)) {
        double trace = 0;
        for (Index r = 0; r < per_example; ++r) trace += diagonal[first + static_cast<std::size_t>(r)];
        largest = std::max(largest, trace);
    }
    return largest;
}

}  // namespace tangram
