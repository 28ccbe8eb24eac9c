#include "../src/device/host_executor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace tangram {
namespace {

using device::Memory;
using device::Stream;

/// Numbers of a runtime's memory, and back.
class Numbers {
  public:
    Numbers(device::Runtime& runtime, Index count)
        : runtime_(&runtime),
          there_(runtime, Memory::device),
          here_(static_cast<std::size_t>(count), 1.0),
          bytes_(here_.size() * sizeof(double)) {
        runtime.copy(there_.reserve(bytes_), reinterpret_cast<const std::byte*>(here_.data()), bytes_,
                     Stream::products);
    }
    double* at(Index i) { return reinterpret_cast<double*>(there_.data()) + i; }
    const std::vector<double>& here() {
        runtime_->copy(reinterpret_cast<std::byte*>(here_.data()), there_.data(), bytes_, Stream::products);
        runtime_->wait(Stream::products);
        return here_;
    }

  private:
    device::Runtime* runtime_;
    device::Buffer there_;
    std::vector<double> here_;
    std::size_t bytes_;
};

// A kernel that doubles x_i into x_{i+apart}: its threads, or its blocks, read what others write. The result
// is that of neither order that such a kernel could have been written for.
TEST(HostExecutor, TakesThreadsAndBlocksInNoOrderToRelyOn) {
    constexpr Index count = 4 * device::kernel_threads;
    for (const Index apart : {1, device::kernel_threads}) {
        const auto runtime = device::host_runtime();
        Numbers x(*runtime, count + apart);
        runtime->launch(device::NetworkKernel<double>(
            device::ForEntries<device::WeightedSums<double>>{count, {x.at(apart), x.at(0), x.at(0), 1.0}}));
        std::vector<double> forwards(static_cast<std::size_t>(count + apart), 1.0), backwards = forwards;
        for (std::size_t i = static_cast<std::size_t>(apart); i < forwards.size(); ++i) {
            forwards[i] = 2 * forwards[i - static_cast<std::size_t>(apart)];
            backwards[i] = 2;
        }
        EXPECT_NE(x.here(), forwards) << apart;
        EXPECT_NE(x.here(), backwards) << apart;
    }
}

TEST(HostExecutor, HasNoGridWithoutBlocks) {
    const auto runtime = device::host_runtime();
    runtime->launch(device::NetworkKernel<float>(device::ForEntries<device::Zeros<float>>{0, {nullptr}}));
    EXPECT_THROW(runtime->wait(Stream::products), std::logic_error);
}

TEST(HostExecutor, HasNoBlockThatWaitsForOneBehindIt) {
    const auto runtime = device::host_runtime();
    device::Buffer there(*runtime, Memory::device);
    device::BlockWork<float> works[2]{};
    const std::size_t bytes = sizeof works + 2 * sizeof(int);
    std::vector<std::byte> here(bytes);
    std::byte* const at = there.reserve(bytes);
    int* const counts = reinterpret_cast<int*>(at + sizeof works);
    for (const bool in_order : {true, false}) {
        for (const int w : {0, 1}) {
            works[w].panel_rows = 8;
            works[w].turn = in_order ? w : 1 - w;
            works[w].done = counts + 1;
        }
        std::fill(here.begin(), here.end(), std::byte{0});
        std::memcpy(here.data(), works, sizeof works);
        runtime->copy(at, here.data(), bytes, Stream::products);
        runtime->add_products(reinterpret_cast<const device::BlockWork<float>*>(at), 2, counts);
        if (in_order)
            EXPECT_NO_THROW(runtime->wait(Stream::products));
        else
            EXPECT_THROW(runtime->wait(Stream::products), std::logic_error);
    }
}

TEST(HostExecutorDeathTest, EndsWhoeverTouchesTheDevicesMemory) {
    const auto runtime = device::host_runtime();
    Numbers x(*runtime, 3);
    runtime->wait(Stream::products);
    EXPECT_DEATH(static_cast<void>(*static_cast<volatile double*>(x.at(0))), "");
    // 24 bytes: behind 256 is nothing.
    EXPECT_DEATH(
        {
            runtime->launch(
                device::NetworkKernel<double>(device::ForEntries<device::Zeros<double>>{40, {x.at(0)}}));
            runtime->wait(Stream::products);
        },
        "");
}

}  // namespace
}  // namespace tangram
