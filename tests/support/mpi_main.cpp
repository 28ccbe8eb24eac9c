#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>

namespace {

/// Prints failures of every rank with its number, and the progress of rank 0 alone; after each test the ranks agree
/// whether it failed anywhere, so that a failure on one rank is a failure of the program.
class RankListener : public ::testing::EmptyTestEventListener {
  public:
    RankListener(int rank, ::testing::TestEventListener* console) : rank_(rank), console_(console) {}
    void OnTestPartResult(const ::testing::TestPartResult& result) override {
        if (!result.failed()) {
            if (rank_ == 0 && result.skipped()) std::printf("skipped: %s\n", result.message());
            return;
        }
        std::printf("[rank %d] %s:%d: %s\n", rank_, result.file_name() ? result.file_name() : "?",
                    result.line_number(), result.message());
        std::fflush(stdout);
        // A fatal failure leaves the test early on this rank alone; the others would wait in the next collective.
        if (result.fatally_failed()) MPI_Abort(MPI_COMM_WORLD, 1);
    }
    void OnTestStart(const ::testing::TestInfo& info) override {
        if (rank_ == 0) console_->OnTestStart(info);
    }
    void OnTestEnd(const ::testing::TestInfo& info) override {
        if (rank_ == 0) console_->OnTestEnd(info);
    }
    void OnTestIterationEnd(const ::testing::UnitTest& unit_test, int iteration) override {
        if (rank_ == 0) console_->OnTestIterationEnd(unit_test, iteration);
    }

  private:
    int rank_;
    ::testing::TestEventListener* console_;
};

}  // namespace

int main(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    ::testing::InitGoogleTest(&argc, argv);
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    listeners.Append(new RankListener(rank, listeners.Release(listeners.default_result_printer())));
    int failed = RUN_ALL_TESTS();
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    MPI_Finalize();
    return failed;
}
