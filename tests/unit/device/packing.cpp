#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "../src/device/device_products.hpp"
#include "../src/device/host_executor.hpp"
#include "support/expect_error.hpp"
#include "support/failing_runtime.hpp"
#include "tangram/device/device.hpp"
#include "unit/device/devices.hpp"

namespace tangram {
namespace {

constexpr Index piece_depth = 256;

/// Three tiles of a slice, the last one another rank's: entries of two matrices' gradients, and between them
/// parameters that the host packs. Factors are drawn, of two passes; the products of all pairs of tiles are
/// compared with chains over entries that were formed one by one.
template <class Real>
class FormedTiles {
  public:
    static constexpr Index panel = 24, tiles = 3;

    explicit FormedTiles(Index copies = 1, Real sign = 0) : copies_(copies), sign_(sign) {
        Index before = 0;
        for (Index row = 0; row < rows_of(0) + rows_of(1); ++row) {
            first_token_.push_back(before);
            before += tokens(row);
        }
        for (std::size_t m = 0; m < matrices.size(); ++m) {
            for (auto& of_pass : deltas_[m])
                of_pass.resize(static_cast<std::size_t>(before * matrices[m].outputs));
            inputs_[m].resize(static_cast<std::size_t>(before * matrices[m].inputs));
        }
        draw(1);
        sums_.assign(tiles * tiles,
                     std::vector<double>(static_cast<std::size_t>(rows_of(0) * rows_of(0)), 0.5));
        expected_ = sums_;
    }

    /// Other factors, where these are.
    void draw(std::uint32_t seed) {
        seed_ = seed;
        for (std::size_t m = 0; m < matrices.size(); ++m) {
            for (auto* const of : {&deltas_[m][0], &deltas_[m][1], &inputs_[m]})
                for (Real& entry : *of) entry = number();
        }
    }

    /// A slice that begins with another entry of the first matrix, and is gone when it returns.
    /// @return whether the back end formed it
    bool add(ProductBackEnd& back_end, Index first) {
        const std::vector<Part> parts = parts_of(first);
        entries_.assign(tiles, {});
        packed_.assign(tiles, {});
        for (Index t = 0; t < tiles; ++t) {
            entries_[at(t)].resize(static_cast<std::size_t>(rows_of(t) * depth(parts)));
            packed_[at(t)].assign(static_cast<std::size_t>(padded(t) * depth(parts)), poison);
            for (const Part& part : parts) form(t, part);
            for (const Part& part : parts)
                if (t == 2 || part.matrix < 0) pack(t, part);
        }
        const bool formed = back_end.begin_packing(to_pack(parts));
        if (formed) {
            back_end.end_packing();
            check_home(parts);
        }
        for (Index t = 0; t < 2 && !formed; ++t)
            for (const Part& part : parts) pack(t, part);
        multiply(back_end, parts);
        for (std::vector<Real>& of : packed_) std::ranges::fill(of, poison);
        return formed;
    }
    Index wrong() const {
        Index count = wrong_at_home_;
        for (std::size_t p = 0; p < sums_.size(); ++p)
            for (std::size_t i = 0; i < sums_[p].size(); ++i)
                count += std::bit_cast<std::uint64_t>(sums_[p][i]) !=
                         std::bit_cast<std::uint64_t>(expected_[p][i]);
        return count;
    }
    std::vector<std::vector<double>>& sums() { return sums_; }
    /// Bytes of a device for two slices, all sums and the factors; the lists of what is done beside them.
    static double slice_bytes() {
        Index rows = 0;
        for (Index t = 0; t < tiles; ++t) rows += padded(t);
        return static_cast<double>(sizeof(Real)) *
                   static_cast<double>(rows * depth(FormedTiles().parts_of(0))) +
               2048;
    }
    static double sum_bytes() {
        double sum = 0;
        for (Index p = 0; p < tiles * tiles; ++p)
            sum += 256 + sizeof(double) * static_cast<double>(rows_of(p % tiles) * rows_of(p / tiles));
        return sum;
    }

  private:
    static constexpr Index deep = 310;
    static constexpr Real poison = std::numeric_limits<Real>::quiet_NaN();
    struct Matrix {
        Index outputs, inputs;
    };
    static constexpr std::array<Matrix, 2> matrices{{{11, 70}, {3, 5}}};
    /// Parameters of a tile; matrix -1: of none.
    struct Part {
        Index before, first, depth;
        int matrix;
    };
    static Index rows_of(Index tile) { return tile == 0 ? 37 : tile == 1 ? 25 : 7; }
    static Index padded(Index tile) { return (rows_of(tile) + panel - 1) / panel * panel; }
    static Index tokens(Index row) { return row * 7 % 6; }
    static std::size_t at(Index i) { return static_cast<std::size_t>(i); }
    std::vector<Part> parts_of(Index first) const {
        // Of the first matrix's depth, then between two parts of the host's less than 256 bytes.
        return {{0, first, deep, 0},
                {copies_ * deep, 0, 5, -1},
                {copies_ * (deep + 5), 9, 1, 1},
                {copies_ * (deep + 6), 0, 4, -1},
                {copies_ * (deep + 10), 2, 13, 1}};
    }
    static Index depth(const std::vector<Part>& parts) {
        return parts.back().before + parts.back().before / (deep + 10) * parts.back().depth;
    }
    Real number() {
        seed_ = 1664525U * seed_ + 1013904223U;
        return static_cast<Real>(static_cast<std::int32_t>(seed_)) / static_cast<Real>(1U << (seed_ >> 27));
    }
    Real& entry(Index tile, Index row, Index parameter) {
        return entries_[at(tile)][at(parameter * rows_of(tile) + row)];
    }
    static Index row_of(Index tile, Index row) { return tile * rows_of(0) + row; }

    /// The entries of a tile, and their signs behind them or in their place.
    void form(Index tile, const Part& part) {
        for (Index row = 0; row < rows_of(tile); ++row)
            for (Index k = 0; k < part.depth; ++k) {
                Real value = number();
                if (tile < 2 && part.matrix >= 0)
                    value = gradient(row_of(tile, row), at(part.matrix), part.first + k);
                const Real sign = value > 0 ? sign_ : value < 0 ? -sign_ : Real(0);
                entry(tile, row, part.before + k) = sign_ != 0 && copies_ == 1 ? sign : value;
                if (copies_ == 2) entry(tile, row, part.before + part.depth + k) = sign;
            }
    }
    Real gradient(Index row, std::size_t m, Index k) const {
        const auto [outputs, inputs] = matrices[m];
        Real chain = 0;
        for (Index t = first_token_[at(row)]; t < first_token_[at(row)] + tokens(row); ++t)
            chain = std::fma(deltas_[m][at(row % 2)][at(t * outputs + k / inputs)],
                             inputs_[m][at(t * inputs + k % inputs)], chain);
        return chain;
    }
    /// visit(packed entry, row, parameter); rows behind the last one are padding.
    template <class Visit>
    void for_packed(Index tile, const Part& part, Visit visit) {
        for (Index copy = 0; copy < copies_; ++copy)
            for (Index k = 0; k < part.depth; ++k)
                for (Index row = 0; row < padded(tile); ++row) {
                    const Index before = part.before + copy * part.depth,
                                from = k / piece_depth * piece_depth,
                                of_piece = std::min(piece_depth, part.depth - from);
                    visit(packed_[at(tile)][at((before + from) * padded(tile) +
                                               (row / panel * of_piece + k - from) * panel + row % panel)],
                          row, before + k);
                }
    }
    void pack(Index tile, const Part& part) {
        for_packed(tile, part, [&](Real& to, Index row, Index parameter) {
            to = row < rows_of(tile) ? entry(tile, row, parameter) : Real(0);
        });
    }
    /// The first tile has gone home, the second one has not.
    void check_home(const std::vector<Part>& parts) {
        for (Index t = 0; t < 2; ++t)
            for (const Part& part : parts)
                for_packed(t, part, [&](Real& found, Index row, Index parameter) {
                    if (part.matrix < 0) return;
                    if (t == 1)
                        wrong_at_home_ += !std::isnan(found);
                    else if (row < rows_of(t))
                        wrong_at_home_ += std::signbit(found) != std::signbit(entry(t, row, parameter)) ||
                                          found != entry(t, row, parameter);
                    else
                        wrong_at_home_ += found != 0;
                });
    }

    SliceToPack<Real> to_pack(const std::vector<Part>& parts) {
        SliceToPack<Real> slice{panel, copies_, sign_, {}, {}, {}};
        for (Index t = 0; t < tiles; ++t)
            slice.tiles.push_back({packed_[at(t)], rows_of(t), padded(t), {}, t == 0});
        for (const Part& part : parts) {
            if (part.matrix < 0) continue;
            const auto m = at(part.matrix);
            const auto [outputs, inputs] = matrices[m];
            slice.segments.push_back({part.before, part.first, part.depth, outputs, inputs});
            for (const auto& of_pass : deltas_[m])
                slice.factors.push_back({of_pass.data(), std::ssize(of_pass) / outputs, outputs});
            slice.factors.push_back({inputs_[m].data(), std::ssize(inputs_[m]) / inputs, inputs});
            for (Index t = 0; t < 2; ++t)
                for (Index row = row_of(t, 0); row < row_of(t, rows_of(t)); ++row)
                    slice.tiles[at(t)].factors.push_back(
                        {deltas_[m][at(row % 2)].data() + first_token_[at(row)] * outputs,
                         inputs_[m].data() + first_token_[at(row)] * inputs, tokens(row)});
        }
        return slice;
    }

    void multiply(ProductBackEnd& back_end, const std::vector<Part>& parts) {
        std::vector<std::vector<ProductPiece>> lists(1);
        for (const Part& part : parts)
            for (Index k = 0; k < part.depth; k += piece_depth)
                lists[0].push_back({part.before + k, part.before + (copies_ - 1) * part.depth + k,
                                    std::min(piece_depth, part.depth - k), false});
        std::vector<PackedRows<Real>> packed;
        std::vector<TileProduct> products;
        for (Index t = 0; t < tiles; ++t) packed.push_back({packed_[at(t)], rows_of(t), padded(t)});
        for (Index p = 0; p < tiles * tiles; ++p) {
            const Index left = p % tiles, right = p / tiles;
            products.push_back({at(left), at(right), 0, sums_[at(p)].data(), rows_of(left), false, false});
            for (Index c = 0; c < rows_of(right); ++c)
                for (Index r = 0; r < rows_of(left); ++r)
                    for (const ProductPiece& of : lists[0]) {
                        Real chain = 0;
                        for (Index k = 0; k < of.depth; ++k)
                            chain =
                                std::fma(entry(left, r, of.left + k), entry(right, c, of.right + k), chain);
                        expected_[at(p)][at(r + c * rows_of(left))] += static_cast<double>(chain);
                    }
        }
        back_end.add(SliceProducts<Real>{panel, lists, packed, products}, [] {});
    }

    Index copies_;
    Real sign_;
    std::uint32_t seed_ = 0;
    std::vector<Index> first_token_;
    std::array<std::array<std::vector<Real>, 2>, 2> deltas_;  // by matrix and pass
    std::array<std::vector<Real>, 2> inputs_;
    std::vector<std::vector<Real>> entries_, packed_;  // by tile: [parameter][row]; as the back end has them
    std::vector<std::vector<double>> sums_, expected_;
    Index wrong_at_home_ = 0;
};

/// Three tiles of a matrix in factors, the last one another rank's, in chunks of few rows; some rows lack
/// tokens that their form has. What a back end forms is compared with what is put there entry by entry.
template <class Real>
class FormedTokens {
  public:
    static constexpr Index panel = 24, tiles = 3;
    static constexpr Real poison = std::numeric_limits<Real>::quiet_NaN();

    FormedTokens(Index delta_width, Index input_width) : widths_{delta_width, input_width} {
        std::uint32_t state = 5;
        for (auto* const of : {&deltas_, &inputs_}) {
            of->resize(at(total_rows * most_tokens * (of == &deltas_ ? delta_width : input_width)));
            for (Real& entry : *of) {
                state = 1664525U * state + 1013904223U;
                entry = static_cast<Real>(static_cast<std::int32_t>(state)) / Real(1U << 20);
            }
        }
        for (Index t = 0; t < tiles; ++t) {
            for (Index r = 0; r < rows; ++r) row_tokens_[at(t)].push_back(1 + (r + 2 * t) % most_tokens);
            put_by_hand(t);
        }
    }

    /// @return whether the back end formed the first two
    bool forms(ProductBackEnd& back_end) {
        packed_[0].assign(by_hand_[0].size(), poison);
        packed_[1].assign(by_hand_[1].size(), poison);
        packed_[2] = by_hand_[2];
        SliceToPack<Real> slice{panel, 1,  0,   {{0, 0, widths_[0] * widths_[1], widths_[0], widths_[1]}},
                                {},    {}, true};
        slice.factors = {{deltas_.data(), std::ssize(deltas_) / widths_[0], widths_[0]},
                         {inputs_.data(), std::ssize(inputs_) / widths_[1], widths_[1]}};
        for (Index t = 0; t < tiles; ++t) {
            slice.tiles.push_back(
                {packed_[at(t)], rows, rows, {}, t == 0, row_tokens_[at(t)], chunks_[at(t)]});
            for (Index r = 0; t < 2 && r < rows; ++r)
                slice.tiles.back().factors.push_back({delta(t, r, 0), input(t, r, 0), tokens(t, r)});
        }
        if (!back_end.begin_packing(slice)) return false;
        back_end.end_packing();
        EXPECT_EQ(wrong(packed_[0], by_hand_[0]), 0) << "it went home";
        EXPECT_TRUE(std::ranges::all_of(packed_[1], [](Real entry) { return std::isnan(entry); }));
        return true;
    }
    /// Of the tile that goes home.
    double tile_bytes() const { return sizeof(Real) * static_cast<double>(by_hand_[0].size()); }
    /// The sums of all pairs of tiles, formed or put there by hand.
    std::vector<double> sums(ProductBackEnd& back_end, bool formed) {
        std::vector<double> all(at(tiles * tiles * rows * rows), 0.25);
        std::vector<PackedTokens<Real>> packed;
        std::vector<TileProduct> products;
        for (Index t = 0; t < tiles; ++t)
            packed.push_back(
                {formed ? packed_[at(t)] : by_hand_[at(t)], rows, row_tokens_[at(t)], chunks_[at(t)]});
        for (Index p = 0; p < tiles * tiles; ++p)
            products.push_back(
                {at(p % tiles), at(p / tiles), 0, all.data() + p * rows * rows, rows, false, false});
        back_end.add(FactorProducts<Real>{panel, widths_[0], widths_[1], false, packed, products}, [] {});
        back_end.store_sums();
        return all;
    }

  private:
    static constexpr Index rows = 29, most_tokens = 5, total_rows = rows * tiles, rows_of_chunk = 8;
    static std::size_t at(Index i) { return static_cast<std::size_t>(i); }
    static Index wrong(const std::vector<Real>& found, const std::vector<Real>& expected) {
        Index count = 0;
        for (std::size_t i = 0; i < found.size(); ++i)
            count += found[i] != expected[i] || std::signbit(found[i]) != std::signbit(expected[i]);
        return count;
    }
    /// Of a row's factors: all, one less, none.
    Index tokens(Index tile, Index row) const {
        const Index form = row_tokens_[at(tile)][at(row)];
        return row % 7 == 3 ? form - 1 : row % 11 == 5 ? 0 : form;
    }
    const Real* delta(Index tile, Index row, Index token) const {
        return deltas_.data() + ((tile * rows + row) * most_tokens + token) * widths_[0];
    }
    const Real* input(Index tile, Index row, Index token) const {
        return inputs_.data() + ((tile * rows + row) * most_tokens + token) * widths_[1];
    }
    /// [chunk][panel of tokens][entries of delta, then of input][panel].
    void put_by_hand(Index t) {
        const Index stride = widths_[0] + widths_[1];
        for (Index first = 0; first < rows; first += rows_of_chunk) {
            TokenChunk chunk{first, std::min(rows, first + rows_of_chunk), 0};
            for (Index r = chunk.first_row; r < chunk.last_row; ++r)
                chunk.tokens += row_tokens_[at(t)][at(r)];
            chunks_[at(t)].push_back(chunk);
            const Index before = std::ssize(by_hand_[at(t)]),
                        padded = (chunk.tokens + panel - 1) / panel * panel;
            by_hand_[at(t)].resize(at(before + padded * stride), Real(0));
            Index place = 0;
            for (Index r = chunk.first_row; r < chunk.last_row; place += row_tokens_[at(t)][at(r++)])
                for (Index i = 0; i < tokens(t, r); ++i)
                    for (Index k = 0; k < stride; ++k)
                        by_hand_[at(t)][at(before + (place + i) / panel * panel * stride + k * panel +
                                           (place + i) % panel)] =
                            k < widths_[0] ? delta(t, r, i)[k] : input(t, r, i)[k - widths_[0]];
        }
    }

    std::array<Index, 2> widths_;
    std::vector<Real> deltas_, inputs_;
    std::array<std::vector<Index>, tiles> row_tokens_;
    std::array<std::vector<TokenChunk>, tiles> chunks_;
    std::array<std::vector<Real>, tiles> by_hand_, packed_;
};

template <class Real>
class DevicePacking : public ::testing::Test {
  protected:
    /// The kernel on the host, and on a GPU where there is one.
    static std::vector<std::unique_ptr<ProductBackEnd>> back_ends() {
        std::vector<std::unique_ptr<ProductBackEnd>> all;
        if (testing::on_the_host_too()) all.push_back(device::host_executor());
        if (const Gpus gpus = usable_gpus(); gpus.count() > 0)
            all.push_back(products_on_gpu(0, gpus.memory / 2));
        return all;
    }
};

using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(DevicePacking, Reals);

TYPED_TEST(DevicePacking, FormsGradientsAsTheChainsOfTheHost) {
    using Real = TypeParam;
    for (const auto& back_end : this->back_ends())
        for (const auto& [copies, sign] : {std::pair<Index, Real>{1, 0}, {1, Real(0.7)}, {2, Real(0.7)}}) {
            SCOPED_TRACE(::testing::Message() << back_end->name() << ", " << copies << " copies");
            FormedTiles<Real> tiles(copies, sign);
            for (const Index first : {0, 1, 69, 460}) EXPECT_TRUE(tiles.add(*back_end, first));
            tiles.draw(7);
            back_end->forget_factors();
            EXPECT_TRUE(tiles.add(*back_end, 3));
            back_end->store_sums();
            back_end->forget_factors();
            EXPECT_EQ(tiles.wrong(), 0);
        }
}

TYPED_TEST(DevicePacking, PutsTokensOfFactorsWhereTheyStand) {
    using Real = TypeParam;
    // Widths below and above what a block copies at once, and what one has of a panel.
    for (const auto& [delta_width, input_width] :
         {std::pair<Index, Index>{1, 1}, {3, 7}, {64, 64}, {70, 59}, {13, 650}})
        for (const auto& back_end : this->back_ends()) {
            SCOPED_TRACE(::testing::Message()
                         << back_end->name() << ", " << delta_width << ", " << input_width);
            FormedTokens<Real> tiles(delta_width, input_width);
            ASSERT_TRUE(tiles.forms(*back_end));
            const std::vector<double> formed = tiles.sums(*back_end, true);
            back_end->forget_factors();
            EXPECT_EQ(formed, tiles.sums(*back_end, false));
        }
}

// More than is on its way at once.
TEST(Device, BringsWideTokensHomeInPieces) {
    FormedTokens<float> tiles(2, 170'000);
    ASSERT_GT(tiles.tile_bytes(), staged_sum_bytes);
    EXPECT_TRUE(tiles.forms(*device::host_executor()));
}

// Sums push factors out, where they find no room the host packs; no byte more is taken than there is.
TYPED_TEST(DevicePacking, LeavesTheMemoryToSlicesAndSums) {
    using Real = TypeParam;
    using Tiles = FormedTiles<Real>;
    Index formed_first = 0, formed_all = 0;
    for (double share = 0; share <= 1.5; share += 0.25) {
        const double memory =
            (2 * Tiles::slice_bytes() + Tiles::sum_bytes() * (0.5 + share) + 60000 * share * share) /
            (1 - back_end_overhead);
        const auto little = device::host_executor(memory);
        Tiles tiles;
        Index formed = 0;
        for (const Index first : {0, 70, 140}) formed += tiles.add(*little, first) ? 1 : 0;
        formed_first += formed > 0 && formed < 3 ? 1 : 0;
        formed_all += formed == 3 ? 1 : 0;
        little->store_sums();
        EXPECT_EQ(tiles.wrong(), 0) << memory;
        if (share == 0) {
            EXPECT_EQ(formed, 0);
        }
    }
    EXPECT_GT(formed_first, 0);
    EXPECT_GT(formed_all, 0);
}

TEST(Device, GivesItsMemoryBack) {
    Index held = 0;
    const auto products = device::device_products(
        std::make_unique<testing::FailingRuntime>(Index{1} << 40, 0x1p40, nullptr, &held), 0x1p30);
    FormedTiles<float> tiles;
    for (int time = 0; time < 2; ++time) {
        EXPECT_TRUE(tiles.add(*products, 5));
        EXPECT_GT(held, 5);
        products->store_sums();
        products->give_back_memory();
        EXPECT_EQ(held, 0);
    }
    EXPECT_EQ(tiles.wrong(), 0);
}

TEST(Device, ThatFailsWhileItPacksIsNamedAndLeavesSumsAlone) {
    Index failures = 0;
    for (Index good = 0;; ++good) {
        const auto products =
            device::device_products(std::make_unique<testing::FailingRuntime>(good), 0x1p30);
        FormedTiles<float> tiles;
        const std::vector<std::vector<double>> before = tiles.sums();
        bool stored = false, formed = true;
        try {
            for (const Index first : {0, 100}) formed = tiles.add(*products, first) && formed;
            products->finish();
            stored = true;
            products->store_sums();
        } catch (const Error& e) {
            ++failures;
            EXPECT_EQ(e.status(), ExitStatus::numerical);
            EXPECT_NE(std::string(e.what()).find("GPU 3 of node17"), std::string::npos) << e.what();
            EXPECT_TRUE(products->failed());
            if (!stored) {
                EXPECT_TRUE(tiles.sums() == before) << good;
            }
            continue;
        }
        EXPECT_EQ(tiles.wrong(), 0);
        if (!formed) continue;  // a failure that was taken for missing room
        break;
    }
    EXPECT_GT(failures, 30);
}

}  // namespace
}  // namespace tangram
