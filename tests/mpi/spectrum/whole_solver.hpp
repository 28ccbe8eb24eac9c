#pragma once
#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
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
    std::optional<ErrorKind> fails_to_hold, fails_to_multiply;
    Index held = 0, held_before = 0;  ///< matrices; before it fails

    std::string name() const override { return "GPU 3 of node17"; }
    void prepare() noexcept override {}
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
    std::unique_ptr<HeldMatrix> hold(std::span<const double> A, Index rows, Index columns) override {
        EXPECT_EQ(world_rank(), 0);
        EXPECT_EQ(std::ssize(A), rows * columns);
        ++held;
        if (fails_to_hold && held > held_before)
            throw Error(ExitStatus::numerical, *fails_to_hold, name() + " holds no matrix");
        return std::make_unique<Copy>(*this, A, rows, columns);
    }

  private:
    struct Copy final : HeldMatrix {
        const LapackAsDevice& device;
        std::vector<double> A;
        Index rows, columns;
        Copy(const LapackAsDevice& by, std::span<const double> of, Index of_rows, Index of_columns)
            : device(by), A(of.begin(), of.end()), rows(of_rows), columns(of_columns) {}
        void multiply(std::span<const double> B, Index count, std::span<double> C) override {
            if (device.fails_to_multiply)
                throw Error(ExitStatus::numerical, *device.fails_to_multiply, device.name() + " fails");
            EXPECT_EQ(std::ssize(B), columns * count);
            ASSERT_GE(std::ssize(C), rows * count);
            std::ranges::fill(C, 1e300);
            for (Index j = 0; j < count; ++j) {
                double* const sums = C.data() + j * rows;
                std::fill_n(sums, rows, 0.0);
                for (Index p = columns; p-- > 0;)
                    for (Index i = 0; i < rows; ++i)
                        sums[i] += A.data()[i + p * rows] * B.data()[p + j * columns];
            }
        }
        void multiply_columns(Index first, Index count, std::span<double> C) override {
            ASSERT_LE(first + count, columns);
            ASSERT_GE(std::ssize(C), (columns - first) * count);
            std::ranges::fill(C, 1e300);
            for (Index j = 0; j < count; ++j)
                for (Index i = first; i < columns; ++i)
                    C.data()[i - first + j * (columns - first)] = std::inner_product(
                        A.data() + i * rows, A.data() + (i + 1) * rows, A.data() + (first + j) * rows, 0.0);
        }
    };
};

}  // namespace tangram::testing
