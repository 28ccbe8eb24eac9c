#include "tangram/parallel_for.hpp"

#include <gtest/gtest.h>
#include <omp.h>

#include <atomic>
#include <new>
#include <vector>

#include "support/expect_error.hpp"
#include "tangram/error.hpp"

namespace tangram {
namespace {

class ParallelFor : public ::testing::Test {
  protected:
    void SetUp() override {
        threads_before_ = omp_get_max_threads();
        omp_set_num_threads(4);
    }
    void TearDown() override { omp_set_num_threads(threads_before_); }

  private:
    int threads_before_ = 1;
};

TEST_F(ParallelFor, VisitsEveryPlaceOnceWithWhatTheThreadOwns) {
    for (const Index count : {0, 1, 3, 1000}) {
        std::vector<int> visits(static_cast<std::size_t>(count), 0), by(visits);
        std::atomic<int> made = 0;
        parallel_for(
            count,
            [&] {
                ++made;
                return omp_get_thread_num();
            },
            [&](int own, Index i) {
                ++visits[static_cast<std::size_t>(i)];
                by[static_cast<std::size_t>(i)] = own == omp_get_thread_num();
            });
        EXPECT_EQ(made, 4);
        EXPECT_EQ(visits, std::vector<int>(visits.size(), 1));
        EXPECT_EQ(by, visits);
    }
}

TEST_F(ParallelFor, ThrowsBehindTheLoopWhatTheBodyThrows) {
    EXPECT_THROW(parallel_for(100, [](Index) { throw std::bad_alloc(); }), std::bad_alloc);
    EXPECT_THROW(parallel_for(100,
                              [](Index i) {
                                  if (i == 99) throw std::bad_alloc();
                              }),
                 std::bad_alloc);
    // Every thread throws; the first place counts.
    for (int repeat = 0; repeat < 200; ++repeat)
        testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {"place 7"}, [] {
            parallel_for(100, [](Index i) {
                if (i >= 7)
                    throw Error(ExitStatus::numerical, ErrorKind::non_finite, "place " + std::to_string(i));
            });
        });
}

TEST_F(ParallelFor, BeginsNothingWhereAThreadLacksWhatItNeeds) {
    std::atomic<int> begun = 0;
    const auto work = [&] {
        parallel_for(
            100, []() -> int { throw std::bad_alloc(); }, [&](int, Index) { ++begun; });
    };
    EXPECT_THROW(work(), std::bad_alloc);
    EXPECT_EQ(begun, 0);
    const auto on_one_thread = [&] {
        parallel_for(
            100, [] { return omp_get_thread_num() == 3 ? throw std::bad_alloc() : 0; }, [](int, Index) {});
    };
    EXPECT_THROW(on_one_thread(), std::bad_alloc);
}

}  // namespace
}  // namespace tangram
