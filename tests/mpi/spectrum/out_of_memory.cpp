#include "support/failing_allocation.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/spectrum/quality.hpp"

namespace tangram {
namespace {

using testing::expect_shared_failures;

constexpr Index n = 30;

TEST(OutOfMemory, EigenpairsAndTheirQuality) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    DistributedMatrix G(grid, n, n, 4);  // min(i, j)
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
                n * sizeof(int));
        }
    const Eigenpairs pairs = eigenpairs(G.copy(), Solver::lapack, true);
    expect_shared_failures([&] { quality(G, pairs, false); }, n * sizeof(int));
}

}  // namespace
}  // namespace tangram
