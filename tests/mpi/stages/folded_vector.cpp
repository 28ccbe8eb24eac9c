#include "../src/stages/folded_vector.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace tangram {
namespace {

TEST(FoldedVector, IsTheSameUnfolded) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    for (const Index size :
         {Index{1}, folded_rows - 1, folded_rows, folded_rows + 1, 3 * folded_rows, 70 * folded_rows + 5}) {
        std::vector<double> values(static_cast<std::size_t>(size));
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i) + 0.25;
        EXPECT_TRUE(unfolded(folded(values, grid), size) == values) << size;
    }
}

TEST(FoldedVector, OfManyWeightsIsSharedEvenly) {
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    const Index size = 1000 * folded_rows;
    const DistributedMatrix matrix = folded(std::vector<double>(static_cast<std::size_t>(size), 1.0), grid);
    const Index own = matrix.local_rows() * matrix.local_columns(), ranks = grid.comm().size(),
                most = max_over_ranks(MPI_COMM_WORLD, own);
    // 64 and 16 blocks: at most one more of each than others have.
    EXPECT_LE(static_cast<double>(most * ranks), 1.5 * static_cast<double>(size));
}

}  // namespace
}  // namespace tangram
