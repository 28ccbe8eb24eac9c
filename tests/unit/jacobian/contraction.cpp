#include "tangram/jacobian/contraction.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace tangram {
namespace {

void append(DataSet& data, Index examples, Index tokens, std::int32_t task) {
    const std::vector<std::int32_t> text(static_cast<std::size_t>(tokens), 1);
    for (Index e = 0; e < examples; ++e) {
        data.append(text, 0, data.examples());
        data.tasks.push_back(task);
    }
}

TEST(MeanTokens, CountsEveryTaskByItsExamples) {
    DataSet data;
    append(data, 300, 4, 0);
    append(data, 100, 40, 1);
    EXPECT_DOUBLE_EQ(mean_tokens(data), (300.0 * 4 + 100.0 * 40) / 400);
}

TEST(MeanTokens, OfOneTaskIsThatOfItsFirst256) {
    DataSet data;
    EXPECT_EQ(mean_tokens(data), 0.0);
    append(data, 90, 7, 0);
    append(data, 166, 5, 0);
    const double expected = (90.0 * 7 + 166.0 * 5) / 256;
    EXPECT_EQ(mean_tokens(data), expected);
    append(data, 501, 1000, 0);
    EXPECT_EQ(mean_tokens(data), expected);
    data.tasks.clear();
    EXPECT_EQ(mean_tokens(data), expected);
}

}  // namespace
}  // namespace tangram
