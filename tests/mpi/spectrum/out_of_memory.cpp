#include "support/failing_allocation.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/spectrum/quality.hpp"
#include "tangram/spectrum/spectral_density.hpp"

namespace tangram {
namespace {

using testing::expect_shared_failures;

constexpr Index order = 30;

TEST(OutOfMemory, EigenpairsAndTheirQuality) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    DistributedMatrix G(grid, order, order, 4);  // min(i, j)
    for (Index j = 0; j < G.local_columns(); ++j)
        for (Index i = 0; i < G.local_rows(); ++i)
            G.data()[i + j * G.lld()] =
                static_cast<double>(std::min(G.global_row(i), G.global_column(j)) + 1);
    for (const Solver solver : solvers())
        for (const bool vectors : {true, false}) {
            if (solver == Solver::elpa2 && vectors) continue;  // refuses its own result here
            SCOPED_TRACE(name(solver));
            // A local column of the smallest grids' share; the copy of G is the caller's.
            expect_shared_failures(
                [&] {
                    DistributedMatrix copy = collectively(MPI_COMM_WORLD, [&] { return G.copy(); });
                    eigenpairs(std::move(copy), solver, vectors);
                },
                order * sizeof(int));
        }
    const Eigenpairs pairs = eigenpairs(G.copy(), Solver::lapack, true);
    expect_shared_failures([&] { quality(G, pairs, false); }, order * sizeof(int));
}

TEST(OutOfMemory, LeadingPairsAndTheDensity) {
    // 1, 2, ..., order.
    const SymmetricOperator G{MPI_COMM_WORLD, order, [](const std::vector<double>& X, Index vectors) {
                                  return collectively(MPI_COMM_WORLD, [&] {
                                      std::vector<double> Y(X);
                                      for (std::size_t i = 0; i < Y.size(); ++i)
                                          Y[i] *= 1 + static_cast<double>(static_cast<Index>(i) / vectors);
                                      return Y;
                                  });
                              }};
    expect_shared_failures(
        [&] {
            spectral_density(G, leading_pairs(G, 3, {2, 12}), 1e-9, 1);
        },
        3 * sizeof(double));
}

}  // namespace
}  // namespace tangram
