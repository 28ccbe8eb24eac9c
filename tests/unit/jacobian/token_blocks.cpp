#include "tangram/jacobian/token_blocks.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "tangram/arithmetic.hpp"

namespace tangram {
namespace {

Program program_of_width(Index width) {
    Program program;
    const ParameterId table = program.parameter("table", {10, width}, ParameterKind::embedding);
    program.label_logits(program.at_reads(program.embedding(table)), table);
    return program;
}

DataSet data_of(const std::vector<Index>& tokens) {
    DataSet data;
    for (const Index count : tokens)
        data.append(std::vector<std::int32_t>(static_cast<std::size_t>(count), 0), 0, data.examples());
    return data;
}

TEST(ExamplesPerBlock, AreFewerWhereTheLongestWouldTakeTooMuchMemory) {
    const DataSet data = data_of({5, 64, 20});
    // Bytes of a token's activations and gradients; the last width has those of 64 tokens in the whole bound.
    constexpr Index whole = arithmetic::block_bytes / (2 * 64 * 4);
    EXPECT_EQ(examples_per_block(data, program_of_width(64), 4), arithmetic::examples_per_block);
    EXPECT_EQ(examples_per_block(data, program_of_width(whole / 16), 4), 16);
    EXPECT_EQ(examples_per_block(data, program_of_width(whole / 16), 8), 8);
    EXPECT_EQ(examples_per_block(data, program_of_width(whole / 5), 4), 5);
    EXPECT_EQ(examples_per_block(data, program_of_width(whole), 4), 1);
    EXPECT_EQ(examples_per_block(data, program_of_width(10 * whole), 4), 1);
    EXPECT_EQ(examples_per_block(data_of({4, 4}), program_of_width(whole), 4), 16);
}

TEST(ExamplesPerBlock, AreAsManySequencesWhereAnswersAreScored) {
    DataSet data;
    for (Index e = 0; e < 2; ++e) {
        data.append(std::vector<std::int32_t>{1, 2}, 0, e);
        data.append_answers(std::vector<std::int32_t>{4, 9, 5}, std::vector<Index>{0, 1, 2, 3});
    }
    EXPECT_EQ(examples_per_block(data, program_of_width(8), 4), 5);
}

}  // namespace
}  // namespace tangram
