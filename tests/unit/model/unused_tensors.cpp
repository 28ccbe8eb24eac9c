#include "tangram/model/unused_tensors.hpp"

#include <gtest/gtest.h>

#include "support/expect_error.hpp"
#include "support/model_fixture.hpp"
#include "support/safetensors_file.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"

namespace tangram {
namespace {

using testing::StoredTensor;
using testing::test_data;

/// A folder with a fixture's config.json and its tensors, to be changed.
struct Folder {
    testing::TemporaryFolder folder;
    std::vector<StoredTensor> tensors;
    std::filesystem::path source;

    explicit Folder(const std::string& model)
        : tensors(testing::stored_tensors(test_data() / "models" / model)),
          source(test_data() / "models" / model) {}

    Program program(std::optional<Index> labels = std::nullopt) const {
        return program_of(Config(source / "config.json", testing::Unrecorded()), labels);
    }
    Weights weights() const {
        testing::write_safetensors(folder / "model.safetensors", tensors);
        return Weights(folder.path(), testing::Unrecorded());
    }
    StoredTensor& operator[](const std::string& name) {
        return *std::ranges::find(tensors, name, &StoredTensor::name);
    }
    void erase(const std::string& name) {
        std::erase_if(tensors, [&](const StoredTensor& tensor) { return tensor.name == name; });
    }
    /// What is said of the tensors that nothing uses.
    std::vector<std::string> said(bool classifier = false) const {
        return check_unused(program(classifier ? std::optional<Index>(2) : std::nullopt), weights(),
                            [&](const Parameter& parameter) {
                                return parameter.name == "score.weight" ||
                                       parameter.name.starts_with("classifier.");
                            });
    }
};

constexpr const char* models[] = {
    "llama-odd",    "llama-tied",        "llama3-odd",  "mistral-odd",    "qwen2-odd",      "gpt2-odd",
    "neo-odd",      "neox-parallel",     "neox-serial", "bert-odd",       "roberta-odd",    "qwen3-odd",
    "olmo2-odd",    "olmo3-odd",         "smollm3-odd", "phi3-odd",       "phi-odd",        "starcoder2-odd",
    "stablelm-odd", "stablelm-parallel", "granite-odd", "gemma-odd",      "gemma2-odd",     "gemma3-text",
    "gemma3-odd",   "opt-odd",           "opt-behind",  "distilbert-odd", "modernbert-odd", "electra-odd"};

TEST(UnusedTensors, AreNoneOfTheFixtures) {
    for (const char* model : models) EXPECT_TRUE(Folder(model).said().empty()) << model;
}

TEST(UnusedTensors, BuffersAndHeadsOfPretrainingPass) {
    Folder gpt2("gpt2-odd");
    gpt2.tensors.push_back({"transformer.h.0.attn.bias", {1, 1, 4, 4}});
    gpt2.tensors.push_back({"transformer.h.1.attn.masked_bias", {1}, {-1e4F}});
    EXPECT_TRUE(gpt2.said().empty());
    Folder electra("electra-odd");  // the discriminator's, which says of each token whether it was replaced
    electra.tensors.push_back({"discriminator_predictions.dense.bias", {12}, std::vector<float>(12, 1)});
    electra.tensors.push_back({"discriminator_predictions.dense_prediction.bias", {1}, {1}});
    EXPECT_TRUE(electra.said().empty());
    EXPECT_TRUE(electra.said(true).empty());
    Folder bert("bert-odd");
    bert.tensors.push_back({"bert.pooler.dense.weight", {1}, {1}});
    bert.tensors.push_back({"cls.seq_relationship.bias", {2}, {1, 1}});
    bert.tensors.push_back({"bert.embeddings.position_ids", {1, 16}});
    EXPECT_TRUE(bert.said().empty());
    EXPECT_TRUE(bert.said(true).empty());  // the language model's head is left beside
}

TEST(UnusedTensors, LanguageHeadsStayBesideANewClassifier) {
    for (const char* model : {"distilbert-odd", "modernbert-odd", "opt-odd", "gemma3-odd", "phi-odd"})
        EXPECT_TRUE(Folder(model).said(true).empty()) << model;
}

TEST(UnusedTensors, WhatReadsImagesIsNamedInOneLine) {
    Folder folder("gemma3-odd");
    folder.tensors.push_back({"vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias", {1}, {1}});
    folder.tensors.push_back({"multi_modal_projector.mm_soft_emb_norm.weight", {1}, {1}});
    ASSERT_EQ(folder.said().size(), 1U);
    EXPECT_NE(folder.said()[0].find("vision_tower"), std::string::npos) << folder.said()[0];
    // Later versions of transformers put the language model elsewhere.
    for (StoredTensor& tensor : folder.tensors) {
        constexpr std::string_view earlier = "language_model.model.";
        tensor.name = tensor.name.starts_with(earlier)
                          ? "model.language_model." + tensor.name.substr(earlier.size())
                          : "model." + tensor.name;
    }
    Weights weights = folder.weights();
    const Program program = folder.program();
    adopt_names(weights, program);
    for (const Parameter& parameter : program.parameters())
        EXPECT_NE(find_tensor(weights, parameter.name), nullptr) << parameter.name;
    EXPECT_EQ(check_unused(program, weights, [](const Parameter&) { return false; }).size(), 1U);
}

TEST(UnusedTensors, ATrainedHeadIsNamedInOneLine) {
    Folder llama("llama-odd");
    llama.tensors.push_back({"score.weight", {2, 24}, std::vector<float>(48, 1)});
    for (const bool classifier : {false, true}) {
        const auto lines = llama.said(classifier);
        ASSERT_EQ(lines.size(), 1U);
        EXPECT_NE(lines[0].find("score.weight"), std::string::npos) << lines[0];
        EXPECT_EQ(lines[0].find("drawn") != std::string::npos, classifier) << lines[0];
    }
    Folder bert("bert-odd");
    for (const char* name : {"classifier.weight", "classifier.bias", "qa_outputs.bias"})
        bert.tensors.push_back({name, {1}, {1}});
    EXPECT_EQ(bert.said(true).size(), 1U);
}

TEST(UnusedTensors, BesideATrainedHeadAreALanguageModelsAndNoneOfTheHeadsOwn) {
    const auto said = [](const Folder& folder) {
        const Config config(folder.source / "config.json", testing::Unrecorded());
        return check_unused(program_with_trained_head(config, 3), folder.weights(),
                            [](const Parameter&) { return false; });
    };
    Folder bert("bert-trained"), llama("llama-trained");
    EXPECT_TRUE(said(bert).empty());
    bert.tensors.push_back({"cls.predictions.bias", {23}, std::vector<float>(23, 1)});
    llama.tensors.push_back({"lm_head.weight", {1}, {1}});
    EXPECT_TRUE(said(bert).empty());
    EXPECT_TRUE(said(llama).empty());
    llama.tensors.push_back({"v_head.summary.bias", {1}, {1}});
    ASSERT_EQ(said(llama).size(), 1U);
    EXPECT_NE(said(llama)[0].find("v_head.summary.bias"), std::string::npos);
    for (const auto& with : {std::pair{&llama, "score.bias"}, {&bert, "classifier.dense.weight"}}) {
        with.first->tensors.push_back({with.second, {1}, {1}});
        testing::expect_error(ExitStatus::input, ErrorKind::unsupported, {"model.safetensors", with.second},
                              [&] { said(*with.first); });
    }
}

TEST(UnusedTensors, ThatArePartOfTheModelAreRefusedByName) {
    const std::pair<const char*, const char*> cases[] = {
        {"llama-odd", "model.layers.0.self_attn.q_proj.bias"},
        {"llama-odd", "model.layers.1.self_attn.q_norm.weight"},
        {"llama-odd", "model.layers.1.self_attn.q_proj.lora_A.weight"},
        {"llama-odd", "layers.1.pre_feedforward_layernorm.weight"},
        {"llama-odd", "lm_head.bias"},
        {"llama-odd", "model.embed_norm.weight"},
        {"gpt2-odd", "transformer.h.0.attn.q_proj.base_layer.weight"},
        {"gpt2-odd", "transformer.h.0.crossattention.c_attn.weight"},
        {"neox-parallel", "gpt_neox.layers.0.mlp.gate.weight"},
        {"bert-odd", "bert.encoder.layer.0.crossattention.self.query.weight"},
        {"bert-odd", "bert.embeddings.word_embeddings_2.weight"}};
    for (const auto& [model, name] : cases) {
        Folder folder(model);
        folder.tensors.push_back({name, {2}, {1, 1}});
        testing::expect_error(ExitStatus::input, ErrorKind::unsupported, {"model.safetensors", name},
                              [&] { folder.said(); });
        if (std::string_view(name) != "lm_head.bias")
            testing::expect_error(ExitStatus::input, ErrorKind::unsupported, {"model.safetensors", name},
                                  [&] { folder.said(true); });
    }
    Folder quantised("llama-odd");
    quantised.tensors.push_back({"model.layers.0.mlp.up_proj.qweight", {2, 2}});
    testing::expect_error(ExitStatus::input, ErrorKind::unsupported, {"up_proj.qweight", "integers"},
                          [&] { quantised.said(); });
}

TEST(UnusedTensors, FurtherLayersAndUnknownOnesAreALineEach) {
    Folder folder("llama-odd");
    folder.tensors.push_back({"model.layers.3.input_layernorm.weight", {24}, std::vector<float>(24, 1)});
    folder.tensors.push_back({"model.layers.4.mlp.up_proj.weight", {1}, {1}});
    for (int i = 0; i < 56; ++i) folder.tensors.push_back({"vision." + std::to_string(i), {1}, {1}});
    const auto lines = folder.said();
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_NE(lines[0].find("3, 4"), std::string::npos) << lines[0];
    EXPECT_NE(lines[1].find("vision.0"), std::string::npos) << lines[1];
    EXPECT_NE(lines[1].find("48 more"), std::string::npos) << lines[1];
}

/// Whether a network of the changed file computes what the fixture's does.
void expect_same(const Folder& folder, const std::string& taken_off) {
    const Program program = folder.program();
    Weights changed = folder.weights();
    EXPECT_EQ(adopt_names(changed, program), taken_off);
    EXPECT_TRUE(check_unused(program, changed, [](const Parameter&) { return false; }).empty());
    Network<double> ours(program, changed, {3, 7}),
        theirs(program, Weights(folder.source, testing::Unrecorded()), {3, 7});
    TokenBlock block;
    block.token_ids = {1, 5, 2, 9};
    block.offsets = {0, 4};
    block.reads = {3};
    ours.forward(block);
    theirs.forward(block);
    EXPECT_TRUE(std::ranges::equal(ours.logits(), theirs.logits()));
}

TEST(AdoptedNames, AreWithoutWhatWrappersPutThere) {
    const std::pair<const char*, const char*> all[] = {{"_orig_mod.", "_orig_mod."},
                                                       {"module.", "module."},
                                                       {"base_model.model.", "base_model.model."},
                                                       {"module._orig_mod.", "_orig_mod., module."}};
    for (const char* model : models)
        for (const auto& [prefix, taken_off] : all) {
            Folder folder(model);
            folder.tensors.push_back({"x.rotary_emb.inv_freq", {1}});
            for (StoredTensor& tensor : folder.tensors) tensor.name = prefix + tensor.name;
            SCOPED_TRACE(model);
            expect_same(folder, taken_off);
        }
    Folder inner("gpt2-odd");
    for (StoredTensor& tensor : inner.tensors)
        if (const auto at = tensor.name.find("h.1."); at != std::string::npos)
            tensor.name.insert(at + 4, "_checkpoint_wrapped_module.");
    expect_same(inner, "_checkpoint_wrapped_module.");
}

TEST(AdoptedNames, OfSomeTensorsAloneAreLeft) {
    Folder folder("gpt2-odd");
    folder.tensors.front().name = "module." + folder.tensors.front().name;
    Weights weights = folder.weights();
    EXPECT_EQ(adopt_names(weights, folder.program()), "");
    // One message: the line of what nothing uses, and the tensor that is missing.
    EXPECT_EQ(check_unused(folder.program(), weights, [](const Parameter&) { return false; }).size(), 1U);
    // Two tensors of one name.
    Folder twice("gpt2-odd");
    twice.tensors.push_back(twice.tensors.front());
    twice.tensors.back().name = "_orig_mod." + twice.tensors.back().name;
    Weights both = twice.weights();
    testing::expect_error(ExitStatus::input, ErrorKind::contradiction,
                          {"model.safetensors", twice.tensors.front().name, "wrapper"},
                          [&] { adopt_names(both, twice.program()); });
}

TEST(AdoptedNames, OfATiedTensorStoredOnlyAsItsCopy) {
    const std::tuple<const char*, const char*, const char*> cases[] = {
        {"llama-tied", "model.embed_tokens.weight", "lm_head.weight"},
        {"gpt2-odd", "transformer.wte.weight", "lm_head.weight"},
        {"neo-odd", "transformer.wte.weight", "lm_head.weight"},
        {"bert-odd", "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"},
        {"bert-odd", "cls.predictions.bias", "cls.predictions.decoder.bias"},
        {"electra-odd", "electra.embeddings.word_embeddings.weight", "generator_lm_head.weight"},
        {"roberta-odd", "lm_head.bias", "lm_head.decoder.bias"}};
    for (const auto& [model, own, copy] : cases) {
        SCOPED_TRACE(copy);
        Folder folder(model);
        ASSERT_TRUE(std::ranges::count(folder.tensors, own, &StoredTensor::name)) << own;
        folder[own].name = copy;
        expect_same(folder, "");
    }
}

}  // namespace
}  // namespace tangram
