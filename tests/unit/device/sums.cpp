#include "../src/device/device_sums.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <vector>

#include "support/failing_runtime.hpp"
#include "tangram/gram/product_back_end.hpp"

namespace tangram {
namespace {

using namespace device;

// Sums that are zero are made on the device, which is full of NaN; -0 is none, and what lies between columns
// is nobody's.
TEST(DeviceSums, ComeHomeWithTheBitsThatTheyHad) {
    constexpr Index rows = 5, columns = 7, lld = 9, tiles = 5;
    const auto runtime = host_runtime();
    Buffer staged(*runtime, Memory::pinned);
    DeviceSums sums(*runtime);
    std::vector<double> home(tiles * lld * columns, 0.0);
    const auto entry = [&](Index tile, Index row, Index column) -> double& {
        return home[static_cast<std::size_t>((tile * columns + column) * lld + row)];
    };
    for (Index t = 0; t < tiles; ++t)
        for (Index c = 0; c < columns; ++c) entry(t, rows, c) = 0x1p-1074;  // behind each column
    entry(1, rows - 1, columns - 1) = -0.0;
    entry(2, 0, 0) = 0x1p-1074;
    entry(4, 2, 3) = 1.5;
    const std::vector<double> before = home;
    std::vector<DeviceSums::Home> homes;
    for (Index t = 0; t < tiles; ++t) homes.push_back({&entry(t, 0, 0), lld, rows, columns});
    EXPECT_EQ(sums.hold(homes, std::size_t{1} << 20, staged), homes.size());
    runtime->wait(Stream::copies);
    for (Index t = 0; t < tiles; ++t)
        for (Index c = 0; c < columns; ++c)
            for (Index r = 0; r < rows; ++r) entry(t, r, c) = 7;
    sums.store(staged);
    for (std::size_t i = 0; i < home.size(); ++i)
        EXPECT_EQ(std::bit_cast<std::uint64_t>(home[i]), std::bit_cast<std::uint64_t>(before[i])) << i;
}

}  // namespace
}  // namespace tangram
