#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <thread>

#include "tangram/parallel/stop_flag.hpp"

namespace tangram {
namespace {

using namespace std::chrono_literals;

void stay() {
    std::this_thread::sleep_for(20s);
    std::_Exit(1);
}

TEST(LeaveOnStop, EndsTheProcessWithStatus75AfterItsFarewell) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_EXIT(
        {
            const StopFlag stop;
            const LeaveOnStop leave(stop, [] { std::fputs("farewell", stderr); });
            std::raise(SIGUSR1);
            stay();
        },
        testing::ExitedWithCode(75), "^farewell$");
    EXPECT_EXIT(
        {
            StopFlag stop;
            stop.stop_at(std::chrono::steady_clock::now());
            const LeaveOnStop leave(stop, {});
            stay();
        },
        testing::ExitedWithCode(75), "^$");
}

TEST(LeaveOnStop, DoesNothingBehindTheStep) {
    const StopFlag stop;
    {
        const LeaveOnStop leave(stop, [] { std::_Exit(1); });
    }
    std::raise(SIGUSR1);
    std::this_thread::sleep_for(200ms);
    EXPECT_TRUE(stop.requested_here());
}

}  // namespace
}  // namespace tangram
