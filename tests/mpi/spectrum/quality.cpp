#include "tangram/spectrum/quality.hpp"

#include <cmath>
#include <numeric>

#include "mpi/spectrum/whole_solver.hpp"
#include "support/mpi_test.hpp"

namespace tangram {
namespace {

using testing::grid_shapes;
using testing::world_rank;
using testing::world_size;

template <class Entry>
DistributedMatrix matrix_of(const ProcessGrid& grid, Index n, Index block, Entry&& entry) {
    DistributedMatrix matrix(grid, n, n, block);
    for (Index j = 0; j < matrix.local_columns(); ++j)
        for (Index i = 0; i < matrix.local_rows(); ++i)
            matrix.data()[i + j * matrix.lld()] = entry(matrix.global_row(i), matrix.global_column(j));
    return matrix;
}

/// A reflection I - 2 u u^T with u_i^2 = 1/n: G = H diag(n, n-1, .. 1) H has H's columns as eigenvectors.
struct Reflected {
    Index n;
    double h(Index i, Index j) const { return (i == j ? 1.0 : 0.0) - 2.0 / static_cast<double>(n); }
    double w(Index k) const { return static_cast<double>(n - k); }
    /// sum_k H_ik w_k H_kj, multiplied out: w_i [i = j] - (2/n)(w_i + w_j) + (4/n^2) sum w.
    double g(Index i, Index j) const {
        const auto size = static_cast<double>(n);
        const double sum = size * (size + 1) / 2;
        return (i == j ? w(i) : 0.0) - 2 / size * (w(i) + w(j)) + 4 / (size * size) * sum;
    }
    Eigenpairs pairs(const ProcessGrid& grid, Index block) const {
        std::vector<double> values(static_cast<std::size_t>(n));
        for (Index k = 0; k < n; ++k) values[static_cast<std::size_t>(k)] = w(k);
        return {values, matrix_of(grid, n, block, [&](Index i, Index j) { return h(i, j); }), Solver::lapack,
                "by hand"};
    }
};

void add(DistributedMatrix& matrix, Index i, Index j, double change) {
    if (matrix.row_layout().owner(i) == matrix.grid().row() &&
        matrix.column_layout().owner(j) == matrix.grid().column())
        matrix.data()[matrix.row_layout().to_local(i) + matrix.column_layout().to_local(j) * matrix.lld()] +=
            change;
}

/// By all ranks, or by the device that is said to have found the pairs.
class CheckedBy : public ::testing::TestWithParam<Solver> {
  protected:
    CheckedBy() {
        if (GetParam() == Solver::cusolver) registered_.emplace(device_);
    }
    ~CheckedBy() override {
        EXPECT_EQ(device_.held > 0, GetParam() == Solver::cusolver && world_rank() == 0);
    }
    Eigenpairs pairs(const Reflected& known, const ProcessGrid& grid, Index block) const {
        Eigenpairs found = known.pairs(grid, block);
        found.solver = GetParam();
        return found;
    }
    testing::LapackAsDevice device_;

  private:
    std::optional<RegisteredWholeSolver> registered_;
};
INSTANTIATE_TEST_SUITE_P(Quality, CheckedBy, ::testing::Values(Solver::lapack, Solver::cusolver),
                         [](const auto& by) { return std::string(name(by.param)); });

// 600 and 300 take several panels of 256 columns, 600 of a device's 512; 5 and 9 leave ranks without
// anything.
TEST_P(CheckedBy, ExactPairsAreGoodAndDamageIsMeasured) {
    for (const auto& [rows, columns] : grid_shapes(world_size()))
        for (const auto& [n, block] :
             std::vector<std::pair<Index, Index>>{{1, 1}, {5, 4}, {9, 16}, {70, 8}, {300, 7}, {600, 64}}) {
            SCOPED_TRACE(::testing::Message()
                         << n << " in blocks of " << block << " on " << rows << " x " << columns);
            const ProcessGrid grid(MPI_COMM_WORLD, rows, columns);
            const Reflected known{n};
            const DistributedMatrix G =
                matrix_of(grid, n, block, [&](Index i, Index j) { return known.g(i, j); });
            Eigenpairs pairs = this->pairs(known, grid, block);
            // Products of n terms of size up to w_1 |h|; the entries of G and H themselves are rounded.
            const double rounding = 10 * static_cast<double>(n) * 0x1p-52;
            const Quality good = quality(G, pairs, false);
            EXPECT_TRUE(*good.residual_max <= rounding) << *good.residual_max;
            EXPECT_TRUE(*good.orthogonality_max <= rounding) << *good.orthogonality_max;
            EXPECT_TRUE(good.trace_error <= rounding) << good.trace_error;
            EXPECT_TRUE(good.frobenius_error <= rounding) << good.frobenius_error;
            EXPECT_EQ(good.negative, 0);
            if (n < 5) continue;

            // A wrong entry in the last vector: v += d e_i. Its residual is d (G - w I) e_i, the overlaps are
            // d H_ik.
            const double d = 1e-3;
            const Index at = n / 2;
            add(*pairs.vectors, at, n - 1, d);
            const Quality damaged = quality(G, pairs, false);
            double residual = 0, overlap = 0;
            for (Index i = 0; i < n; ++i)
                residual += std::pow(d * (known.g(i, at) - (i == at ? known.w(n - 1) : 0.0)), 2);
            for (Index k = 0; k + 1 < n; ++k) overlap = std::max(overlap, std::abs(d * known.h(at, k)));
            overlap = std::max(overlap, std::abs(2 * d * known.h(at, n - 1) + d * d));
            EXPECT_NEAR(*damaged.residual_max, std::sqrt(residual) / known.w(0), 1e-3 * rounding + rounding);
            EXPECT_NEAR(*damaged.orthogonality_max, overlap, rounding);

            // Wrong eigenvalues: the sums notice, the residual of their vector is the error.
            pairs = this->pairs(known, grid, block);
            pairs.values.back() = -0.5;
            const Quality wrong = quality(G, pairs, false);
            const double size = static_cast<double>(n);
            EXPECT_NEAR(wrong.trace_error, 1.5 / (size * (size + 1) / 2), rounding);
            EXPECT_NEAR(wrong.frobenius_error, 0.75 / (size * (size + 1) * (2 * size + 1) / 6), rounding);
            EXPECT_NEAR(*wrong.residual_max, 1.5 / size, rounding);
            EXPECT_EQ(wrong.negative, 1);
            EXPECT_EQ(wrong.noise_floor, 0.5);
        }
}

// The largest alone: residuals and overlaps are those of the whole's first columns.
TEST_P(CheckedBy, SomePairs) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const Reflected known{70};
    const DistributedMatrix G = matrix_of(grid, 70, 8, [&](Index i, Index j) { return known.g(i, j); });
    for (const Index count : {1, 9, 69}) {
        DistributedMatrix V(grid, 70, count, 8);
        for (Index j = 0; j < V.local_columns(); ++j)
            for (Index i = 0; i < V.local_rows(); ++i)
                V.data()[i + j * V.lld()] = known.h(V.global_row(i), V.global_column(j));
        Eigenpairs some{{}, std::move(V), GetParam(), "by hand"};
        for (Index k = 0; k < count; ++k) some.values.push_back(known.w(k));
        const double rounding = 10 * 70 * 0x1p-52;  // as above
        EXPECT_TRUE(*quality(G, some, false).residual_max <= rounding) << count;
        EXPECT_TRUE(*quality(G, some, false).orthogonality_max <= rounding) << count;
        constexpr double d = 1e-3;  // the last vector, v += d e_35: as above
        add(*some.vectors, 35, count - 1, d);
        double overlap = std::abs(2 * d * known.h(35, count - 1) + d * d), residual = 0;
        for (Index k = 0; k + 1 < count; ++k) overlap = std::max(overlap, std::abs(d * known.h(35, k)));
        for (Index i = 0; i < 70; ++i)
            residual += std::pow(d * (known.g(i, 35) - (i == 35 ? known.w(count - 1) : 0.0)), 2);
        EXPECT_NEAR(*quality(G, some, false).orthogonality_max, overlap, rounding) << count;
        EXPECT_NEAR(*quality(G, some, false).residual_max, std::sqrt(residual) / known.w(0), rounding)
            << count;
    }
}

// v_3 turned by a small angle s towards v_4 has the Rayleigh quotient w_3 - s^2 (w_3 - w_4) and a residual of
// s cos (w_3 - w_4); eigenvalues are integers, so gap = 1 - s at least. The bound is of second order where
// the residual is of first, and it holds for an eigenvalue that is off by it.
TEST(Quality, TheBoundOnAnEigenvalueIsOfSecondOrder) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const Reflected known{40};
    const DistributedMatrix G = matrix_of(grid, 40, 8, [&](Index i, Index j) { return known.g(i, j); });
    const double s = 1e-4, c = std::sqrt(1 - s * s);
    Eigenpairs pairs = known.pairs(grid, 8);
    pairs.vectors.emplace(matrix_of(grid, 40, 8, [&](Index i, Index j) {
        return j == 3 ? c * known.h(i, 3) + s * known.h(i, 4) : known.h(i, j);
    }));
    const Quality turned = quality(G, pairs, false);
    EXPECT_NEAR(*turned.residual_max, s / 40, 1e-3 * s / 40);
    EXPECT_TRUE(*turned.error_bound_max >= s * s / 40) << *turned.error_bound_max;
    EXPECT_TRUE(*turned.error_bound_max <= 2.1 * s * s / 40) << *turned.error_bound_max;
    EXPECT_EQ(turned.resolved, 40);

    // Of the four largest alone w_4 is not known, nor a gap to it: the bound on w_3 is the residual.
    DistributedMatrix V(grid, 40, 4, 8);
    for (Index j = 0; j < V.local_columns(); ++j)
        for (Index i = 0; i < V.local_rows(); ++i) {
            const Index row = V.global_row(i), column = V.global_column(j);
            V.data()[i + j * V.lld()] =
                column == 3 ? c * known.h(row, 3) + s * known.h(row, 4) : known.h(row, column);
        }
    const Quality some = quality(G, {{40, 39, 38, 37}, std::move(V), Solver::lapack, "by hand"}, false);
    EXPECT_NEAR(*some.error_bound_max, s / 40, 1e-3 * s / 40);

    pairs = known.pairs(grid, 8);
    pairs.values.back() = 0.3;  // 1
    const Quality wrong = quality(G, pairs, false);
    EXPECT_TRUE(*wrong.error_bound_max >= (0.7 - 1e-12) / 40) << *wrong.error_bound_max;
    EXPECT_EQ(wrong.resolved, 39);
}

TEST_P(CheckedBy, NanIsNeverSmall) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const Reflected known{300};
    const DistributedMatrix G = matrix_of(grid, 300, 16, [&](Index i, Index j) { return known.g(i, j); });
    for (const Index column : {0, 150, 299}) {
        Eigenpairs pairs = this->pairs(known, grid, 16);
        add(*pairs.vectors, 17, column, std::nan(""));
        const Quality result = quality(G, pairs, false);
        EXPECT_TRUE(std::isnan(*result.residual_max)) << *result.residual_max;
        EXPECT_TRUE(std::isnan(*result.orthogonality_max)) << *result.orthogonality_max;
        EXPECT_TRUE(std::isnan(*result.error_bound_max)) << *result.error_bound_max;
        EXPECT_LT(*result.resolved, 300);
    }
}

// What finds no room on the device is checked by the ranks; a device that fails is an error on all of them.
TEST(Quality, OfADeviceThatFails) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const Reflected known{70};
    const DistributedMatrix G = matrix_of(grid, 70, 8, [&](Index i, Index j) { return known.g(i, j); });
    Eigenpairs pairs = known.pairs(grid, 8);
    const Quality by_ranks = quality(G, pairs, false);
    pairs.solver = Solver::cusolver;
    const Quality without_any = quality(G, pairs, false);
    EXPECT_EQ(without_any.residual_max, by_ranks.residual_max);
    EXPECT_EQ(without_any.left_to_ranks, "");
    testing::LapackAsDevice device;
    const RegisteredWholeSolver registered(device);
    device.fails_to_hold = ErrorKind::no_memory;
    const Quality without = quality(G, pairs, false);
    EXPECT_EQ(without.residual_max, by_ranks.residual_max);
    EXPECT_EQ(without.orthogonality_max, by_ranks.orthogonality_max);
    EXPECT_NE(without.left_to_ranks.find("GPU 3 of node17"), std::string::npos) << without.left_to_ranks;
    EXPECT_EQ(device.held, world_rank() == 0 ? 1 : 0);
    device.held_before = 2;  // the vectors find none
    EXPECT_EQ(quality(G, pairs, false).residual_max, by_ranks.residual_max);
    EXPECT_EQ(device.held, world_rank() == 0 ? 3 : 0);
    device.fails_to_hold = ErrorKind::library;
    testing::expect_error_on_all_ranks([&] { quality(G, pairs, false); }, ExitStatus::numerical,
                                       ErrorKind::library, "GPU 3 of node17");
}

TEST(Quality, WithoutVectorsAndOfTheZeroMatrix) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const DistributedMatrix zero(grid, 6, 6, 2);
    const Quality values =
        quality(zero, {std::vector<double>(6, 0.0), std::nullopt, Solver::lapack, ""}, true);
    EXPECT_FALSE(values.residual_max.has_value());
    EXPECT_FALSE(values.orthogonality_max.has_value());
    EXPECT_EQ(values.trace_error, 0);
    EXPECT_EQ(values.frobenius_error, 0);
    EXPECT_EQ(values.noise_floor, 0);
    const Quality all = quality(
        zero,
        {std::vector<double>(6, 0.0),
         matrix_of(grid, 6, 2, [](Index i, Index j) { return i == j ? 1.0 : 0.0; }), Solver::lapack, ""},
        false);
    EXPECT_EQ(*all.residual_max, 0);
    EXPECT_EQ(*all.orthogonality_max, 0);
}

TEST(Quality, PairsOfAnotherMatrixAreRefused) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const DistributedMatrix G(grid, 6, 6, 2);
    testing::expect_error_on_all_ranks(
        [&] {
            quality(G, {std::vector<double>(7), std::nullopt, Solver::lapack, ""}, false);
        },
        ExitStatus::input, ErrorKind::contradiction, "7 eigenvalues");
    testing::expect_error_on_all_ranks(
        [&] {
            quality(G, {std::vector<double>(6), DistributedMatrix(grid, 6, 6, 3), Solver::lapack, ""}, false);
        },
        ExitStatus::input, ErrorKind::contradiction, "6 x 6");
}

}  // namespace
}  // namespace tangram
