#include "tangram/model/unread_keys.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "support/expect_error.hpp"
#include "support/model_fixture.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"

namespace tangram {
namespace {

using testing::test_data;

/// A family with a folder of it.
struct Family {
    const char* model_type;
    const char* folder;
};
constexpr Family families[] = {{"llama", "models/llama-odd"},
                               {"mistral", "models/mistral-odd"},
                               {"qwen2", "models/qwen2-odd"},
                               {"qwen3", "models/qwen3-odd"},
                               {"olmo2", "models/olmo2-odd"},
                               {"olmo3", "models/olmo3-odd"},
                               {"smollm3", "models/smollm3-odd"},
                               {"phi3", "models/phi3-odd"},
                               {"phi", "models/phi-odd"},
                               {"starcoder2", "models/starcoder2-odd"},
                               {"stablelm", "models/stablelm-odd"},
                               {"granite", "models/granite-odd"},
                               {"gemma", "models/gemma-odd"},
                               {"gemma2", "models/gemma2-odd"},
                               {"gemma3_text", "models/gemma3-text"},
                               {"gemma3", "models/gemma3-odd"},
                               {"gpt2", "models/gpt2-odd"},
                               {"gpt_neo", "models/neo-odd"},
                               {"gpt_neox", "models/neox-parallel"},
                               {"opt", "models/opt-odd"},
                               {"bert", "models/bert-odd"},
                               {"roberta", "models/roberta-odd"},
                               {"xlm-roberta", "models/roberta-odd"},
                               {"camembert", "models/roberta-odd"},
                               {"electra", "models/electra-odd"},
                               {"distilbert", "models/distilbert-odd"},
                               {"modernbert", "models/modernbert-odd"}};

nlohmann::json config_of(const std::string& folder) {
    return read_json(test_data() / folder / "config.json", testing::Unrecorded());
}

nlohmann::json config_of(const Family& family) {
    nlohmann::json values = config_of(family.folder);
    values["model_type"] = family.model_type;
    return values;
}

/// What is noted of a config.json with changes.
std::vector<std::string> notes_of(nlohmann::json values, const nlohmann::json& changes) {
    values.update(changes);
    const Config config("config.json", values);
    program_of(config);
    drawn_deviation(config);
    check_unread(config, known_model_keys());
    return config.notes();
}

bool has(const std::vector<std::string>& list, std::string_view name) {
    return std::ranges::find(list, name) != list.end();
}

TEST(UnreadKeys, EveryFamilyIsTested) {
    for (const Architecture& architecture : architectures())
        EXPECT_EQ(std::ranges::count(families, architecture.model_type,
                                     [](const Family& f) { return std::string_view(f.model_type); }),
                  1)
            << architecture.model_type;
}

/// As the files of SmolLM2, Llama 3.2, Qwen2.5 and Pythia have them.
TEST(UnreadKeys, OfPublishedFilesPass) {
    EXPECT_TRUE(notes_of(config_of("models/llama-odd"), {{"is_llama_config", true},
                                                         {"rope_interleaved", false},
                                                         {"pretraining_tp", 1},
                                                         {"attention_dropout", 0.0},
                                                         {"eos_token_id", {1, 2}},
                                                         {"torch_dtype", "bfloat16"},
                                                         {"use_cache", true}})
                    .empty());
    EXPECT_TRUE(
        notes_of(config_of("models/qwen2-odd"), {{"use_mrope", false}, {"rope_scaling", nullptr}}).empty());
    EXPECT_TRUE(notes_of(config_of("models/neox-parallel"),
                         {{"classifier_dropout", 0.1}, {"hidden_dropout", 0.0}, {"rope_scaling", nullptr}})
                    .empty());
}

TEST(UnreadKeys, ThatDecideAreRefusedByNameInEveryFamily) {
    for (const Family& family : families) {
        const nlohmann::json values = config_of(family);
        const std::vector<std::string> consumed = consumed_keys(family.model_type);
        int tried = 0;
        for (const DecidingKey& key : known_model_keys().deciding) {
            std::string name(key.name);
            std::ranges::replace(name, '*', 'x');
            if (has(consumed, name)) continue;
            SCOPED_TRACE(fmt::format("{} of {}", name, family.model_type));
            testing::expect_error(ExitStatus::input, ErrorKind::unsupported, {"config.json", name + " = "},
                                  [&] {
                                      notes_of(values, {{name, 7.25}});
                                  });
            nlohmann::json neutral = nlohmann::json::parse(key.neutral);
            for (const nlohmann::json& none :
                 {nlohmann::json(), nlohmann::json::array(), nlohmann::json::object()})
                neutral.push_back(none);
            for (const nlohmann::json& value : neutral)
                EXPECT_TRUE(notes_of(values, {{name, value}}).empty()) << value;
            ++tried;
        }
        EXPECT_GT(tried, 50) << family.model_type;
    }
}

TEST(UnreadKeys, ThatNobodyKnowsAreNamedInOneNote) {
    for (const Family& family : families) {
        const auto notes = notes_of(config_of(family), {{"zeta", 1}, {"eta", {{"theta", 2}}}, {"top_k", 50}});
        ASSERT_EQ(notes.size(), 1U) << family.model_type;
        EXPECT_NE(notes[0].find("config.json: nothing reads eta, zeta;"), std::string::npos) << notes[0];
    }
}

TEST(UnreadKeys, OfANestedObjectCountOneByOne) {
    const auto notes =
        notes_of(config_of("models/llama-odd"),
                 {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}, {"mscale", 1.0}}}});
    ASSERT_EQ(notes.size(), 1U);
    EXPECT_NE(notes[0].find("nothing reads rope_scaling.mscale;"), std::string::npos) << notes[0];
}

TEST(UnreadKeys, OfAModelInsideAnotherAreJudgedAsItsOwn) {
    const auto notes_with = [](const char* key, const nlohmann::json& value) {
        nlohmann::json values = config_of("models/gemma3-odd");
        values["text_config"][key] = value;
        return notes_of(values, nlohmann::json::object());
    };
    EXPECT_TRUE(notes_with("attention_dropout", 0.1).empty());
    EXPECT_TRUE(notes_with("logit_scale", 1).empty());
    testing::expect_error(ExitStatus::input, ErrorKind::unsupported, {"text_config.logit_scale = 2"},
                          [&] { notes_with("logit_scale", 2); });
    const auto unknown = notes_with("zeta", 1);
    ASSERT_EQ(unknown.size(), 1U);
    EXPECT_NE(unknown[0].find("nothing reads text_config.zeta;"), std::string::npos) << unknown[0];
    const auto deep = notes_with("rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}, {"zeta", 1}});
    ASSERT_EQ(deep.size(), 1U);
    EXPECT_NE(deep[0].find("text_config.rope_scaling.zeta;"), std::string::npos) << deep[0];
}

TEST(UnreadKeys, AreNoneOfPublishedModels) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(test_data()))
        if (entry.path().filename() == "config.json") {
            EXPECT_TRUE(
                notes_of(read_json(entry.path(), testing::Unrecorded()), nlohmann::json::object()).empty())
                << entry.path();
        }
    // Keys as the Hub's gpt2, Qwen2.5, Llama 3.2 and Pythia have them, beside those of the fixtures.
    const std::pair<const char*, nlohmann::json> published[] = {
        {"models/gpt2-odd",
         {{"architectures", {"GPT2LMHeadModel"}},
          {"attn_pdrop", 0.1},
          {"bos_token_id", 50256},
          {"n_ctx", 20},
          {"summary_type", "cls_index"},
          {"summary_use_proj", true},
          {"initializer_range", 0.02},
          {"task_specific_params", {{"text-generation", {{"do_sample", true}, {"max_length", 50}}}}}}},
        {"models/qwen2-odd",
         {{"use_sliding_window", false},
          {"sliding_window", 32768},
          {"max_window_layers", 70},
          {"use_mrope", false},
          {"torch_dtype", "bfloat16"},
          {"transformers_version", "4.43.1"}}},
        {"models/llama3-odd",
         {{"eos_token_id", {128001, 128008}},
          {"attention_dropout", 0.0},
          {"pretraining_tp", 1},
          {"_attn_implementation_autoset", true},
          {"_name_or_path", "x"}}},
        {"models/neox-parallel", {{"classifier_dropout", 0.1}, {"rope_scaling", nullptr}}},
        // allenai/Olmo-3-7B-Instruct's.
        {"models/olmo3-odd",
         {{"architectures", {"Olmo3ForCausalLM"}},
          {"attention_dropout", 0.0},
          {"dtype", "bfloat16"},
          {"eos_token_id", 100257},
          {"pad_token_id", 100277},
          {"rope_theta", 500000},
          {"use_cache", false}}},
        {"models/smollm3-odd",
         {{"max_window_layers", 28}, {"pretraining_tp", 2}, {"rope_scaling", nullptr}, {"mlp_bias", false}}},
        // microsoft/phi-2's.
        {"models/phi-odd",
         {{"architectures", {"PhiForCausalLM"}},
          {"attention_dropout", 0.0},
          {"bos_token_id", 50256},
          {"embd_pdrop", 0.0},
          {"eos_token_id", 50256},
          {"initializer_range", 0.02},
          {"num_key_value_heads", nullptr},
          {"resid_pdrop", 0.1},
          {"rope_scaling", nullptr},
          {"torch_dtype", "float16"},
          {"use_cache", true}}},
        // bigcode/starcoder2-3b's.
        {"models/starcoder2-odd",
         {{"architectures", {"Starcoder2ForCausalLM"}},
          {"activation_function", "gelu"},
          {"attention_dropout", 0.1},
          {"attention_softmax_in_fp32", true},
          {"bos_token_id", 0},
          {"embedding_dropout", 0.1},
          {"eos_token_id", 0},
          {"initializer_range", 0.018042},
          {"layer_norm_epsilon", 1e-05},
          {"mlp_type", "default"},
          {"norm_type", "layer_norm"},
          {"residual_dropout", 0.1},
          {"scale_attention_softmax_in_fp32", true},
          {"scale_attn_weights", true},
          {"torch_dtype", "float32"},
          {"use_cache", true}}},
        // stabilityai/stablelm-2-1_6b's.
        {"models/stablelm-odd",
         {{"architectures", {"StableLmForCausalLM"}},
          {"bos_token_id", 100257},
          {"eos_token_id", 100257},
          {"hidden_dropout", 0.0},
          {"initializer_range", 0.02},
          {"torch_dtype", "float16"},
          {"use_cache", true}}},
        // ibm-granite/granite-3.1-2b-base's.
        {"models/granite-odd",
         {{"architectures", {"GraniteForCausalLM"}},
          {"attention_dropout", 0.1},
          {"bos_token_id", 0},
          {"eos_token_id", 0},
          {"initializer_range", 0.02},
          {"pad_token_id", 0},
          {"rope_scaling", nullptr},
          {"rope_theta", 5000000.0},
          {"torch_dtype", "bfloat16"},
          {"use_cache", true}}},
        // google/gemma-1.1-2b-it's.
        {"models/gemma-odd",
         {{"architectures", {"GemmaForCausalLM"}},
          {"attention_dropout", 0.0},
          {"bos_token_id", 2},
          {"eos_token_id", 1},
          {"initializer_range", 0.02},
          {"pad_token_id", 0},
          {"rope_scaling", nullptr},
          {"use_bidirectional_attention", nullptr},
          {"use_cache", true}}},
        {"models/gemma2-odd",
         {{"cache_implementation", "hybrid"}, {"sliding_window_size", 4}, {"attention_dropout", 0.0}}},
        {"models/gemma3-text",
         {{"_sliding_window_pattern", 6},
          {"attn_logit_softcapping", nullptr},
          {"rope_scaling", nullptr},
          {"use_bidirectional_attention", false}}},
        {"models/gemma3-odd", {{"eoi_token_index", 256000}, {"eos_token_id", {1, 106}}}},
        {"models/phi3-odd",
         {{"auto_map", {{"AutoConfig", "configuration_phi3.Phi3Config"}}},
          {"embd_pdrop", 0.0},
          {"resid_pdrop", 0.0},
          {"attention_bias", false},
          {"lm_head_bias", false},
          {"full_attn_mod", 1},
          {"interpolate_factor", 1}}},
        {"models/opt-odd",
         {{"activation_dropout", 0.0}, {"dropout", 0.1}, {"layerdrop", 0.0}, {"enable_bias", true}}},
        {"models/distilbert-odd",
         {{"qa_dropout", 0.1}, {"seq_classif_dropout", 0.2}, {"initializer_range", 0.02}}},
        {"models/roberta-odd",
         {{"model_type", "xlm-roberta"},
          {"architectures", {"XLMRobertaForMaskedLM"}},
          {"attention_probs_dropout_prob", 0.1},
          {"hidden_dropout_prob", 0.1},
          {"bos_token_id", 0},
          {"eos_token_id", 2},
          {"initializer_range", 0.02},
          {"output_past", true},
          {"position_embedding_type", "absolute"},
          {"transformers_version", "4.17.0.dev0"},
          {"use_cache", true}}},
        {"models/electra-odd",
         {{"architectures", {"ElectraForPreTraining"}},
          {"generator_size", "0.25"},
          {"summary_activation", "gelu"},
          {"summary_last_dropout", 0.1},
          {"summary_type", "first"},
          {"summary_use_proj", true},
          {"position_embedding_type", "absolute"}}},
        {"models/modernbert-odd",
         {{"position_embedding_type", "absolute"},
          {"reference_compile", nullptr},
          {"repad_logits_with_grad", false},
          {"sparse_pred_ignore_index", -100},
          {"sparse_prediction", false},
          {"deterministic_flash_attn", false},
          {"classifier_pooling", "mean"},
          {"initializer_cutoff_factor", 2.0}}}};
    for (const auto& [folder, keys] : published)
        EXPECT_TRUE(notes_of(config_of(folder), keys).empty()) << folder;
}

TEST(UnreadKeys, WhatAFamilyConsumesIsWhatItAsksFor) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(test_data())) {
        if (entry.path().filename() != "config.json") continue;
        const Config config(entry.path(), testing::Unrecorded());
        program_of(config);
        const std::vector<std::string> consumed = consumed_keys(config.text("model_type"));
        for (const std::string& key : config.asked()) EXPECT_TRUE(has(consumed, key)) << key << entry.path();
    }
    EXPECT_TRUE(has(consumed_keys("llama"), "rope_scaling.factor"));
    EXPECT_TRUE(has(consumed_keys("qwen2"), "layer_types"));
    EXPECT_FALSE(has(consumed_keys("gpt2"), "rope_theta"));
    testing::expect_error(ExitStatus::input, ErrorKind::unsupported, {"mamba"},
                          [] { consumed_keys("mamba"); });
}

/// The windows of attention layers, 0: none.
std::vector<Index> windows(const Program& program) {
    std::vector<Index> all;
    for (const Operation& operation : program.operations())
        if (const auto* const attention = std::get_if<operation::Attention>(&operation))
            all.push_back(attention->window.value_or(0));
    return all;
}

TEST(LayerTypes, AreObeyedByQwen2AndRefusedWhereAFamilyDoesNot) {
    const auto composed = [](const char* folder, const nlohmann::json& changes) {
        nlohmann::json values = config_of(folder);
        values.update(changes);
        Config config("config.json", values);
        return std::pair{windows(program_of(config)), config.notes()};
    };
    const nlohmann::json full = "full_attention", sliding = "sliding_attention";
    using Windows = std::vector<Index>;
    EXPECT_EQ(composed("models/qwen2-odd", nlohmann::json::object()),
              std::pair(Windows{0, 3}, std::vector<std::string>()));
    EXPECT_EQ(composed("models/qwen2-odd", {{"layer_types", {full, sliding}}}),
              std::pair(Windows{0, 3}, std::vector<std::string>()));
    const auto [turned, notes] = composed("models/qwen2-odd", {{"layer_types", {sliding, full}}});
    EXPECT_EQ(turned, (Windows{3, 0}));
    ASSERT_EQ(notes.size(), 1U);
    EXPECT_NE(notes[0].find("layer_types"), std::string::npos);
    EXPECT_EQ(composed("models/mistral-odd", {{"layer_types", {sliding, sliding}}}).first, (Windows{4, 4}));
    const auto refused = [&](ErrorKind kind, const char* folder, const nlohmann::json& changes) {
        testing::expect_error(ExitStatus::input, kind, {"config.json", "layer_types"},
                              [&] { composed(folder, changes); });
    };
    refused(ErrorKind::contradiction, "models/qwen2-odd", {{"layer_types", {full}}});
    refused(ErrorKind::unsupported, "models/qwen2-odd", {{"layer_types", {full, "chunked_attention"}}});
    refused(ErrorKind::unsupported, "models/qwen2-odd",
            {{"layer_types", {full, sliding}}, {"use_sliding_window", false}});
    refused(ErrorKind::unsupported, "models/mistral-odd", {{"layer_types", {full, sliding}}});
    refused(ErrorKind::unsupported, "models/llama-odd", {{"layer_types", {full, full, sliding}}});
}

TEST(RotarySettings, InTwoPlacesCountAsInTransformers) {
    const auto composed = [](const char* folder, const nlohmann::json& changes) {
        nlohmann::json values = config_of(folder);
        values.update(changes);
        const Config config("config.json", values);
        const Program program = program_of(config);
        for (const Operation& operation : program.operations())
            if (const auto* const rotary = std::get_if<operation::Rotary>(&operation))
                return std::pair{rotary->angles.frequencies, config.notes()};
        return std::pair{std::vector<double>(), config.notes()};
    };
    const nlohmann::json two{{"rope_type", "linear"}, {"factor", 2.0}},
        four{{"rope_type", "linear"}, {"factor", 4.0}};
    const auto alone = composed("models/llama-odd", {{"rope_scaling", two}});
    EXPECT_TRUE(alone.second.empty());
    EXPECT_EQ(composed("models/llama-odd", {{"rope_parameters", two}}), alone);
    EXPECT_EQ(composed("models/llama-odd", {{"rope_scaling", two}, {"rope_parameters", two}}), alone);
    EXPECT_EQ(
        composed("models/llama-odd", {{"rope_scaling", nlohmann::json::object()}, {"rope_parameters", two}}),
        alone);
    const auto both = composed("models/llama-odd", {{"rope_scaling", two}, {"rope_parameters", four}});
    EXPECT_EQ(both.first, alone.first);
    ASSERT_EQ(both.second.size(), 1U);
    EXPECT_NE(both.second[0].find("rope_parameters"), std::string::npos);
    // The base, inside and outside.
    nlohmann::json with_base = two;
    with_base["rope_theta"] = 77.0;
    const auto bases = composed("models/llama-odd", {{"rope_scaling", with_base}});
    EXPECT_EQ(bases.first, composed("models/llama-odd", {{"rope_scaling", two}, {"rope_theta", 77.0}}).first);
    ASSERT_EQ(bases.second.size(), 1U);
    EXPECT_NE(bases.second[0].find("rope_scaling.rope_theta counts, rope_theta"), std::string::npos)
        << bases.second[0];
    // NeoX's names.
    const auto neox =
        composed("models/neox-parallel", {{"rope_parameters", {{"partial_rotary_factor", 0.5}}}});
    EXPECT_EQ(neox.first.size(), 2U);
    ASSERT_EQ(neox.second.size(), 1U);
    EXPECT_NE(neox.second[0].find("rotary_pct"), std::string::npos) << neox.second[0];
}

TEST(Config, OtherNamesOfASizeMustAgree) {
    const auto composed = [](const char* folder, const nlohmann::json& changes, const char* without = "") {
        nlohmann::json values = config_of(folder);
        values.update(changes);
        values.erase(without);
        return notes_of(values, nlohmann::json::object());
    };
    EXPECT_TRUE(composed("models/gpt2-odd", {{"hidden_size", 12}, {"num_hidden_layers", 2}}).empty());
    EXPECT_TRUE(composed("models/gpt2-odd", {{"num_attention_heads", 3}}, "n_head").empty());
    for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads",
                            "max_position_embeddings", "intermediate_size"})
        testing::expect_error(ExitStatus::input, ErrorKind::contradiction, {key}, [&] {
            composed("models/gpt2-odd", {{key, 6}});
        });
    testing::expect_error(ExitStatus::input, ErrorKind::contradiction, {"num_hidden_layers", "num_layers"},
                          [&] {
                              composed("models/neo-odd", {{"num_hidden_layers", 6}});
                          });
    const auto notes = composed("models/neo-odd", {{"attention_layers", {"local", "local", "local"}}});
    ASSERT_EQ(notes.size(), 1U);
    EXPECT_NE(notes[0].find("attention_types"), std::string::npos);
}

TEST(Config, NumbersThatAreNoneAreRefusedByKeyWhereTheyAreRead) {
    const testing::TemporaryFolder folder;
    nlohmann::json values = config_of("models/gpt2-odd");
    std::string text = values.dump();
    const auto read = [&](const std::string& entry) {
        const Config config(folder.write("config.json", text.substr(0, text.size() - 1) + ", " + entry + "}"),
                            testing::Unrecorded());
        program_of(config);
        check_unread(config, known_model_keys());
    };
    EXPECT_NO_THROW(read("\"initializer_factor\": NaN, \"resid_pdrop\": -Infinity"));
    testing::expect_error(ExitStatus::input, ErrorKind::unsupported, {"logit_scale = inf"},
                          [&] { read("\"logit_scale\": Infinity"); });
    testing::expect_error(ExitStatus::input, ErrorKind::non_finite, {"layer_norm_epsilon = nan"},
                          [&] { read("\"layer_norm_epsilon\": NaN"); });
    testing::expect_error(ExitStatus::input, ErrorKind::out_of_range, {"n_layer = inf"},
                          [&] { read("\"n_layer\": Infinity"); });
}

}  // namespace
}  // namespace tangram
