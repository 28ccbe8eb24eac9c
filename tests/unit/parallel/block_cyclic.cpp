#include "tangram/parallel/block_cyclic.hpp"

#include <gtest/gtest.h>

namespace tangram {
namespace {

struct Place {
    Index global;
    int owner;
    Index local;
};

void expect_table(const BlockCyclic& layout, const std::vector<Place>& table,
                  const std::vector<Index>& sizes) {
    for (const Place& place : table) {
        EXPECT_EQ(layout.owner(place.global), place.owner) << place.global;
        EXPECT_EQ(layout.to_local(place.global), place.local) << place.global;
        EXPECT_EQ(layout.to_global(place.local, place.owner), place.global);
    }
    for (std::size_t p = 0; p < sizes.size(); ++p)
        EXPECT_EQ(layout.local_size(static_cast<int>(p)), sizes[p]) << p;
}

// Tables written by hand.
TEST(BlockCyclic, RaggedLastBlock) {
    expect_table({7, 2, 2}, {{0, 0, 0}, {1, 0, 1}, {2, 1, 0}, {3, 1, 1}, {4, 0, 2}, {5, 0, 3}, {6, 1, 2}},
                 {4, 3});
    EXPECT_EQ((BlockCyclic{7, 2, 2}.blocks()), 4);
}
TEST(BlockCyclic, ProcessesThatOwnNothing) {
    expect_table({5, 3, 4}, {{0, 0, 0}, {2, 0, 2}, {3, 1, 0}, {4, 1, 1}}, {3, 2, 0, 0});
}
TEST(BlockCyclic, OneBlockHoldsAll) { expect_table({5, 8, 3}, {{0, 0, 0}, {4, 0, 4}}, {5, 0, 0}); }
TEST(BlockCyclic, OneProcess) { expect_table({9, 4, 1}, {{0, 0, 0}, {5, 0, 5}, {8, 0, 8}}, {9}); }
TEST(BlockCyclic, Empty) {
    expect_table({0, 4, 3}, {}, {0, 0, 0});
    EXPECT_EQ((BlockCyclic{0, 4, 3}.blocks()), 0);
}
TEST(BlockCyclic, BeyondThirtyTwoBits) {
    // 2^40 in blocks of 64 on 3 processes: 2^34 blocks, 2^34 mod 3 = 1.
    const Index size = Index{1} << 40, blocks = Index{1} << 34;
    const BlockCyclic layout{size, 64, 3};
    EXPECT_EQ(layout.owner(size - 1), 0);
    EXPECT_EQ(layout.local_size(0), (blocks / 3 + 1) * 64);
    EXPECT_EQ(layout.local_size(1), blocks / 3 * 64);
    EXPECT_EQ(layout.to_global(layout.to_local(size - 1), 0), size - 1);
}

TEST(BlockCyclic, EveryIndexHasOnePlace) {
    int cases = 0;
    for (Index size = 0; size <= 40; ++size)
        for (Index block = 1; block <= 12; ++block)
            for (int processes = 1; processes <= 6; ++processes) {
                const BlockCyclic layout{size, block, processes};
                Index total = 0;
                for (int p = 0; p < processes; ++p) {
                    total += layout.local_size(p);
                    Index previous = -1;
                    for (Index local = 0; local < layout.local_size(p); ++local) {
                        const Index global = layout.to_global(local, p);
                        ASSERT_LT(global, size);
                        ASSERT_GT(global, previous);
                        ASSERT_EQ(layout.owner(global), p);
                        ASSERT_EQ(layout.to_local(global), local);
                        previous = global;
                    }
                }
                ASSERT_EQ(total, size) << size << " in blocks of " << block << " on " << processes;
                ++cases;
            }
    EXPECT_EQ(cases, 41 * 12 * 6);
}

}  // namespace
}  // namespace tangram
