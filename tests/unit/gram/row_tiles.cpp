#include "../src/gram/row_tiles.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace tangram {
namespace {

constexpr Index rows_of_tile = 4;
const KernelOutputs one_row(KernelOutput::margin, 2);

/// Tiles of examples of one token each; the last one has a row.
DataSet data_of(Index tiles) {
    DataSet data;
    for (Index e = 0; e < (tiles - 1) * rows_of_tile + 1; ++e)
        data.append(std::vector<std::int32_t>{0}, 0, e);
    return data;
}

/// By data set and tile.
std::vector<std::vector<int>> owners_of(const std::vector<RowTiles>& sets) {
    std::vector<std::vector<int>> owners;
    for (const RowTiles& set : sets) {
        owners.emplace_back();
        for (Index t = 0; t < set.tiles(); ++t) owners.back().push_back(set.owner(t));
    }
    return owners;
}

std::vector<int> tiles_by_rank(const std::vector<std::vector<int>>& owners, int ranks) {
    std::vector<int> count(static_cast<std::size_t>(ranks), 0);
    for (const std::vector<int>& of_set : owners)
        for (const int owner : of_set) ++count.at(static_cast<std::size_t>(owner));
    return count;
}

TEST(RowTiles, AreSharedOutEvenlyWhereThereAreAtLeastAsManyAsRanks) {
    const Program program;
    for (const auto& [p, q] : {std::pair{1, 1}, {1, 2}, {2, 1}, {3, 2}, {4, 4}})
        for (const Index train_tiles : {16, 17, 29, 31})
            for (const Index test_tiles : {1, 5, 16}) {
                const DataSet train = data_of(train_tiles), test = data_of(test_tiles);
                const auto sets = shared_on(p, q,
                                            {RowTiles(program, {}, train, one_row, rows_of_tile),
                                             RowTiles(program, {}, test, one_row, rows_of_tile)});
                ASSERT_EQ(sets[0].tiles(), train_tiles);
                const std::vector<int> count = tiles_by_rank(owners_of(sets), p * q);
                EXPECT_LE(std::ranges::max(count) - std::ranges::min(count), 1)
                    << p << " x " << q << ", " << train_tiles << " and " << test_tiles << " tiles";
                for (int rank = 0; rank < p * q; ++rank)
                    for (Index t = 0; t < test_tiles; ++t)
                        EXPECT_EQ(sets[1].needs(rank, t), t % p == rank / q);
            }
}

/// On 1000 ranks the first 431 had them all, on 7 of 16 hosts.
TEST(RowTiles, FewerThanRanksLieFarApartOnRanksThatNeedThem) {
    const Program program;
    for (const auto& [p, q, train_tiles, test_tiles] : {std::tuple{25, 40, Index{391}, Index{40}},
                                                        {25, 40, 256, 40},
                                                        {4, 4, 7, 3},
                                                        {2, 3, 4, 1},
                                                        {5, 8, 1, 1}}) {
        const DataSet train = data_of(train_tiles), test = data_of(test_tiles);
        const auto sets = shared_on(p, q,
                                    {RowTiles(program, {}, train, one_row, rows_of_tile),
                                     RowTiles(program, {}, test, one_row, rows_of_tile)});
        const auto owners = owners_of(sets);
        const std::vector<int> count = tiles_by_rank(owners, p * q);
        EXPECT_EQ(std::ranges::max(count), 1);
        for (std::size_t s = 0; s < sets.size(); ++s)
            for (std::size_t t = 0; t < owners[s].size(); ++t)
                EXPECT_TRUE(sets[s].needs(owners[s][t], static_cast<Index>(t)));
        // Hosts of so many consecutive ranks: the busiest has hardly more than its share.
        for (const int host : {q, 2 * q}) {
            const int hosts = (p * q + host - 1) / host;
            for (int h = 0; h < hosts; ++h) {
                const auto own = std::accumulate(count.begin() + h * host,
                                                 count.begin() + std::min(p * q, (h + 1) * host), 0);
                EXPECT_LE(own * hosts, static_cast<int>(train_tiles + test_tiles) + 2 * hosts * (host / q))
                    << p << " x " << q << ", host " << h;
            }
        }
        // Not side by side within a row of the grid either.
        const int row_all = static_cast<int>((train_tiles + p - 1) / p + (test_tiles + p - 1) / p),
                  apart = q / row_all;
        for (int row = 0; row < p; ++row)
            for (int first = row * q; first + apart <= (row + 1) * q; ++first)
                EXPECT_LE(std::accumulate(count.begin() + first, count.begin() + first + apart, 0), 1);
    }
}

}  // namespace
}  // namespace tangram
