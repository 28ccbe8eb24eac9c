#include <fmt/core.h>
#include <gtest/gtest.h>

#include "support/expect_error.hpp"
#include "support/model_fixture.hpp"

namespace tangram {
namespace {

using Names = std::vector<std::string>;

/// A fixture's config.json with other values.
Config config_of(const std::string& folder, const nlohmann::json& changes) {
    const auto file = testing::test_data() / "models" / folder / "config.json";
    nlohmann::json values = read_json(file, testing::Unrecorded());
    if (!changes.empty()) values.update(changes);
    return {file, values};
}

TEST(TrainedLabels, AreThoseOfTheConfigInTheOrderOfTheirIds) {
    EXPECT_EQ(trained_labels(config_of("bert-trained", {})), (Names{"negative", "neutral", "positive"}));
    Names many;
    nlohmann::json ids;
    for (int id = 0; id < 12; ++id) ids[std::to_string(id)] = many.emplace_back(fmt::format("n{}", id));
    EXPECT_EQ(trained_labels(config_of("bert-trained", {{"id2label", ids}, {"num_labels", 2}})), many);
    const nlohmann::json none = {{"id2label", nullptr}, {"architectures", nullptr}};
    EXPECT_EQ(trained_labels(config_of("bert-trained", none)), (Names{"LABEL_0", "LABEL_1"}));
    nlohmann::json three = none;
    three["num_labels"] = 3;
    EXPECT_EQ(trained_labels(config_of("bert-trained", three)), (Names{"LABEL_0", "LABEL_1", "LABEL_2"}));
}

TEST(TrainedLabels, OfAnotherTaskAreRefusedByKey) {
    const auto refused = [](const nlohmann::json& changes, ErrorKind kind, const char* key) {
        testing::expect_error(ExitStatus::input, kind, {"config.json", key},
                              [&] { trained_labels(config_of("bert-trained", changes)); });
    };
    refused({{"problem_type", "regression"}}, ErrorKind::unsupported, "problem_type");
    refused({{"problem_type", "multi_label_classification"}}, ErrorKind::unsupported, "problem_type");
    refused({{"architectures", {"BertForTokenClassification"}}}, ErrorKind::unsupported, "architectures");
    refused({{"id2label", {{"0", "score"}}}}, ErrorKind::unsupported, "id2label");
    refused({{"id2label", nullptr}, {"num_labels", 1}}, ErrorKind::unsupported, "num_labels");
    refused({{"id2label", nullptr}, {"num_labels", 2000000000}}, ErrorKind::out_of_range, "num_labels");
    refused({{"id2label", {{"1", "a"}, {"2", "b"}}}}, ErrorKind::malformed, "id2label");
    refused({{"id2label", {"a", "b"}}}, ErrorKind::malformed, "id2label");
}

TEST(TrainedHead, OfAModernBertReadsAsItsPoolingSays) {
    const auto means = [](const char* pooling) {
        const Program program =
            program_with_trained_head(config_of("modernbert-trained", {{"classifier_pooling", pooling}}), 3);
        return std::ranges::count_if(program.operations(), [](const Operation& operation) {
            return std::holds_alternative<operation::TokenMean>(operation);
        });
    };
    EXPECT_EQ(means("cls"), 0);
    EXPECT_EQ(means("mean"), 1);
    testing::expect_error(ExitStatus::input, ErrorKind::unsupported, {"classifier_pooling", "max"},
                          [&] { means("max"); });
}

TEST(TrainedHead, PassesOverTheFamilysPaddingWhereTheFileHasNone) {
    using Token = std::optional<std::int32_t>;
    for (const auto& [folder, token] : {std::pair{"olmo2-odd", Token(1)},
                                        {"olmo3-odd", Token(1)},
                                        {"gemma-odd", Token(0)},
                                        {"gemma2-odd", Token(0)},
                                        {"granite-odd", Token()},
                                        {"phi-odd", Token()},
                                        {"starcoder2-odd", Token()},
                                        {"stablelm-odd", Token()}}) {
        const Config config = config_of(folder, {});
        ASSERT_FALSE(config.names("pad_token_id")) << folder;
        EXPECT_EQ(token_passed_over(config, program_with_trained_head(config, 2)), token) << folder;
    }
}

TEST(TrainedHead, IsOfKindHeadAndPassesOverThePaddingOfACausalModel) {
    for (const auto& [folder, tensors] :
         {std::pair{"llama-trained", Names{"score.weight"}},
          {"gpt2-trained", {"score.weight"}},
          {"granite-trained", {"score.weight"}},
          {"bert-trained",
           {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}},
          {"roberta-trained",
           {"classifier.dense.weight", "classifier.dense.bias", "classifier.out_proj.weight",
            "classifier.out_proj.bias"}},
          {"electra-trained",
           {"classifier.dense.weight", "classifier.dense.bias", "classifier.out_proj.weight",
            "classifier.out_proj.bias"}},
          {"distilbert-trained",
           {"pre_classifier.weight", "pre_classifier.bias", "classifier.weight", "classifier.bias"}},
          {"modernbert-trained", {"head.dense.weight", "classifier.weight", "classifier.bias"}}}) {
        const Program program = program_with_trained_head(config_of(folder, {}), 3);
        Names heads;
        for (const Parameter& parameter : program.parameters())
            if (parameter.kind == ParameterKind::head) heads.push_back(parameter.name);
        EXPECT_EQ(heads, tensors) << folder;
        const bool causal = program.reading == Reading::last_token;
        EXPECT_EQ(token_passed_over(config_of(folder, {{"pad_token_id", 2}}), program),
                  causal ? std::optional<std::int32_t>(2) : std::nullopt);
        EXPECT_EQ(token_passed_over(config_of(folder, {{"pad_token_id", nullptr}}), program), std::nullopt);
    }
}

}  // namespace
}  // namespace tangram
