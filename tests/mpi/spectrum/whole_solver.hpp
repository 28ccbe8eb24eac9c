#pragma once
#include <algorithm>
#include <span>
#include <vector>

#include "support/mpi_test.hpp"
#include "tangram/spectrum/whole_solver.hpp"

extern "C" void dsyev_(const char* jobz, const char* uplo, const int* n, double* a, const int* lda, double* w,
                       double* work, const int* lwork, int* info);

namespace tangram::testing {

/// Stands for a device on the first rank: LAPACK's dsyev (QR iterations, which eigenpairs() has nowhere).
class LapackAsDevice final : public WholeSolver {
  public:
    double free_bytes = 1e12;
    Index solved = 0;
    bool fails = false, knows_its_room = true;

    std::string name() const override { return "GPU 3 of node17"; }
    Room room(Index n, bool vectors) override {
        if (!knows_its_room) throw Error(ExitStatus::numerical, ErrorKind::library, name() + ": too large");
        return {static_cast<double>((vectors ? 3 : 1) * 8 * n * n), free_bytes};
    }
    void solve(std::span<double> A, Index n, bool vectors, std::span<double> w) override {
        EXPECT_EQ(world_rank(), 0);
        ++solved;
        if (fails) throw Error(ExitStatus::numerical, ErrorKind::library, name() + " failed");
        const int order = static_cast<int>(n), size = 34 * order;
        std::vector<double> work(static_cast<std::size_t>(size));
        int info = 0;
        // What is not to be read.
        for (Index j = 1; j < n; ++j) std::fill_n(A.data() + j * n, j, 1e300);
        dsyev_(vectors ? "V" : "N", "L", &order, A.data(), &order, w.data(), work.data(), &size, &info);
        EXPECT_EQ(info, 0);
    }
};

}  // namespace tangram::testing
