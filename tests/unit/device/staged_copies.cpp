#include "../src/device/staged_copies.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "../src/device/host_executor.hpp"
#ifdef TANGRAM_HAS_CUDA
#include "../src/device/cuda_runtime.hpp"
#endif

namespace tangram {
namespace {

using namespace device;

std::vector<std::unique_ptr<Runtime>> runtimes() {
    std::vector<std::unique_ptr<Runtime>> all;
    all.push_back(host_runtime());
#ifdef TANGRAM_HAS_CUDA
    if (!cuda_gpus().gpus.empty()) all.push_back(cuda_runtime(0));
#endif
    return all;
}

// In parts of 3 MB, of which threads copy several pieces each. What is there is read by plain copies, too.
TEST(StagedCopies, BringEveryByteThereAndBack) {
    constexpr std::size_t at_once = 3 << 20;
    for (const auto& runtime : runtimes()) {
        StagedCopies copies(*runtime, at_once);
        for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, at_once - 1, at_once, at_once + 1,
                                        2 * at_once, 5 * at_once + 77}) {
            std::vector<std::byte> from(bytes), back(bytes + 1);
            for (std::size_t i = 0; i < bytes; ++i)
                from[i] = static_cast<std::byte>((i * 2654435761U + bytes) >> 13);
            Buffer there(*runtime, Memory::device), plain(*runtime, Memory::pinned);
            copies.to_device(there.reserve(bytes), from.data(), bytes);
            std::byte* const read = plain.reserve(bytes);
            runtime->copy(read, there.data(), bytes, Stream::copies);
            runtime->wait(Stream::copies);
            EXPECT_TRUE(std::equal(from.begin(), from.end(), read)) << runtime->name() << ": " << bytes;
            copies.to_host(back.data(), there.data(), bytes);
            EXPECT_TRUE(std::equal(from.begin(), from.end(), back.begin()))
                << runtime->name() << ": " << bytes;
            EXPECT_EQ(back.back(), std::byte{0});
        }
    }
}

}  // namespace
}  // namespace tangram
