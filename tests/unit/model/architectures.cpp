#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>

#include "support/expect_error.hpp"
#include "support/model_fixture.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"
#include "tangram/error.hpp"

namespace tangram {
namespace {

using testing::test_data;

TEST(Architectures, WhatTheyDoNotSupportIsNamed) {
    const testing::TemporaryFolder folder;
    const auto refused = [&](ErrorKind kind, const char* model, const char* key,
                             const nlohmann::json& value) {
        nlohmann::json config =
            read_json(test_data() / "models" / model / "config.json", testing::Unrecorded());
        config[key] = value;
        const auto file = folder.path() / "config.json";
        std::ofstream(file) << config;
        testing::expect_error(ExitStatus::input, kind, {"config.json", key},
                              [&] { program_of(Config(file, testing::Unrecorded())); });
    };
    refused(ErrorKind::unsupported, "gpt2-odd", "model_type", "mamba");
    refused(ErrorKind::unsupported, "gpt2-odd", "activation_function", "gelu_10");
    refused(ErrorKind::contradiction, "gpt2-odd", "n_head", 5);
    refused(ErrorKind::unsupported, "gpt2-odd", "add_cross_attention", true);
    refused(ErrorKind::unsupported, "gpt2-odd", "quantization_config", {{"bits", 4}});
    refused(ErrorKind::contradiction, "neox-parallel", "rotary_pct", 0.4);
    refused(ErrorKind::out_of_range, "neox-parallel", "rotary_pct", 1.5);
    refused(ErrorKind::unsupported, "llama3-odd", "rope_scaling", {{"rope_type", "ntk"}, {"factor", 2.0}});
    refused(ErrorKind::missing, "llama3-odd", "rope_scaling", {{"rope_type", "yarn"}});
    refused(ErrorKind::missing, "llama3-odd", "rope_scaling", {{"rope_type", "dynamic"}});
    refused(ErrorKind::out_of_range, "llama3-odd", "rope_scaling",
            {{"rope_type", "yarn"}, {"factor", 2.0}, {"beta_fast", -1}});
    refused(ErrorKind::missing, "llama3-odd", "rope_scaling", {{"rope_type", "llama3"}, {"factor", 2.0}});
    refused(ErrorKind::missing, "llama3-odd", "rope_scaling", {{"type", "linear"}});
    refused(ErrorKind::contradiction, "llama3-odd", "num_key_value_heads", 3);
    refused(ErrorKind::missing, "qwen2-odd", "sliding_window", nullptr);
    refused(ErrorKind::out_of_range, "mistral-odd", "sliding_window", 0);
    refused(ErrorKind::unsupported, "bert-odd", "position_embedding_type", "relative_key");
    refused(ErrorKind::unsupported, "bert-odd", "is_decoder", true);
    refused(ErrorKind::unsupported, "bert-odd", "pruned_heads", {{"1", {0}}});
    refused(ErrorKind::missing, "mistral-odd", "num_key_value_heads", nullptr);
    refused(ErrorKind::missing, "qwen2-odd", "num_key_value_heads", nullptr);
    refused(ErrorKind::unsupported, "llama3-odd", "partial_rotary_factor", 0.5);
    refused(ErrorKind::missing, "llama3-odd", "rope_scaling", {{"factor", 2.0}});
    refused(ErrorKind::unsupported, "llama3-odd", "rope_scaling",
            {{"full_attention", {{"rope_type", "default"}}}});
    refused(ErrorKind::out_of_range, "neox-parallel", "rope_parameters", {{"partial_rotary_factor", 1.5}});
    refused(ErrorKind::out_of_range, "roberta-odd", "max_position_embeddings", 2);
    refused(ErrorKind::out_of_range, "electra-odd", "embedding_size", 0);
    refused(ErrorKind::unsupported, "bert-odd", "model_type", "xlm-roberta-xl");
    refused(ErrorKind::unsupported, "opt-odd", "layer_norm_elementwise_affine", false);
    refused(ErrorKind::unsupported, "distilbert-odd", "sinusoidal_pos_embds", true);
    for (const char* factor :
         {"embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"})
        refused(ErrorKind::out_of_range, "granite-odd", factor, 0);
    refused(ErrorKind::contradiction, "phi-odd", "partial_rotary_factor", 0.5);  // three of six entries
    refused(ErrorKind::contradiction, "stablelm-odd", "partial_rotary_factor", 0.5);
    refused(ErrorKind::contradiction, "stablelm-odd", "head_dim", 8);
    refused(ErrorKind::unsupported, "starcoder2-odd", "mlp_type", "gated");
    refused(ErrorKind::unsupported, "starcoder2-odd", "norm_type", "rms_norm");
    refused(ErrorKind::contradiction, "starcoder2-odd", "layer_norm_epsilon", 1e-3);
    refused(ErrorKind::unsupported, "gemma2-odd", "torch_dtype", "float64");
    refused(ErrorKind::unsupported, "gemma-odd", "layer_types", {"full_attention", "sliding_attention"});
    refused(ErrorKind::out_of_range, "gemma2-odd", "attn_logit_softcapping", 0);
    refused(ErrorKind::out_of_range, "gemma2-odd", "query_pre_attn_scalar", -1);
    refused(ErrorKind::unsupported, "gemma3-text", "attn_logit_softcapping", 50);
    refused(ErrorKind::unsupported, "gemma3-text", "sliding_window", nullptr);
    for (const char* model :
         {"olmo2-odd", "smollm3-odd", "starcoder2-odd", "granite-odd", "gemma-odd", "gemma2-odd"})
        for (const char* place : {"rope_scaling", "rope_parameters"})
            refused(ErrorKind::unsupported, model, place, {{"partial_rotary_factor", 0.5}});
    refused(ErrorKind::contradiction, "smollm3-odd", "no_rope_layers", {1, 0});
    refused(ErrorKind::malformed, "smollm3-odd", "no_rope_layers", {1, 0, 2});
    refused(ErrorKind::unsupported, "smollm3-odd", "use_sliding_window", false);
    refused(ErrorKind::contradiction, "phi3-odd", "partial_rotary_factor", 0.4);
    refused(ErrorKind::malformed, "phi3-odd", "rope_scaling",
            {{"type", "su"}, {"short_factor", {1, 1}}, {"long_factor", {1, 1, 1}}});
    refused(ErrorKind::malformed, "phi3-odd", "rope_scaling",
            {{"type", "su"}, {"short_factor", {1, 1, 1}}, {"long_factor", {1, 0, 1}}});
    refused(ErrorKind::out_of_range, "modernbert-odd", "local_attention", 1);
    refused(ErrorKind::unsupported, "olmo3-odd", "sliding_window", nullptr);
    refused(ErrorKind::unsupported, "olmo3-odd", "rope_scaling", {{"partial_rotary_factor", 0.5}});
    refused(ErrorKind::contradiction, "olmo3-odd", "layer_types", {"full_attention"});
    for (const char* type : {"deberta-v2", "t5", "vit", "olmo"})
        refused(ErrorKind::unsupported, "gpt2-odd", "model_type", type);
}

TEST(Architectures, XlmRobertaAndCamembertAreRoberta) {
    // Outputs of the reference for RoBERTa, by both names, as a masked model and with the trained head.
    for (const char* model : {"roberta-odd", "roberta-trained"}) {
        const auto source = test_data() / "models" / model;
        nlohmann::json config = read_json(source / "config.json", testing::Unrecorded());
        for (const char* const type : {"xlm-roberta", "camembert"}) {
            const testing::TemporaryFolder parent;
            const testing::ModelFixture fixture{parent.path() / model,
                                                read_json(source / "fixture.json", testing::Unrecorded())};
            std::filesystem::create_directory(fixture.folder);
            std::filesystem::copy(source / "model.safetensors", fixture.folder / "model.safetensors");
            config["model_type"] = type;
            std::ofstream(fixture.folder / "config.json") << config;
            Network<double> network(fixture.program(), Weights(fixture.folder, testing::Unrecorded()),
                                    fixture.vocabulary_ids());
            for (const auto& example : fixture.reference["examples"]) {
                SCOPED_TRACE(fmt::format("{} as {}", model, type));
                const auto ids = example["ids"].get<std::vector<std::int32_t>>();
                network.forward({ids, {0, std::ssize(ids)}, {example["read"].get<Index>()}});
                const auto outputs = example["outputs"].get<std::vector<double>>();
                ASSERT_EQ(network.logits().size(), outputs.size());
                for (std::size_t c = 0; c < outputs.size(); ++c)
                    EXPECT_NEAR(network.logits()[c], outputs[c], 1e-12);
            }
        }
    }
}

TEST(Architectures, SizesOfNoModelAreRefusedBeforeTheyTakeMemory) {
    const testing::TemporaryFolder folder;
    const auto refused = [&](ErrorKind kind, const char* model, const nlohmann::json& change,
                             std::initializer_list<std::string> names) {
        nlohmann::json config =
            read_json(test_data() / "models" / model / "config.json", testing::Unrecorded());
        config.update(change);
        const auto file = folder.path() / "config.json";
        std::ofstream(file) << config;
        testing::expect_error(ExitStatus::input, kind, {"config.json"},
                              [&] { program_of(Config(file, testing::Unrecorded())); });
        testing::expect_error(ExitStatus::input, kind, names,
                              [&] { program_of(Config(file, testing::Unrecorded())); });
    };
    constexpr Index huge = 2147483647;
    refused(ErrorKind::out_of_range, "gpt2-odd", {{"n_layer", huge}}, {"n_layer = 2147483647", "4096"});
    refused(ErrorKind::out_of_range, "gpt2-odd", {{"n_layer", 4097}}, {"n_layer = 4097", "4096"});
    refused(ErrorKind::out_of_range, "gpt2-odd", {{"n_embd", huge}, {"n_head", huge}},
            {"n_embd = 2147483647", "1048576"});
    refused(ErrorKind::out_of_range, "gpt2-odd", {{"n_inner", huge}}, {"n_inner = 2147483647", "1048576"});
    refused(ErrorKind::out_of_range, "neo-odd", {{"vocab_size", huge}},
            {"vocab_size = 2147483647", "268435456"});
    refused(ErrorKind::out_of_range, "neo-odd",
            {{"num_layers", huge}, {"attention_types", {{{"global"}, huge}}}}, {"num_layers = "});
    refused(ErrorKind::out_of_range, "llama-odd", {{"num_hidden_layers", huge}},
            {"num_hidden_layers = 2147483647"});
    refused(ErrorKind::out_of_range, "llama-odd", {{"head_dim", huge - 1}},
            {"head_dim = 2147483646", "4096"});
    refused(ErrorKind::out_of_range, "llama-odd", {{"num_key_value_heads", huge}},
            {"num_key_value_heads = 2147483647"});
    refused(ErrorKind::out_of_range, "bert-odd", {{"intermediate_size", 18446744073709551615u}},
            {"intermediate_size = 1844674"});
    refused(ErrorKind::out_of_range, "bert-odd", {{"type_vocab_size", -1}}, {"type_vocab_size = -1"});
    refused(ErrorKind::out_of_range, "neox-parallel", {{"hidden_size", huge}, {"num_attention_heads", huge}},
            {"hidden_size = "});
    refused(ErrorKind::out_of_range, "neox-parallel", {{"hidden_size", 1 << 20}, {"num_attention_heads", 1}},
            {"num_attention_heads = 1", "1048576", "4096"});
    refused(ErrorKind::out_of_range, "llama-odd",
            {{"hidden_size", 1 << 20}, {"num_attention_heads", 2}, {"head_dim", nullptr}},
            {"num_attention_heads = 2", "524288", "4096"});
    refused(ErrorKind::out_of_range, "distilbert-odd", {{"n_layers", huge}}, {"n_layers = ", "4096"});
    refused(ErrorKind::out_of_range, "distilbert-odd", {{"dim", huge}, {"n_heads", huge}}, {"dim = "});
    refused(ErrorKind::out_of_range, "distilbert-odd", {{"hidden_dim", huge}}, {"hidden_dim = "});
    refused(ErrorKind::out_of_range, "opt-odd", {{"ffn_dim", huge}}, {"ffn_dim = "});
    refused(ErrorKind::out_of_range, "opt-odd", {{"word_embed_proj_dim", huge}}, {"word_embed_proj_dim = "});
    // Kinds of layers that are none, again and again.
    nlohmann::json nothing = {{"attention_types", {{nlohmann::json::array(), 18446744073709551615u}}},
                              {"attention_layers", nullptr}};
    refused(ErrorKind::contradiction, "neo-odd", nothing, {"attention_types", "num_layers"});
}

TEST(Architectures, LinearScalingAndNewerKeysOfRotaryPositions) {
    const testing::TemporaryFolder folder;
    const auto frequencies = [&](const nlohmann::json& change, const char* without = "") {
        nlohmann::json config =
            read_json(test_data() / "models" / "llama3-odd" / "config.json", testing::Unrecorded());
        config.update(change);
        config.erase(without);
        const auto file = folder.path() / "config.json";
        std::ofstream(file) << config;
        const Program program = program_of(Config(file, testing::Unrecorded()));
        for (const Operation& operation : program.operations())
            if (const auto* const rotary = std::get_if<operation::Rotary>(&operation))
                return rotary->angles.frequencies;
        return std::vector<double>();
    };
    const auto plain = frequencies({{"rope_scaling", nullptr}});
    ASSERT_EQ(plain.size(), 5u);
    EXPECT_EQ(plain[0], 1.0);
    EXPECT_NEAR(plain[1], std::pow(1000.0, -0.2), 1e-15);
    const auto halved = frequencies({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}});
    for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_EQ(halved[i], plain[i] / 2);
    const auto scaled = frequencies(nlohmann::json::object());
    // Newer files keep both keys in one object.
    nlohmann::json rope = read_json(test_data() / "models" / "llama3-odd" / "config.json",
                                    testing::Unrecorded())["rope_scaling"];
    rope["rope_theta"] = 1000.0;
    EXPECT_EQ(frequencies({{"rope_parameters", rope}, {"rope_scaling", nullptr}}, "rope_theta"), scaled);
    EXPECT_NE(scaled, plain);
}

/// The program of a fixture's config.json with changes, and what was noted of it.
std::pair<Program, std::vector<std::string>> changed(const char* model, const nlohmann::json& changes,
                                                     const char* without = "") {
    nlohmann::json values = read_json(test_data() / "models" / model / "config.json", testing::Unrecorded());
    values.update(changes);
    values.erase(without);
    const Config config("config.json", values);
    Program program = program_of(config);
    return {std::move(program), config.notes()};
}

/// Operations of one kind.
template <class AnOperation>
std::vector<AnOperation> operations_of(const Program& program) {
    std::vector<AnOperation> found;
    for (const Operation& operation : program.operations())
        if (const auto* const one = std::get_if<AnOperation>(&operation)) found.push_back(*one);
    return found;
}

RotaryAngles angles_of(const char* model, const nlohmann::json& changes) {
    return operations_of<operation::Rotary>(changed(model, changes).first).front().angles;
}

TEST(RotaryScaling, IsThatOfThePublishedRules) {
    const RotaryAngles plain = angles_of("llama3-odd", {{"rope_scaling", nullptr}});
    EXPECT_EQ(angles_of("llama3-odd", {{"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 4.0}}}}),
              plain);
    // Base 1000, five pairs of entries: pair i turns 64 * 1000^(-i/5) / 2 pi times in 64 tokens. It is turned
    // 4 times at i = 0.678, once at i = 1.679, which are rounded outwards unless truncate says otherwise.
    const nlohmann::json yarn{{"rope_type", "yarn"}, {"factor", 2.0}, {"beta_fast", 4}};
    const auto kept = [&](const char* key, const nlohmann::json& value) {
        nlohmann::json rule = yarn;
        rule[key] = value;
        const RotaryAngles angles = angles_of("llama3-odd", {{"rope_scaling", rule}});
        std::vector<double> shares;
        for (std::size_t i = 0; i < 5; ++i)
            shares.push_back(2 * angles.frequencies[i] / plain.frequencies[i] - 1);
        return std::pair{shares, angles.factor};
    };
    const auto [rounded, factor] = kept("truncate", true);
    const double expected[] = {1, 0.5, 0, 0, 0};
    for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(rounded[i], expected[i], 1e-14);
    EXPECT_NEAR(factor, 1 + 0.1 * std::log(2.0), 1e-15);
    const double first = 5 * std::log(64 / (4 * 2 * M_PI)) / std::log(1000.0),
                 last = 5 * std::log(64 / (2 * M_PI)) / std::log(1000.0);
    EXPECT_NEAR(kept("truncate", false).first[1], 1 - (1 - first) / (last - first), 1e-14);
    EXPECT_EQ(kept("attention_factor", 1.5).second, 1.5);
    nlohmann::json both = yarn;
    both["mscale"] = 2.0;
    both["mscale_all_dim"] = 1.0;
    EXPECT_NEAR(angles_of("llama3-odd", {{"rope_scaling", both}}).factor,
                (1 + 0.2 * std::log(2.0)) / (1 + 0.1 * std::log(2.0)), 1e-15);
    // The trained length: versions of transformers differ, and a note says so.
    nlohmann::json shorter = yarn;
    shorter["original_max_position_embeddings"] = 32;
    const auto [program, notes] = changed("llama3-odd", {{"rope_scaling", shorter}});
    ASSERT_EQ(notes.size(), 1U);
    EXPECT_NE(notes[0].find("rope_scaling.original_max_position_embeddings"), std::string::npos) << notes[0];
    // Phi-3's older names of one rule.
    const nlohmann::json lists{{"short_factor", {1, 2, 3}}, {"long_factor", {4, 5, 6}}};
    for (const char* name : {"su", "yarn", "longrope"}) {
        nlohmann::json rule = lists;
        rule["type"] = name;
        const RotaryAngles angles = angles_of("phi3-odd", {{"rope_scaling", rule}});
        EXPECT_EQ(angles.longest, 8);
        EXPECT_NEAR(angles.frequencies[1] / angles.long_frequencies[1], 2.5, 1e-15);
        EXPECT_NEAR(angles.factor, std::sqrt(1 + std::log(8.0) / std::log(8.0)), 1e-15);
    }
}

TEST(RotaryScaling, BesideSettingsOfEachKindOfLayersRepeatsThemOrIsRefused) {
    const nlohmann::json scaling{{"rope_type", "linear"}, {"factor", 4.0}};
    for (const char* const model : {"gemma3-text", "modernbert-odd"}) {
        nlohmann::json full = scaling, sliding{{"rope_type", "default"}, {"rope_theta", 500.0}};
        full["rope_theta"] = 2000.0;
        const bool alone = std::string_view(model) == "gemma3-text";  // its windows turn without scaling
        if (!alone) sliding.update(scaling);
        const auto with = [&](const nlohmann::json& older, const nlohmann::json& of_full) {
            return changed(model, {{"rope_scaling", older},
                                   {"rope_parameters",
                                    {{"full_attention", of_full}, {"sliding_attention", sliding}}}})
                .first;
        };
        const auto angles = [](const Program& program) {
            std::vector<RotaryAngles> all;
            for (const auto& rotary : operations_of<operation::Rotary>(program)) all.push_back(rotary.angles);
            return all;
        };
        EXPECT_EQ(angles(with(scaling, full)), angles(with(nullptr, full))) << model;
        nlohmann::json other = full;
        other["factor"] = 2.0;
        for (const nlohmann::json& disagreeing : {other, nlohmann::json{{"rope_theta", 2000.0}}})
            testing::expect_error(ExitStatus::input, ErrorKind::contradiction,
                                  {"rope_scaling", "rope_parameters", "factor"},
                                  [&] { with(scaling, disagreeing); });
    }
}

TEST(Architectures, AbsentKeysTakeTransformersDefaults) {
    // As google/gemma-3-4b-it has them, smaller.
    const Config config("config.json", {{"model_type", "gemma3"},
                                        {"torch_dtype", "bfloat16"},
                                        {"text_config",
                                         {{"hidden_size", 80},
                                          {"intermediate_size", 40},
                                          {"model_type", "gemma3_text"},
                                          {"num_hidden_layers", 7},
                                          {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}},
                                          {"sliding_window", 1024}}},
                                        {"vision_config", {{"hidden_size", 8}}}});
    const Program gemma = program_of(config);
    EXPECT_EQ(gemma.vocabulary_size, 262208);
    EXPECT_EQ(gemma.maximum_length, 131072);
    const auto attentions = operations_of<operation::Attention>(gemma);
    const auto rotaries = operations_of<operation::Rotary>(gemma);
    for (std::size_t layer = 0; layer < 7; ++layer) {
        const bool everywhere = layer == 5;
        EXPECT_EQ(attentions[layer].window, everywhere ? std::nullopt : std::optional<Index>(1024));
        EXPECT_EQ(attentions[layer].heads, 8);
        EXPECT_EQ(attentions[layer].key_value_heads, 4);
        EXPECT_EQ(attentions[layer].head_size, 256);
        EXPECT_EQ(attentions[layer].scale, 1.0 / 16);
        EXPECT_FALSE(attentions[layer].cap);
        EXPECT_NEAR(rotaries[2 * layer].angles.frequencies[64],
                    everywhere ? std::pow(1e6, -0.5) / 8 : std::pow(1e4, -0.5), 1e-15);
    }
    EXPECT_EQ(operations_of<operation::Scale>(gemma).front().factor, 8.9375);  // sqrt(80) in eight bits
    EXPECT_FALSE(operations_of<operation::LabelLogits>(gemma).front().cap);
    // Absent caps are Gemma 2's own, null ones are none.
    const auto caps = [](const Program& program) {
        return std::pair{operations_of<operation::Attention>(program).front().cap,
                         operations_of<operation::LabelLogits>(program).front().cap};
    };
    EXPECT_EQ(
        caps(changed("gemma2-odd", {{"final_logit_softcapping", nullptr}}, "attn_logit_softcapping").first),
        std::pair(std::optional(50.0), std::optional<double>()));
    EXPECT_EQ(
        caps(changed("gemma2-odd", {{"attn_logit_softcapping", nullptr}}, "final_logit_softcapping").first),
        std::pair(std::optional<double>(), std::optional(30.0)));
    const auto head_size = [](const Program& program) {
        return operations_of<operation::Attention>(program).front().head_size;
    };
    EXPECT_EQ(head_size(changed("qwen3-odd", {{"rope_scaling", nullptr}}, "head_dim").first), 128);
    EXPECT_EQ(head_size(changed("gemma2-odd", nlohmann::json::object(), "head_dim").first), 256);
    const Program gemma1 = changed("gemma-odd", {{"num_attention_heads", nullptr}}, "head_dim").first;
    EXPECT_EQ(head_size(gemma1), 256);
    EXPECT_EQ(operations_of<operation::Attention>(gemma1).front().scale, 1.0 / 16);
    EXPECT_EQ(operations_of<operation::Scale>(gemma1).front().factor, 2.828125);  // sqrt(8) in eight bits
    ASSERT_EQ(changed("gemma-odd", {{"tie_word_embeddings", nullptr}}).first.copies().size(), 1U);
    // Granite's factors are one, that of scores too.
    nlohmann::json absent;
    for (const char* factor :
         {"embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"})
        absent[factor] = nullptr;
    const Program granite = changed("granite-odd", absent, "tie_word_embeddings").first;
    EXPECT_EQ(operations_of<operation::Attention>(granite).front().scale, 1.0);
    for (const auto& scale : operations_of<operation::Scale>(granite)) EXPECT_EQ(scale.factor, 1.0);
    for (const auto& add : operations_of<operation::Add>(granite)) EXPECT_EQ(add.factor, 1.0);
    EXPECT_TRUE(granite.copies().empty());
    // Phi: half of each head turns.
    const Program phi = changed("phi-odd", {{"hidden_size", 16}}, "partial_rotary_factor").first;
    EXPECT_EQ(operations_of<operation::Rotary>(phi).front().angles.frequencies.size(), 2U);
    EXPECT_EQ(operations_of<operation::Attention>(
                  changed("phi-odd", nlohmann::json::object(), "num_key_value_heads").first)
                  .front()
                  .key_value_heads,
              2);
    const Program tied = changed("phi-odd", {{"tie_word_embeddings", true}}).first;  // but for the bias
    EXPECT_EQ(tied.copies().size(), 1U);
    EXPECT_EQ(tied.parameters().back().name, "lm_head.bias");
    EXPECT_TRUE(changed("phi-odd", nlohmann::json::object(), "tie_word_embeddings").first.copies().empty());
    // StableLM: a quarter of each head turns, no biases, one part behind the other.
    const Program stable = changed("stablelm-odd",
                                   {{"hidden_size", 16},
                                    {"use_qkv_bias", nullptr},
                                    {"use_parallel_residual", nullptr},
                                    {"tie_word_embeddings", nullptr}},
                                   "partial_rotary_factor")
                               .first;
    EXPECT_EQ(operations_of<operation::Rotary>(stable).front().angles.frequencies.size(), 1U);
    for (const auto& linear : operations_of<operation::Linear>(stable)) EXPECT_FALSE(linear.bias);
    EXPECT_EQ(operations_of<operation::LayerNorm>(stable).size(), 5U);
    EXPECT_TRUE(stable.copies().empty());
    // StarCoder2: two heads of keys, no window, biases, a tied head.
    const Program starcoder =
        changed("starcoder2-odd",
                {{"num_attention_heads", 6}, {"sliding_window", nullptr}, {"use_bias", nullptr}},
                "num_key_value_heads")
            .first;
    EXPECT_EQ(operations_of<operation::Attention>(starcoder).front().key_value_heads, 2);
    EXPECT_FALSE(operations_of<operation::Attention>(starcoder).front().window);
    EXPECT_EQ(starcoder.copies().size(), 1U);
    for (const auto& linear : operations_of<operation::Linear>(starcoder)) EXPECT_TRUE(linear.bias);
    for (const auto& linear :
         operations_of<operation::Linear>(changed("starcoder2-odd", {{"use_bias", false}}).first))
        EXPECT_FALSE(linear.bias);
    // SmolLM3: every fourth layer is left unturned.
    const Program smollm = changed("smollm3-odd", {{"num_hidden_layers", 8},
                                                   {"no_rope_layers", nullptr},
                                                   {"no_rope_layer_interval", nullptr},
                                                   {"layer_types", nullptr},
                                                   {"use_sliding_window", false}})
                               .first;
    EXPECT_EQ(operations_of<operation::Rotary>(smollm).size(), 12U);
    // OPT: a norm at the end unless the file is of before transformers 4.20.
    const auto norms = [](const nlohmann::json& changes) {
        return operations_of<operation::LayerNorm>(changed("opt-odd", changes).first).size();
    };
    EXPECT_EQ(norms(nlohmann::json::object()), 5U);
    EXPECT_EQ(norms({{"_remove_final_layer_norm", true}}), 4U);
    const Config init("config.json", {{"model_type", "opt"}, {"init_std", 0.5}, {"initializer_range", 0.1}});
    EXPECT_EQ(drawn_deviation(init), 0.5);
    nlohmann::json inner = {
        {"model_type", "gemma3"}, {"initializer_range", 0.1}, {"text_config", {{"x", 1}}}};
    EXPECT_EQ(drawn_deviation(Config("config.json", inner)), 0.1);
    inner["text_config"]["initializer_range"] = 0.3;
    EXPECT_EQ(drawn_deviation(Config("config.json", inner)), 0.3);
}

/// Windows and rotations, layer by layer.
std::pair<std::vector<Index>, std::vector<RotaryAngles>> layers_of(const Program& program) {
    std::pair<std::vector<Index>, std::vector<RotaryAngles>> layers;
    for (const auto& attention : operations_of<operation::Attention>(program))
        layers.first.push_back(attention.window.value_or(0));
    for (const auto& rotary : operations_of<operation::Rotary>(program))
        layers.second.push_back(rotary.angles);  // of queries and keys in turn
    return layers;
}

TEST(Olmo3, TurnsLayersWithAWindowByTheBaseAlone) {
    const auto layers_and_notes = [](const nlohmann::json& changes, const char* without = "") {
        const auto [program, notes] = changed("olmo3-odd", changes, without);
        return std::pair{layers_of(program), notes};
    };
    const auto [published, none] = layers_and_notes(nlohmann::json::object());
    EXPECT_TRUE(none.empty());
    EXPECT_EQ(published.first, (std::vector<Index>{3, 3, 0}));
    const RotaryAngles near{{1.0, std::pow(100.0, -1.0 / 3), std::pow(100.0, -2.0 / 3)}};
    for (std::size_t i = 0; i < 6; ++i) {
        const RotaryAngles& angles = published.second[i];
        EXPECT_EQ(angles.factor, i < 4 ? 1.0 : 1.5);
        // The ramp of yarn is 0, 1/2, 1 here, and its factor 4.
        const double shares[] = {1, 0.625, 0.25};
        for (std::size_t k = 0; k < 3; ++k)
            EXPECT_NEAR(angles.frequencies[k], near.frequencies[k] * (i < 4 ? 1 : shares[k]), 1e-15) << i;
    }
    // As later versions write it: by type of layer, or one rule for all, of which the base counts for all.
    const nlohmann::json rule = {{"rope_type", "yarn"},
                                 {"factor", 4.0},
                                 {"original_max_position_embeddings", 64},
                                 {"attention_factor", 1.5},
                                 {"rope_theta", 100.0}};
    const nlohmann::json plain = {{"rope_type", "default"}, {"rope_theta", 100.0}};
    const nlohmann::json absent = {{"rope_scaling", nullptr}, {"rope_theta", nullptr}};
    nlohmann::json by_type = absent, one = absent;
    by_type["rope_parameters"] = {{"full_attention", rule}, {"sliding_attention", plain}};
    one["rope_parameters"] = rule;
    EXPECT_EQ(layers_and_notes(by_type), (std::pair{published, none}));
    const auto [same, note] = layers_and_notes(one);
    EXPECT_EQ(same, published);
    ASSERT_EQ(note.size(), 1U);
    EXPECT_NE(note[0].find("rope_parameters scale layers without a window alone"), std::string::npos);
    // Without keys: three windows of 4096 tokens, then a layer without, and so on; versions differ in the
    // base.
    const auto [bare, based] = layers_and_notes({{"layer_types", nullptr},
                                                 {"num_hidden_layers", 5},
                                                 {"rope_scaling", nullptr},
                                                 {"rope_theta", nullptr}},
                                                "sliding_window");
    EXPECT_EQ(bare.first, (std::vector<Index>{4096, 4096, 4096, 0, 4096}));
    for (const RotaryAngles& angles : bare.second)
        EXPECT_NEAR(angles.frequencies[1], std::pow(500000.0, -1.0 / 3), 1e-15);
    ASSERT_EQ(based.size(), 1U);
    EXPECT_NE(based[0].find("rope_theta"), std::string::npos) << based[0];
}

TEST(Gemma, TakesItsActivationFromHiddenActivation) {
    const auto function_and_notes = [](const nlohmann::json& changes) {
        const auto [program, notes] = changed("gemma-odd", changes);
        return std::pair{operations_of<operation::Activate>(program).front().function, notes.size()};
    };
    using Found = std::pair<Activation, std::size_t>;
    const nlohmann::json null;
    EXPECT_EQ(function_and_notes({{"hidden_activation", "relu"}, {"hidden_act", "relu"}}),
              Found(Activation::relu, 0));
    EXPECT_EQ(function_and_notes({{"hidden_activation", "relu"}}), Found(Activation::relu, 1));
    EXPECT_EQ(function_and_notes({{"hidden_activation", null}}), Found(Activation::gelu_new, 0));
    EXPECT_EQ(function_and_notes({{"hidden_activation", null}, {"hidden_act", null}}),
              Found(Activation::gelu_new, 0));
    // The oldest files'.
    EXPECT_EQ(function_and_notes({{"hidden_activation", null}, {"hidden_act", "gelu"}}),
              Found(Activation::gelu_new, 1));
    testing::expect_error(ExitStatus::input, ErrorKind::unsupported, {"hidden_act = \"relu\""}, [&] {
        function_and_notes({{"hidden_activation", null}, {"hidden_act", "relu"}});
    });
}

TEST(Architectures, GeluFastIsGeluNew) {
    const auto [program, notes] = changed("gpt2-odd", {{"activation_function", "gelu_fast"}});
    EXPECT_EQ(operations_of<operation::Activate>(program).front().function, Activation::gelu_new);
    EXPECT_TRUE(notes.empty());
}

TEST(Architectures, KindsPartitionTheTensors) {
    using enum ParameterKind;
    const auto kind = [](const char* model, const std::string& name) {
        const Program program = changed(model, nlohmann::json::object()).first;
        for (const Parameter& parameter : program.parameters())
            if (parameter.name == name) return parameter.kind;
        throw std::runtime_error(name + " is no tensor of " + model);
    };
    for (const auto& [model, name, expected] :
         std::initializer_list<std::tuple<const char*, const char*, ParameterKind>>{
             {"qwen3-odd", "model.layers.0.self_attn.q_norm.weight", norm},
             {"qwen3-odd", "lm_head.weight", head},
             {"olmo2-odd", "model.layers.1.self_attn.k_norm.weight", norm},
             {"olmo2-odd", "model.layers.1.post_feedforward_layernorm.weight", norm},
             {"gemma2-odd", "model.layers.2.pre_feedforward_layernorm.weight", norm},
             {"gemma2-odd", "model.embed_tokens.weight", embedding},
             {"gemma3-odd", "language_model.model.layers.0.mlp.up_proj.weight", mlp},
             {"gemma3-odd", "language_model.model.layers.0.self_attn.k_proj.weight", attention},
             {"phi3-odd", "model.layers.0.self_attn.qkv_proj.weight", attention},
             {"phi3-odd", "model.layers.0.mlp.gate_up_proj.weight", mlp},
             {"phi-odd", "model.layers.0.self_attn.dense.bias", attention},
             {"phi-odd", "model.layers.1.mlp.fc1.weight", mlp},
             {"phi-odd", "model.final_layernorm.bias", norm},
             {"phi-odd", "lm_head.bias", head},
             {"opt-odd", "model.decoder.layers.0.self_attn.k_proj.bias", attention},
             {"opt-odd", "model.decoder.layers.0.final_layer_norm.bias", norm},
             {"opt-odd", "model.decoder.embed_positions.weight", embedding},
             {"opt-behind", "model.decoder.project_in.weight", mlp},
             {"opt-behind", "model.decoder.layers.1.fc2.bias", mlp},
             {"distilbert-odd", "vocab_transform.weight", head},
             {"distilbert-odd", "vocab_layer_norm.weight", norm},
             {"distilbert-odd", "vocab_projector.bias", head},
             {"distilbert-odd", "distilbert.transformer.layer.0.attention.out_lin.bias", attention},
             {"distilbert-odd", "distilbert.transformer.layer.0.ffn.lin1.bias", mlp},
             {"modernbert-odd", "model.layers.0.attn.Wqkv.weight", attention},
             {"modernbert-odd", "model.layers.0.mlp.Wi.weight", mlp},
             {"modernbert-odd", "head.dense.weight", head},
             {"modernbert-odd", "head.norm.weight", norm},
             {"modernbert-odd", "decoder.bias", head}})
        EXPECT_EQ(kind(model, name), expected) << model << " " << name;
    // What softmax does not see: SmolLM3's keys that nothing turns, OPT's and DistilBERT's.
    const auto idle = [](const char* model, const std::string& name) {
        const Program program = changed(model, nlohmann::json::object()).first;
        for (const Parameter& parameter : program.parameters())
            if (parameter.name == name) return parameter.idle.size();
        throw std::runtime_error(name + " is no tensor of " + model);
    };
    EXPECT_EQ(idle("smollm3-odd", "model.layers.0.self_attn.k_proj.bias"), 0U);
    EXPECT_EQ(idle("smollm3-odd", "model.layers.1.self_attn.k_proj.bias"), 1U);
    EXPECT_EQ(idle("opt-odd", "model.decoder.layers.0.self_attn.k_proj.bias"), 1U);
    EXPECT_EQ(idle("opt-odd", "model.decoder.layers.0.self_attn.v_proj.bias"), 0U);
    EXPECT_EQ(idle("distilbert-odd", "distilbert.transformer.layer.1.attention.k_lin.bias"), 1U);
}

TEST(InitialWeights, DrawNormsAsTheModelsBegin) {
    for (const char* model : {"gemma-odd", "gemma2-odd", "gemma3-text", "qwen3-odd"}) {
        const Program program = changed(model, nlohmann::json::object()).first;
        for (const Parameter& parameter : program.parameters())
            if (parameter.kind == ParameterKind::norm) {
                EXPECT_EQ(InitialWeights{}.values<double>(parameter).front(),
                          std::string_view(model) == "qwen3-odd" ? 1.0 : 0.0)
                    << parameter.name;
            }
    }
}

}  // namespace
}  // namespace tangram
