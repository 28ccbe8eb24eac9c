#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <limits>

#include "../src/device/host_executor.hpp"
#include "support/expect_error.hpp"
#include "tangram/device/device.hpp"

namespace tangram {
namespace {

/// The kernel on the host, and on a GPU where there is one.
std::vector<std::unique_ptr<ProductBackEnd>> back_ends() {
    std::vector<std::unique_ptr<ProductBackEnd>> all;
    all.push_back(device::host_executor());
    const Gpus gpus = usable_gpus();
    if (gpus.count > 0) all.push_back(products_on_gpu(0));
    std::cout << "products on: " << all.back()->name() << (gpus.count > 0 ? " too" : "; " + gpus.words)
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
    for (const auto& back_end : back_ends())
        for (const auto& [rows, columns, panel, depths] : cases) {
            SCOPED_TRACE(::testing::Message() << back_end->name() << " " << rows << " x " << columns);
            Rows<Real> left(rows, depths, panel, 1), right(columns, depths, panel, 2);
            std::vector<ProductPiece> pieces;
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
            const std::vector<TileProduct> products{{0, 1, sums.data(), lld, false, nullptr}};
            Index calls = 0;
            back_end->add(SliceProducts<Real>{panel, pieces, tiles, products}, [&] { ++calls; });
            EXPECT_GE(calls, 1);
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
    const std::vector<Index> depths{7, 9, 24, 256, 7, 9};
    const std::vector<ProductPiece> used{
        {0, 296, 7, true}, {16, 16, 24, false}, {40, 40, 256, true}, {303, 7, 9, false}};
    for (const auto& back_end : back_ends()) {
        SCOPED_TRACE(back_end->name());
        Rows<Real> rows(n, depths, panel, 3);
        std::vector<double> sums(n * n, 0.0), diagonals(2 * n, TestFixture::poison);
        const std::vector<PackedRows<Real>> tiles{rows.tile()};
        const std::vector<TileProduct> products{{0, 0, sums.data(), n, true, diagonals.data()}};
        back_end->add(SliceProducts<Real>{panel, used, tiles, products}, [] {});
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

TYPED_TEST(DeviceProducts, NegativeZeroStays) {
    // A product that is rounded to -0 and no further: the chain's 0 0 would make it +0.
    using Real = TypeParam;
    for (const auto& back_end : back_ends()) {
        Rows<Real> left(1, {1}, 24, 1), right(1, {1}, 24, 2);
        left.at(0, 0) = std::numeric_limits<Real>::denorm_min();
        right.at(0, 0) = Real(-0.25);
        left.pack({1}, 24);
        right.pack({1}, 24);
        double sum = -0.0;
        const std::vector<ProductPiece> pieces{{0, 0, 1, false}};
        const std::vector<PackedRows<Real>> tiles{left.tile(), right.tile()};
        const std::vector<TileProduct> products{{0, 1, &sum, 1, false, nullptr}};
        back_end->add(SliceProducts<Real>{24, pieces, tiles, products}, [] {});
        EXPECT_TRUE(same(sum, -0.0)) << back_end->name();
    }
}

TYPED_TEST(DeviceProducts, OfManyTilesGoInBatches) {
    using Real = TypeParam;
    constexpr Index count = 150, panel = 32;
    const std::vector<Index> depths{30};
    const std::vector<ProductPiece> pieces{{0, 0, 30, false}};
    for (const auto& back_end : back_ends()) {
        std::vector<Rows<Real>> all;
        std::vector<PackedRows<Real>> tiles;
        for (Index t = 0; t < 12; ++t)
            all.emplace_back(3 + t % 3, depths, panel, static_cast<std::uint32_t>(t + 1));
        for (const Rows<Real>& of : all) tiles.push_back(of.tile());
        std::vector<std::vector<double>> sums;
        std::vector<TileProduct> products;
        for (std::size_t p = 0; p < count; ++p) {
            const std::size_t left = p % 12, right = p / 12 % 12;
            sums.emplace_back(static_cast<std::size_t>(all[left].rows * all[right].rows), 1.0);
            products.push_back({left, right, sums.back().data(), all[left].rows, false, nullptr});
        }
        back_end->add(SliceProducts<Real>{panel, pieces, tiles, products}, [] {});
        Index wrong = 0;
        for (const TileProduct& product : products) {
            Rows<Real>&left = all[product.left], &right = all[product.right];
            for (Index c = 0; c < right.rows; ++c)
                for (Index r = 0; r < left.rows; ++r)
                    wrong += !same(product.sums[r + c * left.rows],
                                   this->expected(1.0, left, right, r, c, pieces, 1));
        }
        EXPECT_EQ(wrong, 0) << back_end->name();
    }
}

/// Off by the last bit of one sum.
class WrongBackEnd final : public ProductBackEnd {
  public:
    std::string name() const override { return "a wrong one"; }
    void add(const SliceProducts<float>& slice, const std::function<void()>& between) override {
        device::host_executor()->add(slice, between);
    }
    void add(const SliceProducts<double>& slice, const std::function<void()>& between) override {
        device::host_executor()->add(slice, between);
        double& last = slice.products[0].sums[18];
        last = std::nextafter(last, 1e9);
    }
};

TEST(Device, WithOtherBitsIsRefused) {
    WrongBackEnd wrong;
    testing::expect_error(ExitStatus::numerical, ErrorKind::failed_check, {"a wrong one"},
                          [&] { device::require_bits_of_the_host(wrong); });
    device::require_bits_of_the_host(*device::host_executor());
}

TEST(Device, WithoutAGpuIsAnError) {
    if (usable_gpus().count > 0) GTEST_SKIP() << "there is a GPU";
    EXPECT_FALSE(usable_gpus().words.empty());
    EXPECT_THROW(products_on_gpu(0), Error);
}

}  // namespace
}  // namespace tangram
