#include "tangram/model/initial_weights.hpp"

#include <gtest/gtest.h>

#include "support/safetensors_file.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"

namespace tangram {
namespace {

TEST(InitialWeights, AddTheAdaptersProductWithItsSign) {
    const testing::TemporaryFolder folder;
    const Parameter weight{"model.q.weight", {2, 3}, ParameterKind::attention};
    testing::write_safetensors(folder / "model.safetensors", {{weight.name, {2, 3}, {1, 2, 3, 4, 5, 6}}});
    const std::string factor = "base_model.model.model.q.lora_";
    testing::write_safetensors(
        folder / "adapter_model.safetensors",
        {{factor + "A.weight", {1, 3}, {1, 2, 4}}, {factor + "B.weight", {2, 1}, {1, 3}}});
    const Weights file(folder / "model.safetensors", testing::Unrecorded()),
        adapter(folder / "adapter_model.safetensors", testing::Unrecorded());
    InitialWeights source{.file = &file, .adapter = &adapter};
    EXPECT_FALSE(source.is_adapted(weight));
    for (const double scale : {0.5, -2.0}) {
        source.merged_scale = scale;
        EXPECT_TRUE(source.is_adapted(weight));
        EXPECT_EQ(source.in_place(weight), nullptr);
        EXPECT_EQ(source.values<double>(weight),
                  (std::vector<double>{1 + scale, 2 + 2 * scale, 3 + 4 * scale, 4 + 3 * scale, 5 + 6 * scale,
                                       6 + 12 * scale}));
    }
}

}  // namespace
}  // namespace tangram
