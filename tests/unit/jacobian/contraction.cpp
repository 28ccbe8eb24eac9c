#include "tangram/jacobian/contraction.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "tangram/jacobian/selection.hpp"
#include "tangram/model/architectures.hpp"

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

// Two layers of width 8, a fourth of it for keys and values, 12 in the middle: entries of each weight by
// hand.
TEST(PassFlops, GoBackOnlyToWhatIsSelected) {
    const Program program = program_of(Config("config.json", {{"model_type", "llama"},
                                                              {"vocab_size", 50},
                                                              {"hidden_size", 8},
                                                              {"num_attention_heads", 4},
                                                              {"num_key_value_heads", 1},
                                                              {"num_hidden_layers", 2},
                                                              {"intermediate_size", 12},
                                                              {"max_position_embeddings", 32}}));
    constexpr double q = 64, kv = 2 * 16, o = 64, gate_up = 2 * 96, down = 96;
    constexpr double tokens = 10, reads = 3;  // of the last layer only what is read goes on behind k and v
    constexpr double first = tokens * (q + kv + o + gate_up + down),
                     last = tokens * kv + reads * (q + o + gate_up + down);
    const auto backward = [&](const char* pattern) {
        const auto selected = select_parameters(program, {pattern});
        const PassedRows rows{3, 10, 3};
        EXPECT_EQ(pass_flops(program, selected, rows, 0), 2 * (first + last)) << pattern;
        return pass_flops(program, selected, rows, 2) - pass_flops(program, selected, rows, 1);
    };
    EXPECT_EQ(backward("*"), 2 * (first + last));
    EXPECT_EQ(backward("model.layers.0.input_layernorm.weight"), 2 * (first + last));
    EXPECT_EQ(backward("model.layers.0.self_attn.k_proj.weight"), 2 * (first - tokens * (q + kv) + last));
    EXPECT_EQ(backward("model.layers.1.self_attn.o_proj.weight"), 2 * reads * (gate_up + down));
    EXPECT_EQ(backward("model.norm.weight"), 0);
}

}  // namespace
}  // namespace tangram
