#include <gtest/gtest.h>
#include <mpi.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>

namespace {

/// Longer than any test takes, shorter than ctest's time-out, which would not say which test hung.
constexpr unsigned seconds_per_test = 240;
char hanging_message[256] = "";

void end_hanging_test(int) {
    [[maybe_unused]] const auto written = write(STDOUT_FILENO, hanging_message, std::strlen(hanging_message));
    _exit(1);  // mpirun ends the others
}

/// Prints failures of every rank with its number, and the progress of rank 0 alone. After each test the ranks
/// agree whether it failed anywhere: a failure on one rank is a failure of the program.
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
        // A fatal failure or an exception leaves the test early, perhaps on this rank alone; the others would
        // wait in the next collective call.
        if (result.fatally_failed()) MPI_Abort(MPI_COMM_WORLD, 1);
    }
    void OnTestStart(const ::testing::TestInfo& info) override {
        std::snprintf(hanging_message, sizeof hanging_message, "[rank %d] %s.%s hangs, ended after %u s\n",
                      rank_, info.test_suite_name(), info.name(), seconds_per_test);
        alarm(seconds_per_test);
        if (rank_ == 0) console_->OnTestStart(info);
    }
    void OnTestEnd(const ::testing::TestInfo& info) override {
        int failed = info.result()->Failed() ? 1 : 0, ranks = 0;
        MPI_Allreduce(&failed, &ranks, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
        alarm(0);
        if (rank_ != 0) return;
        if (ranks > 0) std::printf("%s.%s failed on %d ranks\n", info.test_suite_name(), info.name(), ranks);
        console_->OnTestEnd(info);
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
    int provided = 0, rank = 0;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    ::testing::InitGoogleTest(&argc, argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    std::signal(SIGALRM, end_hanging_test);
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    listeners.Append(new RankListener(rank, listeners.Release(listeners.default_result_printer())));
    int failed = RUN_ALL_TESTS();
    if (::testing::UnitTest::GetInstance()->test_to_run_count() == 0)
        failed = 1;  // a test that tests nothing
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    MPI_Finalize();
    return failed;
}
