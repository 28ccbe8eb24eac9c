#include "tangram/spectrum/eigenpairs.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>

#include "mpi/spectrum/known_matrices.hpp"
#include "mpi/spectrum/whole_solver.hpp"
#include "support/mpi_test.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/spectrum/quality.hpp"

namespace tangram {
namespace {

using testing::descending_eigenvalues;
using testing::grid_shapes;
using testing::Known;
using testing::known_matrices;
using testing::known_matrix;
using testing::min_entry;
using testing::world_rank;
using testing::world_size;

constexpr double epsilon = std::numeric_limits<double>::epsilon();

DistributedMatrix matrix_of(const Known& known, const ProcessGrid& grid, Index n, Index block) {
    DistributedMatrix matrix(grid, n, n, block);
    for (Index j = 0; j < matrix.local_columns(); ++j)
        for (Index i = 0; i < matrix.local_rows(); ++i)
            matrix.data()[i + j * matrix.lld()] =
                known.entry(n, matrix.global_row(i), matrix.global_column(j));
    return matrix;
}

void set(DistributedMatrix& G, Index i, Index j, double value) {
    if (G.row_layout().owner(i) == G.grid().row() && G.column_layout().owner(j) == G.grid().column())
        G.data()[G.row_layout().to_local(i) + G.column_layout().to_local(j) * G.lld()] = value;
}

/// On rank 0, by the definition and without the code of quality(): the largest ||G v - w v|| and |V^T V - I|.
std::pair<double, double> naive_quality(const Known& known, Index n, const std::vector<double>& w,
                                        const std::vector<double>& V) {
    const auto v = [&](Index i, Index j) { return V[static_cast<std::size_t>(i + j * n)]; };
    const auto worse = [](double a, double b) { return !(b <= a) ? b : a; };
    std::vector<double> G(static_cast<std::size_t>(n * n)), product(static_cast<std::size_t>(n));
    for (Index j = 0; j < n; ++j)
        for (Index i = 0; i < n; ++i) G[static_cast<std::size_t>(i + j * n)] = known.entry(n, i, j);
    double residual = 0, overlap = 0;
    for (Index k = 0; k < std::ssize(w); ++k) {
        std::fill(product.begin(), product.end(), 0.0);
        for (Index j = 0; j < n; ++j)
            for (Index i = 0; i < n; ++i)
                product[static_cast<std::size_t>(i)] += G[static_cast<std::size_t>(i + j * n)] * v(j, k);
        double square = 0;
        for (Index i = 0; i < n; ++i) {
            const double r = product[static_cast<std::size_t>(i)] - w[static_cast<std::size_t>(k)] * v(i, k);
            square += r * r;
        }
        residual = worse(residual, std::sqrt(square));
        for (Index l = 0; l <= k; ++l) {
            double dot = 0;
            for (Index i = 0; i < n; ++i) dot += v(i, k) * v(i, l);
            overlap = worse(overlap, std::abs(dot - (k == l ? 1.0 : 0.0)));
        }
    }
    return {residual, overlap};
}

/// The solver stays on the matrix's own grid.
SolverLayout in_place(const ProcessGrid& grid) { return {0, grid.rows()}; }

void expect_known(const Known& known, const ProcessGrid& grid, Index n, Index block, Solver solver,
                  bool vectors) {
    SCOPED_TRACE(::testing::Message()
                 << known.name << ", n = " << n << ", block " << block << ", grid " << grid.rows() << " x "
                 << grid.columns() << (vectors ? ", vectors" : ", values"));
    std::optional<Eigenpairs> solved;
    const testing::Thrown thrown = testing::thrown_by([&] {
        solved.emplace(eigenpairs(matrix_of(known, grid, n, block), solver, vectors, in_place(grid)));
    });
    if (!solved) {
        // ELPA's two-stage solver cannot do low-rank blocks at n above its band width (check_two_stage in
        // eigenpairs.cpp); it must say so on every rank rather than give wrong numbers.
        const std::string_view text = known.name;
        const bool low_rank_blocks = text.starts_with("min") || text.starts_with("all ones") ||
                                     text == "K x I" || text == "every example twice" ||
                                     text.starts_with("five kinds");
        // pdsyevr's values of equal eigenvalues are wrong on some grids (docs/libraries.md).
        const bool equal_ones = solver == Solver::scalapack_mrrr && text == "every example twice";
        EXPECT_TRUE(equal_ones || (solver == Solver::elpa2 && n > 64 && low_rank_blocks)) << thrown.text;
        EXPECT_EQ(thrown.status, ExitStatus::numerical) << thrown.text;
        EXPECT_EQ(thrown.kind, ErrorKind::failed_check) << thrown.text;
        EXPECT_EQ(thrown.text.find(equal_ones ? "scalapack-mrrr" : "elpa2"), 0u) << thrown.text;
        ::testing::Test::RecordProperty("refused", "n = " + std::to_string(n));
        return;
    }
    const Eigenpairs& pairs = *solved;
    const std::vector<double> expected = descending_eigenvalues(known, n);
    const double scale = std::max(std::abs(expected.front()), std::abs(expected.back()));
    // Every solver is backward stable: errors of p(n) epsilon ||G||, p(n) a modest multiple of n. The
    // constant is for n = 1 to 7, where n epsilon leaves no room. elpa2 is refused only from 10 (10 + n)
    // epsilon on, and for values alone by their sums: 1e-11 is what passes those.
    const double tolerance = solver == Solver::elpa2 && n > 64 ? (vectors ? 1e-12 : 1e-11)
                                                               : (10 + 4 * static_cast<double>(n)) * epsilon;
    ASSERT_EQ(std::ssize(pairs.values), n);
    double worst = 0;
    for (std::size_t k = 0; k < expected.size(); ++k) {
        const double error = std::abs(pairs.values[k] - expected[k]);
        if (!(error <= worst)) worst = error;
    }
    EXPECT_TRUE(worst <= tolerance * scale) << "eigenvalues off by " << worst << " at scale " << scale;
    EXPECT_TRUE(std::is_sorted(pairs.values.rbegin(), pairs.values.rend()));
    std::vector<double> of_first = pairs.values;
    broadcast(grid.comm().get(), of_first, 0);
    EXPECT_EQ(pairs.values, of_first);
    EXPECT_NE(pairs.solver, Solver::automatic);
    EXPECT_FALSE(pairs.reason.empty());
    ASSERT_EQ(pairs.vectors.has_value(), vectors);
    if (!vectors) return;
    EXPECT_EQ(pairs.vectors->block(), block);
    const std::vector<double> V = gather(*pairs.vectors, 0);
    if (grid.comm().rank() != 0) return;
    const auto [residual, overlap] = naive_quality(known, n, pairs.values, V);
    EXPECT_TRUE(residual <= tolerance * scale) << "residual " << residual << " at scale " << scale;
    // MRRR computes each vector by itself and promises less: n epsilon over the relative gaps that it accepts
    // (1e-3).
    EXPECT_TRUE(overlap <= (solver == Solver::scalapack_mrrr ? 30 * tolerance : tolerance))
        << "orthogonality " << overlap;
    for (Index j = 0; j < n; ++j) {
        const double* const v = V.data() + j * n;
        const double largest = std::abs(
            *std::max_element(v, v + n, [](double a, double b) { return std::abs(a) < std::abs(b); }));
        EXPECT_GT(*std::find_if(v, v + n, [&](double x) { return std::abs(x) >= 0.6 * largest; }), 0)
            << "sign of column " << j;
    }
}

void expect_largest(const Known& known, const ProcessGrid& grid, Index n, Index k, Solver solver) {
    SCOPED_TRACE(::testing::Message() << known.name << ", " << k << " of " << n << ", grid " << grid.rows()
                                      << " x " << grid.columns());
    std::optional<Eigenpairs> solved;
    const testing::Thrown thrown = testing::thrown_by([&] {
        solved.emplace(eigenpairs(matrix_of(known, grid, n, 8), solver, true, in_place(grid), {}, k));
    });
    if (!solved) {
        EXPECT_TRUE(solver == Solver::elpa2 && n > 64) << thrown.text;
        EXPECT_EQ(thrown.kind, ErrorKind::failed_check) << thrown.text;
        ::testing::Test::RecordProperty("refused", "n = " + std::to_string(n));
        return;
    }
    std::vector<double> expected = descending_eigenvalues(known, n);
    const double scale = std::max(std::abs(expected.front()), std::abs(expected.back()));
    expected.resize(static_cast<std::size_t>(k));
    const double tolerance =
        solver == Solver::elpa2 && n > 64 ? 1e-12 : (10 + 4 * static_cast<double>(n)) * epsilon;
    ASSERT_EQ(solved->values.size(), expected.size());
    for (std::size_t j = 0; j < expected.size(); ++j)
        EXPECT_TRUE(std::abs(solved->values[j] - expected[j]) <= tolerance * scale)
            << "eigenvalue " << j << ": " << solved->values[j] << ", " << expected[j];
    ASSERT_EQ(solved->vectors->columns(), k);
    EXPECT_EQ(solved->vectors->block(), 8);
    const std::vector<double> V = gather(*solved->vectors, 0);
    if (grid.comm().rank() != 0) return;
    const auto [residual, overlap] = naive_quality(known, n, solved->values, V);
    EXPECT_TRUE(residual <= tolerance * scale) << "residual " << residual;
    EXPECT_TRUE(overlap <= 30 * tolerance) << "orthogonality " << overlap;
}

class EverySolver : public ::testing::TestWithParam<Solver> {
  protected:
    template <class Visit>
    void on_every_grid(Visit&& visit) {
        for (const auto& [rows, columns] : grid_shapes(world_size()))
            visit(ProcessGrid(MPI_COMM_WORLD, rows, columns));
    }
};

/// Every solver and every matrix that solvers trip over; a refusal stands in the test's record.
class EdgeCase : public ::testing::TestWithParam<std::tuple<Solver, Known>> {
  protected:
    Solver solver() const { return std::get<0>(GetParam()); }
    const Known& known() const { return std::get<1>(GetParam()); }
    /// Another one of another matrix or solver.
    std::size_t a_grid(const std::vector<ProcessGrid>& grids) const {
        return (std::string_view(known().name).size() + static_cast<std::size_t>(solver())) % grids.size();
    }
};

TEST_P(EdgeCase, AllPairs) {
    const std::vector<ProcessGrid> grids = testing::all_grids();
    for (const ProcessGrid& grid : grids)
        for (const Index n : {1, 2, 3, 13, 64, 70}) {
            expect_known(known(), grid, n, 8, solver(), true);
            if (n == 2 || n == 13 || n == 70) expect_known(known(), grid, n, 8, solver(), false);
        }
    expect_known(known(), grids[a_grid(grids)], 200, 64, solver(), true);
}

// k = 1, a few, half (the last that are computed alone), one less than all, more than the rank, all. Against
// the eigenvalues in closed form and, of a matrix with simple ones, against the vectors of the whole
// spectrum.
TEST_P(EdgeCase, TheLargestOnly) {
    const std::vector<ProcessGrid> grids = testing::all_grids();
    std::size_t next = a_grid(grids);  // each case on one grid
    for (const Index n : {1, 3, 20, 67})
        for (const Index k : std::set<Index>{1, std::min<Index>(n, 5), n / 2, n - 1, n})
            if (k > 0) expect_largest(known(), grids[next++ % grids.size()], n, k, solver());
}

// Of diag(1, .. 6) without vectors; the sums are bounds.
// Gathered to the first rank's device and scattered from it; what finds no room there goes to the CPU.
TEST(ADevicesSolver, TakesWhatFindsRoom) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const auto solve = [&](Index n, Solver solver, bool vectors, Index count = 0) {
        return eigenpairs(matrix_of(known_matrices()[0], grid, n, 8), solver, vectors, {}, {}, count);
    };
    testing::expect_error_on_all_ranks([&] { solve(40, Solver::cusolver, true); }, ExitStatus::study,
                                       ErrorKind::unsupported, "\"cusolver\"");
    EXPECT_EQ(std::ranges::count(solvers(), Solver::cusolver), 0);
    testing::LapackAsDevice device;
    const RegisteredWholeSolver registered(device);
    EXPECT_EQ(solver_by_name("cusolver"), Solver::cusolver);
    for (const auto& [rows, columns] : grid_shapes(world_size()))
        for (const Index n : {1, 13, 70})
            for (const bool vectors : {false, true})
                expect_known(known_matrices()[0], ProcessGrid(MPI_COMM_WORLD, rows, columns), n, 8,
                             Solver::cusolver, vectors);
    const Eigenpairs named = solve(40, Solver::cusolver, true, 3);
    EXPECT_EQ(named.solver, Solver::cusolver);
    EXPECT_NE(named.reason.find("named by the study"), std::string::npos) << named.reason;
    EXPECT_EQ(named.values.size(), 3u);
    EXPECT_EQ(named.vectors->columns(), 3);

    // auto: from the size on where LAPACK is no longer the fastest everywhere.
    device.solved = 0;
    EXPECT_EQ(solve(always_in_one_piece, Solver::automatic, false).solver, Solver::lapack);
    const Eigenpairs large = solve(always_in_one_piece + 1, Solver::automatic, false);
    EXPECT_EQ(large.solver, Solver::cusolver);
    EXPECT_NE(large.reason.find("auto"), std::string::npos) << large.reason;
    EXPECT_NE(large.reason.find("GPU 3 of node17"), std::string::npos) << large.reason;
    EXPECT_EQ(device.solved, world_rank() == 0 ? 1 : 0);

    device.free_bytes = 3.0 * 8 * 40 * 40;
    EXPECT_EQ(solve(40, Solver::cusolver, true).solver, Solver::cusolver);
    device.free_bytes -= 1;
    EXPECT_EQ(solve(40, Solver::cusolver, false).solver, Solver::cusolver);
    const Eigenpairs elsewhere = solve(40, Solver::cusolver, true);
    EXPECT_EQ(elsewhere.solver, Solver::lapack);
    for (const char* const word : {"auto", "GPU 3 of node17", "GiB free"})
        EXPECT_NE(elsewhere.reason.find(word), std::string::npos) << elsewhere.reason;
    device.free_bytes = 1e12;
    device.knows_its_room = false;
    const Eigenpairs too_large = solve(40, Solver::cusolver, true);
    EXPECT_EQ(too_large.solver, Solver::lapack);
    EXPECT_NE(too_large.reason.find("no room: GPU 3 of node17"), std::string::npos) << too_large.reason;
    device.knows_its_room = true;
    device.fails = true;
    testing::expect_error_on_all_ranks([&] { solve(40, Solver::cusolver, true); }, ExitStatus::numerical,
                                       ErrorKind::library, "GPU 3 of node17");
}

TEST(Largest, ValuesAloneTheirQualityAndARefusal) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const auto diagonal = [&] {
        DistributedMatrix G(grid, 6, 6, 2);
        for (Index i = 0; i < 6; ++i) set(G, i, i, static_cast<double>(1 + i));
        return G;
    };
    Eigenpairs pairs = eigenpairs(diagonal(), Solver::automatic, false, {}, {}, 2);
    EXPECT_EQ(pairs.values, (std::vector<double>{6, 5}));
    EXPECT_FALSE(pairs.vectors);
    const Quality good = quality(diagonal(), pairs, false);
    EXPECT_EQ(good.rows, 6);
    EXPECT_EQ(good.trace, 21);
    EXPECT_EQ(good.trace_error, 0);
    EXPECT_EQ(good.frobenius_error, 0);
    EXPECT_EQ(good.noise_floor, 6 * 0x1p-52 * 6);
    pairs.values = {2, 1};  // at most 2 + 1 + 4 of 21
    EXPECT_DOUBLE_EQ(quality(diagonal(), pairs, false).trace_error, 14.0 / 21);
    pairs.values = {10, 1};  // squares: 101 of 91
    EXPECT_DOUBLE_EQ(quality(diagonal(), pairs, false).frobenius_error, 10.0 / 91);
    testing::expect_error_on_all_ranks([&] { eigenpairs(diagonal(), Solver::automatic, true, {}, {}, 7); },
                                       ExitStatus::study, ErrorKind::out_of_range, "spectrum.count = 7");
}

// Ragged blocks, ranks that own nothing, one block for all, and the n = 128, nb = 70 of docs/libraries.md.
// Larger matrices in small blocks show nothing new, and take most of the time on six ranks.
TEST_P(EverySolver, BlocksOfTheInput) {
    on_every_grid([](const ProcessGrid& grid) {
        for (const Index n : {1, 2, 7, 13, 64, 70, 128, 200})
            for (const Index block : {Index{1}, Index{8}, Index{64}, Index{70}, n + 5})
                if (n <= 70 || block >= 64)
                    expect_known(known_matrix("min"), grid, n, block, GetParam(), n % 2 == 0);
    });
}

// The solver's own block, as the study may name it; n = 13, nb = 8 of docs/libraries.md is lowered to what
// every rank owns.
TEST_P(EverySolver, BlocksOfTheSolver) {
    on_every_grid([](const ProcessGrid& grid) {
        for (const Index n : {13, 128})
            for (const Index block : {1, 8, 33, 64, 70, 500}) {
                const Known& known = known_matrix("banded");  // one that elpa2 can do
                const Eigenpairs pairs = eigenpairs(matrix_of(known, grid, n, 16), GetParam(), true, {block});
                const std::vector<double> expected = descending_eigenvalues(known, n);
                for (std::size_t k = 0; k < expected.size(); ++k)
                    EXPECT_TRUE(std::abs(pairs.values[k] - expected[k]) <=
                                (10 + 4 * static_cast<double>(n)) * epsilon * expected[0])
                        << n << ", solver's block " << block << ", eigenvalue " << k;
            }
    });
}

// From every grid to every grid and back: values in closed form, vectors by their residuals, laid out as G.
TEST_P(EverySolver, GridsOfTheSolver) {
    const Index n = 61;
    const Known& known = known_matrix("banded");
    const std::vector<double> expected = descending_eigenvalues(known, n);
    const double tolerance = (10 + 4 * static_cast<double>(n)) * epsilon;
    on_every_grid([&](const ProcessGrid& grid) {
        for (const auto& [rows, columns] : grid_shapes(world_size()))
            for (const Index block : {3, 12}) {
                SCOPED_TRACE(::testing::Message() << "from " << grid.rows() << " rows to " << rows << " x "
                                                  << columns << ", block " << block);
                const DistributedMatrix G = matrix_of(known, grid, n, 8);
                Eigenpairs pairs = eigenpairs(G.copy(), GetParam(), true, {block, rows});
                for (std::size_t k = 0; k < expected.size(); ++k)
                    EXPECT_TRUE(std::abs(pairs.values[k] - expected[k]) <= tolerance * expected[0]) << k;
                EXPECT_EQ(&pairs.vectors->grid(), &grid);
                EXPECT_EQ(pairs.vectors->block(), 8);
                const Quality found = quality(G, pairs, false);
                EXPECT_TRUE(*found.residual_max <= tolerance && *found.orthogonality_max <= 30 * tolerance);
                // elpa2's are checked once; what is handed on is what is found again.
                EXPECT_EQ(pairs.checks.has_value(), pairs.solver == Solver::elpa2);
                pairs.checks.reset();
                EXPECT_EQ(quality(G, pairs, false).residual_max, found.residual_max);
                EXPECT_EQ(quality(G, pairs, false).orthogonality_max, found.orthogonality_max);
                if (pairs.solver != Solver::lapack) {
                    // Less where a rank would own nothing.
                    const Index used = std::min(block, n / std::max(rows, columns));
                    const std::string words = "block " + std::to_string(used) + " on a grid of " +
                                              std::to_string(rows) + " x " + std::to_string(columns);
                    EXPECT_NE(pairs.reason.find(words), std::string::npos) << pairs.reason;
                }
            }
    });
}

// Lesson 5: two halves of the ranks solve different problems at the same time.
TEST_P(EverySolver, OnSubCommunicators) {
    const int colour = world_rank() % 2;
    const Communicator half(MPI_COMM_WORLD, colour, world_rank());
    for (const auto& [rows, columns] : grid_shapes(half.size())) {
        const ProcessGrid grid(half.get(), rows, columns);
        expect_known(known_matrix(colour == 0 ? "tridiagonal" : "banded"), grid, colour == 0 ? 70 : 61, 8,
                     GetParam(), true);
    }
}

TEST_P(EverySolver, TheSameBitsTwice) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const Known& known = known_matrix("banded");
    const Eigenpairs first = eigenpairs(matrix_of(known, grid, 90, 16), GetParam(), true);
    const Eigenpairs second = eigenpairs(matrix_of(known, grid, 90, 16), GetParam(), true);
    EXPECT_EQ(first.values, second.values);
    EXPECT_TRUE(std::equal(first.vectors->local().begin(), first.vectors->local().end(),
                           second.vectors->local().begin()));
}

std::vector<Solver> all_solvers() {
    std::vector<Solver> list = solvers();
    list.push_back(Solver::automatic);
    return list;
}
TEST_P(EverySolver, TwoHundredInOneProcessKeepMemoryFlat) {
    if (testing::world_size() > 4) GTEST_SKIP() << "minutes where ranks share cores, and four show the same";
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const DistributedMatrix matrix = matrix_of(known_matrix("banded"), grid, 96, 16);
    for (int i = 0; i < 20; ++i) eigenpairs(matrix.copy(), GetParam(), true);
    const Index before = testing::resident_bytes();
    for (int i = 0; i < 200; ++i) eigenpairs(matrix.copy(), GetParam(), true);
    // A matrix is 72 kB: 200 of them, or of a solver's workspaces, would show. MPI's own pools settle.
    EXPECT_LT(testing::resident_bytes() - before, Index{8} << 20);
}

INSTANTIATE_TEST_SUITE_P(Spectrum, EverySolver, ::testing::ValuesIn(all_solvers()),
                         [](const auto& instance) { return testing::test_name(name(instance.param)); });
INSTANTIATE_TEST_SUITE_P(Spectrum, EdgeCase,
                         ::testing::Combine(::testing::ValuesIn(all_solvers()),
                                            ::testing::ValuesIn(known_matrices())),
                         [](const auto& instance) {
                             return testing::test_name(name(std::get<0>(instance.param)) + " on " +
                                                       std::get<1>(instance.param).name);
                         });

// min(i, j) of n = 21 reaches 21.
TEST(MakeSymmetric, TheMeanWithinTheToleranceAndARefusalBeyond) {
    for (const auto& [rows, columns] : grid_shapes(world_size())) {
        const ProcessGrid grid(MPI_COMM_WORLD, rows, columns);
        DistributedMatrix G = matrix_of(known_matrix("min"), grid, 21, 4);
        EXPECT_EQ(make_symmetric(G, 1e-4, {}), 0);
        set(G, 4, 12, 5.0 + 0x1p-10);
        set(G, 20, 0, 1.0 - 0x1p-11);
        EXPECT_EQ(make_symmetric(G, 1e-4, {}), 0x1p-10 / 21);
        const std::vector<double> whole = gather(G, 0);
        for (Index j = 0; j < 21 && grid.comm().rank() == 0; ++j)
            for (Index i = 0; i < 21; ++i) {
                const bool upper = (i == 4 && j == 12) || (i == 12 && j == 4),
                           lower = (i == 20 && j == 0) || (i == 0 && j == 20);
                EXPECT_EQ(whole[static_cast<std::size_t>(i + j * 21)], min_entry(i, j) + (upper   ? 0x1p-11
                                                                                          : lower ? -0x1p-12
                                                                                                  : 0))
                    << i << " " << j;
            }
        set(G, 4, 12, 5.1);
        testing::expect_error_on_all_ranks([&] { make_symmetric(G, 1e-4, {}); }, ExitStatus::input,
                                           ErrorKind::contradiction, "row 12, column 4 ");
    }
}

// A prime n from which on LAPACK has the threads of all ranks, and the matrix travels in many messages. The
// tolerance is a backward stable solver's, as in expect_known.
TEST(InOnePiece, WithTheThreadsOfAllRanks) {
    const Index n = 1009;
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const DistributedMatrix G = matrix_of(known_matrix("min"), grid, n, 256);
    const std::vector<double> expected = descending_eigenvalues(known_matrix("min"), n);
    const double tolerance = (10 + 4 * static_cast<double>(n)) * epsilon;
    for (const bool vectors : {true, false}) {
        const Eigenpairs pairs = eigenpairs(G.copy(), Solver::lapack, vectors);
        for (std::size_t k = 0; k < expected.size(); ++k)
            EXPECT_TRUE(std::abs(pairs.values[k] - expected[k]) <= tolerance * expected[0]) << k;
        const Quality found = quality(G, pairs, false);
        EXPECT_TRUE(found.trace_error <= tolerance && found.frobenius_error <= tolerance);
        if (vectors) {
            EXPECT_TRUE(*found.residual_max <= tolerance && *found.orthogonality_max <= tolerance);
        }
    }
}

class BadInput : public EverySolver {};

TEST_P(BadInput, TheFirstBadEntryIsNamedOnEveryRank) {
    on_every_grid([](const ProcessGrid& grid) {
        const auto with = [&](std::vector<std::array<double, 3>> entries) {
            DistributedMatrix G = matrix_of(known_matrix("min"), grid, 21, 4);
            for (const auto& [row, column, value] : entries)
                set(G, static_cast<Index>(row), static_cast<Index>(column), value);
            return G;
        };
        const double nan = std::numeric_limits<double>::quiet_NaN(),
                     infinity = std::numeric_limits<double>::infinity();
        const auto refused = [&](std::vector<std::array<double, 3>> entries, ErrorKind kind,
                                 const char* entry) {
            testing::expect_error_on_all_ranks([&] { eigenpairs(with(entries), GetParam(), false); },
                                               ExitStatus::input, kind, entry);
        };
        refused({{17, 3, nan}}, ErrorKind::non_finite, "row 17, column 3 ");
        refused({{2, 9, -infinity}, {20, 8, infinity}, {5, 20, nan}}, ErrorKind::non_finite,
                "row 20, column 8 ");
        // min(i, j) reaches 21 here, so the tolerance is 2.1e-11.
        refused({{4, 12, 5 + 1e-10}}, ErrorKind::contradiction, "row 12, column 4 ");
        EXPECT_NO_THROW(eigenpairs(with({{4, 12, 5 + 1e-11}}), GetParam(), false));
        testing::expect_error_on_all_ranks(
            [&] {
                eigenpairs(with({{3, 3, 1e200}}), GetParam(), false);
            },
            ExitStatus::numerical, ErrorKind::out_of_range, "1e+200");
        testing::expect_error_on_all_ranks(
            [&] {
                eigenpairs(with({{17, 3, nan}}), GetParam(), false, {}, {"f.h5: /G", ExitStatus::output});
            },
            ExitStatus::output, ErrorKind::non_finite, "f.h5: /G");
        testing::expect_error_on_all_ranks(
            [&] { eigenpairs(DistributedMatrix(grid, 4, 5, 2), GetParam(), false); }, ExitStatus::input,
            ErrorKind::contradiction, "4 x 5");
        testing::expect_error_on_all_ranks(
            [&] { eigenpairs(DistributedMatrix(grid, 0, 0, 2), GetParam(), false); }, ExitStatus::input,
            ErrorKind::contradiction, "0 x 0");
    });
}
INSTANTIATE_TEST_SUITE_P(Spectrum, BadInput, ::testing::ValuesIn(all_solvers()),
                         [](const auto& instance) { return testing::test_name(name(instance.param)); });

TEST(Solvers, TheReasonSaysWhenAnotherOneWasTaken) {
    const ProcessGrid grid(MPI_COMM_WORLD, 1, world_size());
    const Eigenpairs tiny =
        eigenpairs(matrix_of(known_matrix("min"), grid, 1, 4), Solver::scalapack_dc, true);
    EXPECT_EQ(tiny.solver, Solver::lapack);
    EXPECT_NE(tiny.reason.find("n = 1 is too small for a grid of 1 x"), std::string::npos) << tiny.reason;
    const Eigenpairs named =
        eigenpairs(matrix_of(known_matrix("min"), grid, 40, 4), Solver::scalapack_mrrr, true);
    EXPECT_EQ(named.solver, Solver::scalapack_mrrr);
}

}  // namespace
}  // namespace tangram
