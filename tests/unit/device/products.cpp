#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <limits>

#include "../src/device/device_products.hpp"
#include "../src/device/found_gpus.hpp"
#include "../src/device/host_executor.hpp"
#include "support/expect_error.hpp"
#include "support/failing_runtime.hpp"
#include "tangram/device/device.hpp"
#include "unit/device/devices.hpp"

namespace tangram {
namespace {

/// The kernel on the host, and on a GPU where there is one.
std::vector<std::unique_ptr<ProductBackEnd>> product_back_ends() {
    std::vector<std::unique_ptr<ProductBackEnd>> all;
    if (testing::on_the_host_too()) all.push_back(device::host_executor());
    const Gpus gpus = usable_gpus();
    if (gpus.count() > 0) all.push_back(products_on_gpu(0, gpus.memory / 2));
    std::cout << "products on: " << all.back()->name() << (gpus.count() > 0 ? " too" : "; " + gpus.words)
              << "\n";
    return all;
}

/// Rows of numbers of many sizes and both signs, packed and not.
template <class Real>
struct Rows {
    Index rows, depth, padded;
    std::vector<Real> plain, packed;  ///< row-major; pieces of panels

    Rows(Index rows_, const std::vector<Index>& depths, Index panel, std::uint32_t seed)
        : rows(rows_), depth(0), padded((rows_ + panel - 1) / panel * panel) {
        for (const Index d : depths) depth += d;
        for (Index i = 0; i < rows * depth; ++i) {
            seed = 1664525U * seed + 1013904223U;
            plain.push_back(static_cast<Real>(static_cast<std::int32_t>(seed)) /
                            static_cast<Real>(1U << (seed >> 27)));
        }
        pack(depths, panel);
    }
    void pack(const std::vector<Index>& depths, Index panel) {
        packed.assign(static_cast<std::size_t>(padded * depth), Real(0));
        Index before = 0;
        for (const Index d : depths) {
            for (Index r = 0; r < rows; ++r)
                for (Index k = 0; k < d; ++k)
                    packed[static_cast<std::size_t>(before * padded + (r / panel * d + k) * panel +
                                                    r % panel)] = at(r, before + k);
            before += d;
        }
    }
    Real& at(Index row, Index k) { return plain[static_cast<std::size_t>(row * depth + k)]; }
    PackedRows<Real> tile() const { return {packed, rows, padded}; }
};

bool same(double a, double b) { return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b); }

template <class Real>
class DeviceProducts : public ::testing::Test {
  protected:
    static constexpr double poison = -1.25e300;

    /// sum + the end of the chain of each piece, as arithmetic.hpp has it.
    static double expected(double sum, Rows<Real>& left, Rows<Real>& right, Index r, Index c,
                           const std::vector<ProductPiece>& pieces, std::size_t count) {
        for (std::size_t p = 0; p < count; ++p) {
            Real chain = 0;
            for (Index k = 0; k < pieces[p].depth; ++k)
                chain = std::fma(left.at(r, pieces[p].left + k), right.at(c, pieces[p].right + k), chain);
            sum += static_cast<double>(chain);
        }
        return sum;
    }
};

using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(DeviceProducts, Reals);

TYPED_TEST(DeviceProducts, AreTheChainsOfTheHostInEveryBit) {
    using Real = TypeParam;
    struct Case {
        Index rows, columns, panel;
        std::vector<Index> depths;
    };
    const std::vector<Case> cases{{256, 256, 32, {256, 100}},  {1, 1, 24, {1}},
                                  {129, 37, 24, {17, 5, 256}}, {100, 250, 32, {16, 8, 33}},
                                  {128, 128, 24, {256}},       {7, 140, 32, {255, 1}}};
    for (const auto& back_end : product_back_ends())
        for (const auto& [rows, columns, panel, depths] : cases) {
            SCOPED_TRACE(::testing::Message() << back_end->name() << " " << rows << " x " << columns);
            Rows<Real> left(rows, depths, panel, 1), right(columns, depths, panel, 2);
            std::vector<std::vector<ProductPiece>> lists(1);
            std::vector<ProductPiece>& pieces = lists.front();
            Index before = 0;
            for (const Index d : depths) {
                pieces.push_back({before, before, d, false});
                before += d;
            }
            const Index lld = rows + 3;  // what stands between the columns belongs to others
            std::vector<double> sums(static_cast<std::size_t>(lld * columns), TestFixture::poison);
            const auto begun = [](Index r, Index c) { return 0.1 * static_cast<double>(r - 2 * c); };
            for (Index c = 0; c < columns; ++c)
                for (Index r = 0; r < rows; ++r) sums[static_cast<std::size_t>(r + c * lld)] = begun(r, c);
            const std::vector<PackedRows<Real>> tiles{left.tile(), right.tile()};
            const std::vector<TileProduct> products{{0, 1, 0, sums.data(), lld, false, false}};
            Index calls = 0;
            back_end->add(SliceProducts<Real>{panel, lists, tiles, products}, [&] { ++calls; });
            EXPECT_GE(calls, 1);
            back_end->store_sums();
            Index wrong = 0;
            for (Index c = 0; c < columns; ++c)
                for (Index r = 0; r < lld; ++r)
                    wrong += !same(
                        sums[static_cast<std::size_t>(r + c * lld)],
                        r >= rows ? TestFixture::poison
                                  : this->expected(begun(r, c), left, right, r, c, pieces, pieces.size()));
            EXPECT_EQ(wrong, 0);
        }
}

TYPED_TEST(DeviceProducts, OfATileWithItselfKeepTheDiagonalBehindEveryTensor) {
    using Real = TypeParam;
    constexpr Index n = 200, panel = 24;
    // What stands where on the left may be elsewhere on the right, as the signs of an asymmetric kernel are.
    // Three blocks: on the host two run at once, so each has its pieces in two turns.
    const std::vector<Index> depths{7, 9, 24, 256, 7, 9};
    const std::vector<std::vector<ProductPiece>> lists{
        {{0, 296, 7, true}, {16, 16, 24, false}, {40, 40, 256, true}, {303, 7, 9, false}}};
    const std::vector<ProductPiece>& used = lists.front();
    for (const auto& back_end : product_back_ends()) {
        SCOPED_TRACE(back_end->name());
        Rows<Real> rows(n, depths, panel, 3);
        std::vector<double> sums(n * n, 0.0), diagonals(2 * n, TestFixture::poison);
        const std::vector<PackedRows<Real>> tiles{rows.tile()};
        const std::vector<TileProduct> products{{0, 0, 0, sums.data(), n, true, true}};
        const auto put = [&](std::size_t product, const double* from) {
            EXPECT_EQ(product, 0u);
            std::copy_n(from, diagonals.size(), diagonals.begin());
        };
        back_end->add(SliceProducts<Real>{panel, lists, tiles, products, put}, [] {});
        back_end->finish();
        EXPECT_NE(diagonals[0], TestFixture::poison);
        EXPECT_EQ(sums[0], 0.0) << "sums are stored when they are asked for";
        back_end->store_sums();
        Index wrong = 0;
        for (Index c = 0; c < n; ++c)
            for (Index r = c; r < n; ++r)
                wrong += !same(sums[static_cast<std::size_t>(r + c * n)],
                               this->expected(0.0, rows, rows, r, c, used, used.size()));
        for (Index r = 0; r < n; ++r) {
            wrong +=
                !same(diagonals[static_cast<std::size_t>(r)], this->expected(0.0, rows, rows, r, r, used, 1));
            wrong += !same(diagonals[static_cast<std::size_t>(n + r)],
                           this->expected(0.0, rows, rows, r, r, used, 3));
        }
        EXPECT_EQ(wrong, 0);
    }
}

// More blocks than any GPU runs at once, by less than twice as many: their pieces are added in turns. The
// host takes them one by one; of it the test above asks for turns.
TYPED_TEST(DeviceProducts, OfAFewBlocksMoreThanRunAtOnceAreTheSame) {
    using Real = TypeParam;
    constexpr Index n = 2200, panel = 24;
    const std::vector<Index> depths(12, 2);
    std::vector<std::vector<ProductPiece>> lists(1);
    for (Index p = 0; p < std::ssize(depths); ++p) lists[0].push_back({2 * p, 2 * p, 2, p % 5 == 4});
    Rows<Real> rows(n, depths, panel, 4);
    std::vector<double> expected(n * n, 0.0), squares(2 * n);
    const auto entry = [&](Index r, Index c) -> double& {
        return expected[static_cast<std::size_t>(r + c * n)];
    };
    for (Index c = 0; c < n; ++c)
        for (Index r = c; r < n; ++r)
            entry(r, c) = this->expected(0.0, rows, rows, r, c, lists[0], lists[0].size());
    for (Index r = 0; r < n; ++r)
        for (const std::size_t e : {0u, 1u})
            squares[e * n + static_cast<std::size_t>(r)] =
                this->expected(entry(r, r), rows, rows, r, r, lists[0], 5 * (e + 1));
    for (Index c = 0; c < n; ++c)
        for (Index r = c; r < n; ++r)
            entry(r, c) = this->expected(entry(r, c), rows, rows, r, c, lists[0], lists[0].size());
    for (const auto& back_end : product_back_ends()) {
        SCOPED_TRACE(back_end->name());
        std::vector<double> sums(n * n, 0.0), diagonals(2 * n);
        const std::vector<PackedRows<Real>> tiles{rows.tile()};
        const std::vector<TileProduct> products{{0, 0, 0, sums.data(), n, true, true}};
        const auto put = [&](std::size_t, const double* from) {
            std::copy_n(from, diagonals.size(), diagonals.begin());
        };
        for (int slice = 0; slice < 2; ++slice)
            back_end->add(SliceProducts<Real>{panel, lists, tiles, products, put}, [] {});
        back_end->store_sums();
        Index wrong = 0;
        for (Index c = 0; c < n; ++c)
            for (Index r = c; r < n; ++r)
                wrong += !same(sums[static_cast<std::size_t>(r + c * n)], entry(r, c));
        for (std::size_t i = 0; i < diagonals.size(); ++i) wrong += !same(diagonals[i], squares[i]);
        EXPECT_EQ(wrong, 0);
    }
}

TEST(DeviceTurns, FillMultiprocessorsThatHaveNoBlockLeft) {
    struct Case {
        Index blocks, at_once, pieces, turns;
    };
    // As many as run at once, or far more of them, are not cut; nor is a single piece.
    for (const auto& [blocks, at_once, pieces, turns] :
         {Case{1, 132, 64, 1}, {132, 132, 64, 1}, {136, 132, 1, 1}, {8256, 132, 16, 1}, {3, 2, 4, 2}})
        EXPECT_EQ(device::turns_of(blocks, at_once, pieces), turns) << blocks << " " << at_once;
    // Of 136 blocks and 132 multiprocessors, nearly all are busy.
    const Index turns = device::turns_of(136, 132, 64);
    EXPECT_LE(static_cast<double>((136 * turns + 131) / 132 * 132) / static_cast<double>(136 * turns), 1.1);
}

TYPED_TEST(DeviceProducts, NegativeZeroStays) {
    // A product that is rounded to -0 and no further: the chain's 0 0 would make it +0.
    using Real = TypeParam;
    for (const auto& back_end : product_back_ends()) {
        Rows<Real> left(1, {1}, 24, 1), right(1, {1}, 24, 2);
        left.at(0, 0) = std::numeric_limits<Real>::denorm_min();
        right.at(0, 0) = Real(-0.25);
        left.pack({1}, 24);
        right.pack({1}, 24);
        double sum = -0.0;
        const std::vector<std::vector<ProductPiece>> pieces{{{0, 0, 1, false}}};
        const std::vector<PackedRows<Real>> tiles{left.tile(), right.tile()};
        const std::vector<TileProduct> products{{0, 1, 0, &sum, 1, false, false}};
        back_end->add(SliceProducts<Real>{24, pieces, tiles, products}, [] {});
        back_end->store_sums();
        EXPECT_TRUE(same(sum, -0.0)) << back_end->name();
    }
}

/// Slices of some tiles, each multiplied with each, and the sums that chains give.
template <class Real>
class ManyTiles {
  public:
    static constexpr Index panel = 32, tile_count = 5;
    static constexpr std::size_t largest = sizeof(double) * 40 * 40;  ///< bytes of a product's sums
    /// Bytes of a device that holds two slices, the deepest one of `depth`, and two products' sums of all.
    static double little_memory(Index depth = 30) {
        const double slices = 2 * (sizeof(Real) * tile_count * 64 * static_cast<double>(depth + 17) + 4096.0);
        return (slices + 2.5 * largest) / (1 - back_end_overhead);
    }

    ManyTiles() {
        for (Index t = 0; t < tile_count; ++t) rows_.push_back(38 + t % 3);
        for (std::size_t p = 0; p < tile_count * tile_count; ++p) {
            sums_.emplace_back(static_cast<std::size_t>(rows_[left(p)] * rows_[right(p)]), 1.0);
            expected_.push_back(sums_.back());
        }
    }
    /// The slice is gone when it returns; of its second list of pieces every third product takes part.
    void add(ProductBackEnd& back_end, std::uint32_t seed, Index depth = 30) {
        const std::vector<Index> depths{depth, 17};
        const std::vector<std::vector<ProductPiece>> lists{{{0, 0, depth, false}, {depth, depth, 17, false}},
                                                           {{depth, depth, 17, false}}};
        std::vector<Rows<Real>> all;
        std::vector<PackedRows<Real>> tiles;
        for (Index t = 0; t < tile_count; ++t)
            all.emplace_back(rows_[static_cast<std::size_t>(t)], depths, panel,
                             seed + static_cast<std::uint32_t>(t));
        for (const Rows<Real>& of : all) tiles.push_back(of.tile());
        std::vector<TileProduct> products;
        for (std::size_t p = 0; p < sums_.size(); ++p) {
            const std::size_t list = p % 3 == 2 ? 1 : 0;
            products.push_back({left(p), right(p), list, sums_[p].data(), rows_[left(p)], false, false});
            Rows<Real>&x = all[left(p)], &y = all[right(p)];
            for (Index c = 0; c < y.rows; ++c)
                for (Index r = 0; r < x.rows; ++r) {
                    double& sum = expected_[p][static_cast<std::size_t>(r + c * x.rows)];
                    for (const ProductPiece& piece : lists[list]) {
                        Real chain = 0;
                        for (Index k = 0; k < piece.depth; ++k)
                            chain = std::fma(x.at(r, piece.left + k), y.at(c, piece.right + k), chain);
                        sum += static_cast<double>(chain);
                    }
                }
        }
        back_end.add(SliceProducts<Real>{panel, lists, tiles, products}, [] {});
        for (Rows<Real>& of : all) std::ranges::fill(of.packed, std::numeric_limits<Real>::quiet_NaN());
    }
    Index wrong() const {
        Index count = 0;
        for (std::size_t p = 0; p < sums_.size(); ++p)
            for (std::size_t i = 0; i < sums_[p].size(); ++i) count += !same(sums_[p][i], expected_[p][i]);
        return count;
    }
    std::vector<std::vector<double>>& sums() { return sums_; }

  private:
    static std::size_t left(std::size_t p) { return p % tile_count; }
    static std::size_t right(std::size_t p) { return p / tile_count; }
    std::vector<Index> rows_;
    std::vector<std::vector<double>> sums_, expected_;
};

TYPED_TEST(DeviceProducts, StayOnTheDeviceFromSliceToSlice) {
    for (const auto& back_end : product_back_ends()) {
        SCOPED_TRACE(back_end->name());
        ManyTiles<TypeParam> tiles;
        tiles.add(*back_end, 1);
        for (std::vector<double>& sums : tiles.sums()) std::ranges::fill(sums, TestFixture::poison);
        for (std::uint32_t slice = 1; slice < 4; ++slice) tiles.add(*back_end, 10 * slice);
        EXPECT_EQ(tiles.sums()[0][0], TestFixture::poison);
        back_end->store_sums();
        EXPECT_EQ(tiles.wrong(), 0);
        tiles.add(*back_end, 50);  // loaded again
        back_end->store_sums();
        EXPECT_EQ(tiles.wrong(), 0);
    }
}

TYPED_TEST(DeviceProducts, TakeTurnsWhereMemoryIsShort) {
    using Real = TypeParam;
    const auto little = device::host_executor(ManyTiles<Real>::little_memory());
    ManyTiles<Real> tiles;
    for (std::uint32_t slice = 0; slice < 3; ++slice) tiles.add(*little, 10 * slice);
    EXPECT_TRUE(little->sums_are_torn());
    little->store_sums();
    EXPECT_FALSE(little->sums_are_torn());
    EXPECT_EQ(tiles.wrong(), 0);
    const auto too_little = device::host_executor(ManyTiles<Real>::little_memory() / 6);
    testing::expect_error(ExitStatus::numerical, ErrorKind::no_memory,
                          {too_little->name(), "--device-memory"},
                          [&] { ManyTiles<Real>().add(*too_little, 1); });
    EXPECT_TRUE(too_little->failed());
}

// Later slices are deeper: what the sums have taken beside the first one they give back. The host in the
// device's place has no byte more than it may take.
TYPED_TEST(DeviceProducts, MakeRoomForADeeperSlice) {
    using Real = TypeParam;
    for (const double more : {0.0, 8.0, 20.0}) {
        const auto little = device::host_executor(ManyTiles<Real>::little_memory(120) +
                                                  more * static_cast<double>(ManyTiles<Real>::largest));
        ManyTiles<Real> tiles;
        for (const Index depth : {2, 3, 60, 30, 120, 119})
            tiles.add(*little, static_cast<std::uint32_t>(depth), depth);
        little->store_sums();
        EXPECT_EQ(tiles.wrong(), 0) << more;
    }
    const auto too_little = device::host_executor(ManyTiles<Real>::little_memory(60));
    ManyTiles<Real> tiles;
    tiles.add(*too_little, 1, 2);
    testing::expect_error(ExitStatus::numerical, ErrorKind::no_memory,
                          {too_little->name(), "--device-memory"}, [&] { tiles.add(*too_little, 1, 250); });
}

/// Lets a device with so much memory fail at every `stride`-th of its calls. @return the failures; of them
/// those where some sums were stored before they were asked for
std::pair<Index, Index> fail_anywhere(double memory, Index stride) {
    Index failures = 0, torn = 0;
    for (Index good = 0;; good += stride) {
        const auto products =
            device::device_products(std::make_unique<testing::FailingRuntime>(good, memory), memory);
        ManyTiles<float> tiles;
        const std::vector<std::vector<double>> before = tiles.sums();
        bool stored = false;
        try {
            for (std::uint32_t slice = 0; slice < 3; ++slice) tiles.add(*products, 10 * slice);
            products->finish();
            stored = true;
            products->store_sums();
        } catch (const Error& e) {
            ++failures;
            EXPECT_EQ(e.status(), ExitStatus::numerical);
            EXPECT_NE(std::string(e.what()).find("GPU 3 of node17"), std::string::npos) << e.what();
            EXPECT_TRUE(products->failed());
            torn += products->sums_are_torn() ? 1 : 0;
            if (!stored && !products->sums_are_torn()) {
                EXPECT_TRUE(tiles.sums() == before) << good;
            }
            continue;
        }
        EXPECT_FALSE(products->failed());
        EXPECT_EQ(tiles.wrong(), 0);
        return {failures, torn};
    }
}

TEST(Device, ThatFailsAnywhereIsNamedAndLeavesSumsAloneOrSaysSo) {
    const auto [failures, torn] = fail_anywhere(0x1p30, 1);
    EXPECT_GT(failures, 20);
    EXPECT_EQ(torn, 0);
    const auto [of_little, torn_of_little] = fail_anywhere(ManyTiles<float>::little_memory(), 7);
    EXPECT_GT(torn_of_little, 5);
    EXPECT_GT(of_little, torn_of_little);
}

/// Rows of some tokens each, whose deltas and inputs are packed chunk by chunk, and not.
template <class Real>
struct TokenRows {
    static constexpr Index deltas = 37, inputs = 300, width = deltas + inputs;
    std::vector<Index> tokens;
    std::vector<TokenChunk> chunks;
    std::vector<Rows<Real>> plain;  ///< of every row
    std::vector<Real> packed;

    TokenRows(const std::vector<Index>& counts, Index panel, std::uint32_t seed) : tokens(counts) {
        for (Index r = 0; r < std::ssize(counts); ++r) {
            const Index count = counts[static_cast<std::size_t>(r)];
            if (chunks.empty() || chunks.back().tokens + count > chunk_tokens) chunks.push_back({r, r, 0});
            chunks.back().last_row = r + 1;
            chunks.back().tokens += count;
            plain.emplace_back(count, std::vector<Index>{width}, 8, seed + static_cast<std::uint32_t>(r));
        }
        for (const TokenChunk& chunk : chunks) {
            const std::size_t before = packed.size();
            packed.resize(before +
                          static_cast<std::size_t>((chunk.tokens + panel - 1) / panel * panel * width));
            Index token = 0;
            for (Index r = chunk.first_row; r < chunk.last_row; ++r)
                for (Index t = 0; t < tokens[static_cast<std::size_t>(r)]; ++t, ++token)
                    for (Index k = 0; k < width; ++k)
                        packed[before + static_cast<std::size_t>((token / panel * width + k) * panel +
                                                                 token % panel)] = at(r, t, k);
        }
    }
    Real at(Index row, Index token, Index k) { return plain[static_cast<std::size_t>(row)].at(token, k); }
    PackedTokens<Real> tile() const { return {packed, std::ssize(tokens), tokens, chunks}; }
    Index count(Index row) const { return tokens[static_cast<std::size_t>(row)]; }

    /// The share of two rows, as arithmetic.hpp has it.
    static double pair(TokenRows& left, Index r, TokenRows& right, Index c) {
        const auto product = [&](Index s, Index t) {
            double factors[2];
            for (const Index of : {0, 1}) {
                Real chain = 0;
                for (Index k = of * deltas; k < (of == 0 ? deltas : width); ++k)
                    chain = std::fma(left.at(r, s, k), right.at(c, t, k), chain);
                factors[of] = static_cast<double>(chain);
            }
            return factors[0] * factors[1];
        };
        double by_left = 0, by_right = 0;
        for (Index s = 0; s < left.count(r); ++s) {
            double sum = product(s, 0);
            for (Index t = 1; t < right.count(c); ++t) sum += product(s, t);
            by_left = s == 0 ? sum : by_left + sum;
        }
        for (Index t = 0; t < right.count(c); ++t) {
            double sum = product(0, t);
            for (Index s = 1; s < left.count(r); ++s) sum += product(s, t);
            by_right = t == 0 ? sum : by_right + sum;
        }
        return 0.5 * (by_left + by_right);
    }
};

TYPED_TEST(DeviceProducts, OfFactorsAreSumsOverTokensInEveryBit) {
    using Real = TypeParam;
    std::vector<Index> ragged, single(140, 1);
    for (Index r = 0; r < 17; ++r) ragged.push_back(1 + r * 7 % 13);
    ragged.push_back(chunk_tokens);
    ragged.push_back(127);
    ragged.push_back(2);
    for (const Index panel : {24, 32}) {
        TokenRows<Real> left(ragged, panel, 1), right(single, panel, 2);
        // The last one has no room for the sums of both products beside two slices.
        auto devices = product_back_ends();
        const double bytes = sizeof(Real) * static_cast<double>(left.packed.size() + right.packed.size());
        devices.push_back(
            device::host_executor((2 * (bytes + 512) + 8 * 20 * 140) / (1 - back_end_overhead)));
        for (const auto& back_end : devices) {
            SCOPED_TRACE(::testing::Message() << back_end->name() << ", panels of " << panel);
            const auto n = std::ssize(ragged), m = std::ssize(single), lld = n + 3;
            std::vector<double> sums(static_cast<std::size_t>(lld * m), TestFixture::poison),
                square(static_cast<std::size_t>(n * n), -0.0), diagonal(static_cast<std::size_t>(n));
            for (Index c = 0; c < m; ++c)
                for (Index r = 0; r < n; ++r) sums[static_cast<std::size_t>(r + c * lld)] = 0.1;
            const std::vector<PackedTokens<Real>> tiles{left.tile(), right.tile()};
            const std::vector<TileProduct> products{{0, 1, 0, sums.data(), lld, false, false},
                                                    {0, 0, 0, square.data(), n, true, true}};
            const auto put = [&](std::size_t product, const double* from) {
                EXPECT_EQ(product, 1u);
                std::copy_n(from, n, diagonal.begin());
            };
            using Tokens = TokenRows<Real>;
            const FactorProducts<Real> slice{panel, Tokens::deltas, Tokens::inputs, true, tiles, products,
                                             put};
            for (int again = 0; again < 2; ++again) back_end->add(slice, [] {});
            EXPECT_EQ(back_end->sums_are_torn(), &back_end == &devices.back());
            back_end->store_sums();
            Index wrong = 0;
            for (Index c = 0; c < m; ++c)
                for (Index r = 0; r < lld; ++r) {
                    const double found = sums[static_cast<std::size_t>(r + c * lld)];
                    if (r >= n) {
                        wrong += !same(found, TestFixture::poison);
                        continue;
                    }
                    const double share = Tokens::pair(left, r, right, c);
                    wrong += !same(found, 0.1 + share + share);
                }
            for (Index c = 0; c < n; ++c)
                for (Index r = c; r < n; ++r) {
                    const double share = Tokens::pair(left, r, left, c);
                    const double sum = -0.0 + share + share;
                    wrong += !same(square[static_cast<std::size_t>(r + c * n)], sum);
                    if (r == c) wrong += !same(diagonal[static_cast<std::size_t>(r)], sum);
                }
            EXPECT_EQ(wrong, 0);
        }
    }
}

/// Rows that reach some ids each, whose columns are packed in octets by id, and not; as many copies.
template <class Real>
struct TableRows {
    static constexpr Index columns = 37;
    std::vector<MatchingRows> matches;
    std::vector<Index> rows;
    std::vector<std::vector<Real>> plain;  ///< columns of the entries of `rows`, copy after copy
    std::vector<Real> packed;
    Index count, copies;

    /// Row r reaches id i where r + 1 or so divides it.
    TableRows(Index count_, Index ids, Index step, Index copies_, std::uint32_t seed)
        : count(count_), copies(copies_) {
        Index octets = 0;
        for (Index id = 0; id < ids; ++id) {
            MatchingRows match{id, std::ssize(rows), 0, octets};
            for (Index r = 0; r < count; ++r)
                if ((id * step) % (r % 17 + 1) == 0) {
                    rows.push_back(r);
                    ++match.count;
                }
            if (match.count == 0) continue;
            octets += (match.count + 7) / 8;
            matches.push_back(match);
        }
        packed.assign(static_cast<std::size_t>(copies * octets * 8 * columns), Real(0));
        for (Index copy = 0; copy < copies; ++copy)
            for (const MatchingRows& match : matches)
                for (Index i = 0; i < match.count; ++i) {
                    plain.emplace_back();
                    for (Index k = 0; k < columns; ++k) {
                        seed = 1664525U * seed + 1013904223U;
                        plain.back().push_back(static_cast<Real>(static_cast<std::int32_t>(seed)) /
                                               static_cast<Real>(1U << (seed >> 27)));
                        packed[static_cast<std::size_t>(
                            ((copy * octets + match.first_octet + i / 8) * columns + k) * 8 + i % 8)] =
                            plain.back().back();
                    }
                }
    }
    PackedMatches<Real> tile() const { return {packed, count, matches, rows}; }

    /// sum + the chains of the ids that both rows reach, ascending.
    static double expected(double sum, const TableRows& left, Index r, const TableRows& right, Index c) {
        for (const MatchingRows& a : left.matches)
            for (const MatchingRows& b : right.matches)
                for (Index i = 0; a.id == b.id && i < a.count; ++i)
                    for (Index j = 0; j < b.count; ++j) {
                        if (left.rows[static_cast<std::size_t>(a.first + i)] != r ||
                            right.rows[static_cast<std::size_t>(b.first + j)] != c)
                            continue;
                        const auto& x = left.plain[static_cast<std::size_t>(a.first + i)];
                        const auto& y = right.plain[static_cast<std::size_t>(
                            (right.copies - 1) * std::ssize(right.rows) + b.first + j)];
                        Real chain = 0;
                        for (std::size_t k = 0; k < columns; ++k) chain = std::fma(x[k], y[k], chain);
                        sum += static_cast<double>(chain);
                    }
        return sum;
    }
};

TYPED_TEST(DeviceProducts, OfMatchingRowsAreTheChainsOfTheHostInEveryBit) {
    using Real = TypeParam;
    using Table = TableRows<Real>;
    for (const auto& back_end : product_back_ends())
        for (const Index copies : {1, 2}) {
            SCOPED_TRACE(::testing::Message() << back_end->name() << ", " << copies << " copies");
            // Ids that one side alone reaches, before, between and behind those of both.
            const Table left(19, 40, 3, copies, 1), right(70, 31, 2, copies, 2);
            const Index n = left.count, m = right.count, lld = n + 3;
            std::vector<double> sums(static_cast<std::size_t>(lld * m), TestFixture::poison),
                square(static_cast<std::size_t>(n * n), -0.0), diagonal(static_cast<std::size_t>(n));
            for (Index c = 0; c < m; ++c)
                for (Index r = 0; r < n; ++r) sums[static_cast<std::size_t>(r + c * lld)] = 0.1;
            const std::vector<PackedMatches<Real>> tiles{left.tile(), right.tile()};
            const std::vector<TileProduct> products{{0, 1, 0, sums.data(), lld, false, false},
                                                    {0, 0, 0, square.data(), n, copies == 1, true}};
            const auto put = [&](std::size_t product, const double* from) {
                EXPECT_EQ(product, 1u);
                std::copy_n(from, n, diagonal.begin());
            };
            const MatchProducts<Real> slice{copies, Table::columns, true, tiles, products, put};
            for (int again = 0; again < 2; ++again) back_end->add(slice, [] {});
            back_end->store_sums();
            Index wrong = 0;
            for (Index c = 0; c < m; ++c)
                for (Index r = 0; r < n; ++r) {
                    const double once = Table::expected(0.1, left, r, right, c);
                    wrong += !same(sums[static_cast<std::size_t>(r + c * lld)],
                                   Table::expected(once, left, r, right, c));
                }
            for (Index c = 0; c < n; ++c)
                for (Index r = c; r < n; ++r) {
                    const double sum =
                        Table::expected(Table::expected(-0.0, left, r, left, c), left, r, left, c);
                    wrong += !same(square[static_cast<std::size_t>(r + c * n)], sum);
                    if (r == c) wrong += !same(diagonal[static_cast<std::size_t>(r)], sum);
                }
            EXPECT_EQ(wrong, 0);
            EXPECT_EQ(sums[static_cast<std::size_t>(n)], TestFixture::poison);
        }
}

TEST(Device, ThatFailsInSlicesOfOtherKindsLeavesSumsAloneOrSaysSo) {
    const TokenRows<float> tokens({3, 1, 2, 5}, 24, 1);
    const TableRows<float> table(4, 20, 3, 1, 2);
    const std::vector<PackedTokens<float>> token_tiles{tokens.tile()};
    const std::vector<PackedMatches<float>> table_tiles{table.tile()};
    Index failures = 0;
    for (Index good = 0;; ++good) {
        const auto products =
            device::device_products(std::make_unique<testing::FailingRuntime>(good), 0x1p30);
        std::vector<double> sums(16, 0.5);
        const std::vector<TileProduct> asked{{0, 0, 0, sums.data(), 4, true, true}};
        const auto put = [](std::size_t, const double*) {};
        bool stored = false;
        try {
            products->add(FactorProducts<float>{24, 37, 300, true, token_tiles, asked, put}, [] {});
            products->add(MatchProducts<float>{1, 37, true, table_tiles, asked, put}, [] {});
            products->finish();
            stored = true;
            products->store_sums();
        } catch (const Error& e) {
            ++failures;
            EXPECT_EQ(std::string(e.what()).find("GPU 3 of node17"), 0u) << e.what();
            EXPECT_TRUE(products->failed());
            EXPECT_TRUE(stored || sums == std::vector<double>(16, 0.5)) << good;
            continue;
        }
        EXPECT_NE(sums[0], 0.5);
        break;
    }
    EXPECT_GT(failures, 20);
}

// The host's memory for what is on its way is that of a slice that it packs, or of parts: not that of the
// largest slice of another kind.
TEST(Device, KeepsNoMoreOfTheHostsMemoryThanSlicesNeed) {
    double pinned = 0;
    const auto products = device::device_products(
        std::make_unique<testing::FailingRuntime>(Index{1} << 40, 0x1p40, nullptr, nullptr, &pinned), 0x1p40);
    const TokenRows<float> tokens(std::vector<Index>(8, 100), 24, 1);
    const std::vector<PackedTokens<float>> token_tiles{tokens.tile()};
    std::vector<double> sums(64, 0.0);
    const std::vector<TileProduct> asked{{0, 0, 0, sums.data(), 8, true, false}};
    Rows<float> rows(8, {16}, 24, 3);
    const std::vector<PackedRows<float>> tiles{rows.tile()};
    const std::vector<std::vector<ProductPiece>> pieces{{{0, 0, 16, false}}};
    products->add(FactorProducts<float>{24, 37, 300, false, token_tiles, asked}, [] {});
    for (int slice = 0; slice < 2; ++slice)  // one in each buffer
        products->add(SliceProducts<float>{24, pieces, tiles, asked}, [] {});
    products->store_sums();
    EXPECT_LT(pinned, 1.1 * static_cast<double>(token_tiles[0].entries.size_bytes()));
}

/// Off by the last bit of one sum, of three kinds, or of one entry that it forms.
class WrongBackEnd final : public ProductBackEnd {
  public:
    enum class Off { products, factors, matches, formed };
    explicit WrongBackEnd(Off off) : off_(off) {}
    std::string name() const override { return "a wrong one"; }
    double memory() const override { return right_->memory(); }
    void add(const SliceProducts<float>& slice, const std::function<void()>& between) override {
        right_->add(slice, between);
    }
    void add(const SliceProducts<double>& slice, const std::function<void()>& between) override {
        right_->add(slice, between);
        if (off_ == Off::products) sum_ = &slice.products[0].sums[18];
    }
    void add(const FactorProducts<float>& slice, const std::function<void()>& between) override {
        right_->add(slice, between);
    }
    void add(const FactorProducts<double>& slice, const std::function<void()>& between) override {
        right_->add(slice, between);
        if (off_ == Off::factors) sum_ = &slice.products[0].sums[18];
    }
    void add(const MatchProducts<float>& slice, const std::function<void()>& between) override {
        right_->add(slice, between);
    }
    void add(const MatchProducts<double>& slice, const std::function<void()>& between) override {
        right_->add(slice, between);
        if (off_ == Off::matches) sum_ = &slice.products[0].sums[18];
    }
    bool begin_packing(const SliceToPack<float>& slice) override { return right_->begin_packing(slice); }
    bool begin_packing(const SliceToPack<double>& slice) override {
        formed_ = slice.tiles[0].entries;
        return right_->begin_packing(slice);
    }
    void end_packing() override {
        right_->end_packing();
        if (!formed_.empty() && off_ == Off::formed) formed_[77] = std::nextafter(formed_[77], 1e9);
    }
    void forget_factors() noexcept override { right_->forget_factors(); }
    void finish() override { right_->finish(); }
    void store_sums() override {
        right_->store_sums();
        if (sum_ != nullptr) *sum_ = std::nextafter(*sum_, 1e9);
        sum_ = nullptr;
    }
    void drop_sums() noexcept override { right_->drop_sums(); }
    bool sums_are_torn() const override { return right_->sums_are_torn(); }
    bool failed() const override { return false; }

  private:
    std::unique_ptr<ProductBackEnd> right_ = device::host_executor();
    Off off_;
    double* sum_ = nullptr;
    std::span<double> formed_;
};

TEST(Device, WithOtherBitsIsRefused) {
    using Off = WrongBackEnd::Off;
    for (const Off off : {Off::products, Off::factors, Off::matches, Off::formed}) {
        WrongBackEnd wrong(off);
        testing::expect_error(ExitStatus::numerical, ErrorKind::failed_check, {"a wrong one"},
                              [&] { device::require_bits_of_the_host(wrong); });
    }
    device::require_bits_of_the_host(*device::host_executor());
}

TEST(Device, WithoutAGpuIsAnError) {
    if (usable_gpus().count() > 0) GTEST_SKIP() << "there is a GPU";
    EXPECT_FALSE(usable_gpus().words.empty());
    EXPECT_THROW(products_on_gpu(0, 1e9), Error);
}

TEST(Device, IsJudgedByWhatTheDriverSays) {
    constexpr std::size_t enough = 160 * 1024, gigabyte = std::size_t{1} << 30;
    const device::FoundGpu good{"H200", "H200, GPU 0 of n1", 9, 0, 227 * 1024, 140 * gigabyte},
        smaller{"A100", "A100, GPU 1 of n1", 8, 0, enough, 40 * gigabyte},
        old{"V100", "V100, GPU 1 of n1", 7, 0, enough, 32 * gigabyte},
        narrow{"A10,", "A10, GPU 1 of n1", 8, 6, enough - 1024, 24 * gigabyte};
    const Gpus both = device::judged({{good, smaller}, ""});
    EXPECT_EQ(both.count(), 2);
    EXPECT_EQ(both.memory, 40.0 * gigabyte);
    EXPECT_TRUE(both.words.empty()) << both.words;
    const Gpus none = device::judged({{}, "no CUDA driver"});
    EXPECT_EQ(none.count(), 0);
    EXPECT_FALSE(none.seen);
    EXPECT_EQ(none.why, ErrorKind::missing);
    EXPECT_NE(none.words.find("no CUDA driver"), std::string::npos) << none.words;
    for (const device::FoundGpu& bad : {old, narrow}) {
        const Gpus others = device::judged({{bad, good, bad}, ""});
        EXPECT_EQ(others.ids, std::vector<std::string>{good.id});
        EXPECT_EQ(others.numbers, std::vector<int>{1});
        EXPECT_EQ(others.memory, 140.0 * gigabyte);
        const Gpus judged = device::judged({{bad}, ""});
        EXPECT_EQ(judged.count(), 0);
        EXPECT_TRUE(judged.seen);
        EXPECT_EQ(judged.why, ErrorKind::unsupported);
        for (const std::string& word : {bad.name, std::to_string(bad.major) + "." + std::to_string(bad.minor),
                                        std::string("CUDA_VISIBLE_DEVICES")})
            EXPECT_NE(judged.words.find(word), std::string::npos) << judged.words;
    }
}

}  // namespace
}  // namespace tangram
