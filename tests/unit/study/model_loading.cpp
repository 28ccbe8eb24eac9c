#include "tangram/study/model_loading.hpp"

#include <gtest/gtest.h>

#include "support/expect_error.hpp"
#include "support/model_fixture.hpp"
#include "support/unrecorded.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {
namespace {

LoadedModel opened(const std::string& folder, std::optional<Index> labels = std::nullopt) {
    LoadedModel model;
    model.program =
        program_of(Config(testing::test_data() / folder / "config.json", testing::Unrecorded()), labels);
    model.weights.emplace(testing::test_data() / folder, testing::Unrecorded());
    return model;
}

/// Of all parameters, or of those with so many dimensions.
double entries(const Program& program, std::size_t dimensions = 0) {
    double sum = 0;
    for (const Parameter& parameter : program.parameters())
        if (dimensions == 0 || parameter.shape.size() == dimensions)
            sum += static_cast<double>(parameter.size());
    return sum;
}

void expect_bytes(const WeightBytes& found, double own, double shared) {
    EXPECT_EQ(found.own, own);
    EXPECT_EQ(found.shared, shared);
}

TEST(WeightBytes, CountMappedTensorsOnceAndVectorsWithTheirCopy) {
    const LoadedModel model = opened("neo-mini");
    double stored = 0;
    for (const TensorView& tensor : model.weights->tensors()) {
        ASSERT_EQ(tensor.dtype, DType::F32);
        stored += static_cast<double>(tensor.bytes.size());
    }
    const double of_all = entries(model.program), of_vectors = entries(model.program, 1);
    EXPECT_LE(4 * of_all, stored);
    expect_bytes(weight_bytes<float>(model, Study()), 4 * of_vectors, 4 * of_all);
    expect_bytes(weight_bytes<double>(model, Study()), 8 * of_vectors, 4 * of_all);
}

TEST(WeightBytes, LeaveTransposedTensorsInTheFile) {
    const LoadedModel model = opened("models/gpt2-odd");
    expect_bytes(weight_bytes<float>(model, Study()), 4 * entries(model.program, 1),
                 4 * entries(model.program));
}

TEST(WeightBytes, CountDrawnTensors) {
    LoadedModel model = opened("neo-mini");
    model.weights.reset();
    double largest = 0;  // is drawn before it is where the ranks of a host share it
    for (const Parameter& parameter : model.program.parameters())
        largest = std::max(largest, static_cast<double>(parameter.size()));
    const double vectors = entries(model.program, 1);
    expect_bytes(weight_bytes<float>(model, Study()), 4 * (vectors + largest),
                 4 * (entries(model.program) - vectors));
}

TEST(WeightBytes, NameATensorThatIsMissingOrOfAnotherShape) {
    LoadedModel model = opened("neo-mini");
    model.program.parameter("transformer.h.9.attn.weight", {2, 2}, ParameterKind::attention);
    testing::expect_error(ExitStatus::input, ErrorKind::missing, {"transformer.h.9.attn.weight"},
                          [&] { weight_bytes<float>(model, Study()); });
    LoadedModel other = opened("neo-mini");
    other.program.parameter("transformer.wte.weight", {2, 2}, ParameterKind::embedding);
    testing::expect_error(ExitStatus::input, ErrorKind::contradiction, {"transformer.wte.weight", "[2, 2]"},
                          [&] { weight_bytes<float>(other, Study()); });
}

TEST(Labels, GiveAHeadOfItsOwnItsRows) {
    for (const char* const folder : {"neo-mini", "bert-mini"}) {
        Program program = opened(folder, 1).program;
        program.set_labels(7);
        const Program whole = opened(folder, 7).program;
        ASSERT_EQ(program.parameters().size(), whole.parameters().size());
        for (std::size_t p = 0; p < whole.parameters().size(); ++p) {
            EXPECT_EQ(program.parameters()[p].name, whole.parameters()[p].name);
            EXPECT_EQ(program.parameters()[p].shape, whole.parameters()[p].shape);
        }
    }
}

}  // namespace
}  // namespace tangram
