#include "tangram/model/unread_keys.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "name_pattern.hpp"
#include "tangram/error.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

/// Where a model comes from, how it was trained, how it runs and what generate() does with it.
constexpr std::string_view harmless_to_models[] = {"*dropout*",
                                                   "*pdrop",
                                                   "*_drop_rate",
                                                   "layerdrop",
                                                   "attn_implementation",
                                                   "_attn_implementation*",
                                                   "_commit_hash",
                                                   "_flash_attn_2_enabled",
                                                   "_from_model_config",
                                                   "_name_or_path",
                                                   "_num_labels",
                                                   "adapter_path",
                                                   "add_pooling_layer",
                                                   "architectures",
                                                   "auto_map",
                                                   "bad_words_ids",
                                                   "begin_suppress_tokens",
                                                   "boi_token_*",
                                                   "bos_token",
                                                   "bos_token_id",
                                                   "cache_implementation",
                                                   "chunk_size_feed_forward",
                                                   "classifier_bias",
                                                   "classifier_pooling",
                                                   "cls_token_id",
                                                   "cross_attention_hidden_size",
                                                   "decoder_start_token_id",
                                                   "deterministic_flash_attn",
                                                   "directionality",
                                                   "diversity_penalty",
                                                   "do_sample",
                                                   "dtype",
                                                   "early_stopping",
                                                   "encoder_no_repeat_ngram_size",
                                                   "eoi_token_*",
                                                   "eos_token",
                                                   "eos_token_id",
                                                   "exponential_decay_length_penalty",
                                                   "finetuning_task",
                                                   "forced_bos_token_id",
                                                   "forced_eos_token_id",
                                                   "generator_*",
                                                   "gradient_checkpointing",
                                                   "id2label",
                                                   "image_token_*",
                                                   "initializer_cutoff_factor",
                                                   "initializer_factor",
                                                   "init_std",
                                                   "is_decoder",
                                                   "keys_to_ignore_at_inference",
                                                   "label2id",
                                                   "is_llama_config",
                                                   "label_smoothing",
                                                   "length_penalty",
                                                   "mask_token_id",
                                                   "max_length",
                                                   "max_sequence_length",
                                                   "min_length",
                                                   "mm_tokens_per_image",
                                                   "model_max_length",
                                                   "n_ctx",
                                                   "name_or_path",
                                                   "no_repeat_ngram_size",
                                                   "num_beam_groups",
                                                   "num_beams",
                                                   "num_labels",
                                                   "num_return_sequences",
                                                   "output_attentions",
                                                   "output_hidden_states",
                                                   "output_past",
                                                   "output_scores",
                                                   "pad_token",
                                                   "pad_token_id",
                                                   "pooler_*",
                                                   "prefix",
                                                   "pretraining_tp",
                                                   "problem_type",
                                                   "reference_compile",
                                                   "remove_invalid_values",
                                                   "reorder_and_upcast_attn",
                                                   "repad_logits_with_grad",
                                                   "repetition_penalty",
                                                   "return_dict",
                                                   "return_dict_in_generate",
                                                   "sep_token_id",
                                                   "_sliding_window_pattern",
                                                   "sparse_pred*",
                                                   "summary_*",
                                                   "suppress_tokens",
                                                   "task_specific_params",
                                                   "temperature",
                                                   "tf_legacy_loss",
                                                   "tie_weights_",
                                                   "tokenizer_class",
                                                   "top_k",
                                                   "top_p",
                                                   "torch_dtype",
                                                   "torchscript",
                                                   "transformers_version",
                                                   "typical_p",
                                                   "unk_token_id",
                                                   "unsloth_*",
                                                   "use_bfloat16",
                                                   "use_cache",
                                                   "use_flash_attn",
                                                   "use_flash_attention*"};

constexpr DecidingKey deciding_models[] = {
    // Which tensors there are.
    {"add_bias_linear", "[false]"},
    {"add_cross_attention", "[false]"},
    {"add_qkv_bias", "[false]"},
    {"attention_bias", "[false]"},
    {"attention_out_bias", "[false]"},
    {"attention_output_bias", "[false]"},
    {"attention_qkv_bias", "[false]"},
    {"bias", "[false]"},
    {"embedding_norm", "[false]"},
    {"embedding_size"},
    {"head_bias", "[false]"},
    {"is_encoder_decoder", "[false]"},
    {"layer_scale*", "[false]"},
    {"lm_head_bias", "[false]"},
    {"mlp_bias", "[false]"},
    {"o_bias", "[false]"},
    {"post_norm", "[false]"},
    {"pruned_heads"},
    {"qk_layernorm", "[false]"},
    {"qk_layernorms", "[false]"},
    {"qk_norm", "[false]"},
    {"qkv_bias", "[false]"},
    {"sandwich_norm", "[false]"},
    {"tie_encoder_decoder", "[false]"},
    {"use_bias", "[false]"},
    {"use_layer_scale", "[false]"},
    {"use_post_norm", "[false]"},
    {"use_qk_layernorm", "[false]"},
    {"use_qk_norm", "[false]"},
    {"use_qkv_bias", "[false]"},
    {"word_embed_proj_dim"},
    // How they are stored.
    {"compression_config"},
    {"quantization_config"},
    // Experts and other bodies.
    {"audio_config"},
    {"decoder_sparse_step"},
    {"ffn_config"},
    {"first_k_dense_replace"},
    {"kv_lora_rank"},
    {"mlp_only_layers"},
    {"moe_*"},
    {"n_routed_experts", "[0]"},
    {"n_shared_experts", "[0]"},
    {"num_experts", "[0, 1]"},
    {"num_experts_per_tok", "[0, 1]"},
    {"num_local_experts", "[0, 1]"},
    {"q_lora_rank"},
    {"shared_expert_intermediate_size", "[0]"},
    {"text_config"},
    {"vision_config"},
    // The order of the layers' parts.
    {"do_layer_norm_before", "[true]"},
    {"new_decoder_architecture", "[false]"},
    {"parallel_attn", "[false]"},
    {"parallel_attention", "[false]"},
    {"use_parallel_residual", "[false]"},
    // What an attention layer sees, and its scores.
    {"alibi", "[false]"},
    {"attention_chunk_size"},
    {"attention_layers"},
    {"attention_multiplier"},
    {"attention_scale"},
    {"attention_scaling"},
    {"attention_types"},
    {"attn_config"},
    {"attn_logit_softcapping"},
    {"attn_temperature_tuning", "[false, 0]"},
    {"clip_qkv"},
    {"full_attn_mod", "[1]"},
    {"global_attn_every_n_layers"},
    {"head_dim"},
    {"interleaved_sliding_window"},
    {"is_causal"},
    {"layer_types"},
    {"local_attention"},
    {"max_window_layers"},
    {"multi_query", "[false]"},
    {"multi_query_attention", "[false]"},
    {"num_key_value_heads"},
    {"query_pre_attn_scalar"},
    {"scale_attn_by_inverse_layer_idx", "[false]"},
    {"scale_attn_weights", "[true]"},
    {"scale_attention_softmax*"},
    {"sliding_window"},
    {"sliding_window_pattern"},
    {"use_alibi", "[false]"},
    {"use_bidirectional_attention", "[false]"},
    {"use_sliding_window", "[false]"},
    {"window_size"},
    // Positions.
    {"global_rope_theta"},
    {"interpolate_factor", "[1]"},
    {"local_rope_theta"},
    {"no_rope_layer_interval"},
    {"no_rope_layers"},
    {"partial_rotary_factor", "[1]"},
    {"position_embedding_type", "[\"absolute\"]"},
    {"rope_interleaved", "[false]"},
    {"rope_*"},
    {"rotary*"},
    {"sinusoidal_pos_embds", "[false]"},
    {"use_mrope", "[false]"},
    // Factors and caps.
    {"dim_model_base"},
    {"embedding_multiplier", "[1]"},
    {"embedding_scale", "[1]"},
    {"emb_scale", "[1]"},
    {"final_logit_softcapping"},
    {"hidden_states_scale"},
    {"key_multiplier", "[1]"},
    {"lm_head_multiplier", "[1]"},
    {"logit_scale", "[1]"},
    {"logits_scale", "[1]"},
    {"logits_scaling", "[1]"},
    {"mup_*"},
    {"normalize_embedding", "[false]"},
    {"residual_multiplier", "[1]"},
    {"residual_scale", "[1]"},
    {"scale_depth"},
    {"scale_emb", "[1]"},
    {"scale_embedding", "[false]"},
    {"use_mup", "[false]"},
    // Functions.
    {"activation"},
    {"activation_function"},
    {"ffn_type"},
    {"feed_forward_type"},
    {"hidden_act"},
    {"hidden_activation"},
    {"mlp_type"},
    {"norm_type"},
    {"normalization_type"},
    {"use_rms_norm"},
    {"use_rmsnorm"}};

/// Where an adapter comes from, how it was trained, and to which modules: its tensors say so themselves.
constexpr std::string_view harmless_to_adapters[] = {"auto_mapping",   "base_model_name_or_path",
                                                     "eva_config",     "exclude_modules",
                                                     "fan_in_fan_out", "inference_mode",
                                                     "layers_pattern", "layers_to_transform",
                                                     "lora_dropout",   "megatron_*",
                                                     "peft_version",   "qalora_group_size",
                                                     "revision",       "runtime_config",
                                                     "target_modules", "task_type"};

constexpr DecidingKey deciding_adapters[] = {
    {"alora_invocation_tokens"},
    {"alpha_pattern"},
    {"arrow_config"},
    {"bias", "[\"none\"]"},
    {"corda_config"},
    {"ensure_weight_tying", "[false]"},
    // The others change the weights of the model that the adapter is added to.
    {"init_lora_weights", "[true, false, \"gaussian\", \"eva\", \"orthogonal\"]"},
    {"layer_replication"},
    {"loftq_config"},
    {"lora_bias", "[false]"},
    {"modules_to_save"},
    {"rank_pattern"},
    {"target_parameters"},
    {"trainable_token_indices"},
    {"use_bdlora"},
    {"use_dora", "[false]"},
    {"use_qalora", "[false]"}};

bool changes_nothing(const DecidingKey& key, const nlohmann::json& value) {
    if (value.is_null() || (value.is_structured() && value.empty())) return true;
    const nlohmann::json neutral = nlohmann::json::parse(key.neutral);
    return std::ranges::find(neutral, value) != neutral.end();
}

using Unread = std::vector<std::pair<std::string, const nlohmann::json*>>;

/// Adds every key of an object that nobody asked for, in full, with its value; inside objects that were gone
/// into, theirs.
void add_unread(const Config& config, const nlohmann::json& object, const std::string& prefix, Unread& left) {
    const auto& asked = config.asked();
    for (const auto& [own, value] : object.items()) {
        const std::string key = prefix + own, inside = key + ".";
        const auto first = asked.lower_bound(inside);
        if (value.is_object() && first != asked.end() && first->starts_with(inside))
            add_unread(config, value, inside, left);
        else if (!asked.contains(key))
            left.emplace_back(key, &value);
    }
}

/// A model inside another is judged as one that stands alone.
constexpr std::string_view inner_model = "text_config.";

}  // namespace

const KnownKeys& known_model_keys() {
    static constexpr KnownKeys known{harmless_to_models, deciding_models};
    return known;
}

const KnownKeys& known_adapter_keys() {
    static constexpr KnownKeys known{harmless_to_adapters, deciding_adapters};
    return known;
}

void check_unread(const Config& config, const KnownKeys& known) {
    std::vector<std::string> unknown;
    Unread left;
    add_unread(config, config.values(), "", left);
    for (const auto& [key, value] : left) {
        std::string_view name = key;
        if (name.starts_with(inner_model)) name.remove_prefix(inner_model.size());
        const auto deciding = std::ranges::find_if(
            known.deciding, [&](const DecidingKey& of) { return matches(of.name, name); });
        const bool nested = name.find('.') != std::string_view::npos;
        if (!nested && deciding != known.deciding.end()) {
            if (!changes_nothing(*deciding, *value)) {
                const Config of = name.size() < key.size() ? config.inside("text_config") : config;
                of.refuse(ErrorKind::unsupported, std::string(name),
                          "it changes what is computed, and nothing here reads it");
            }
        } else if (std::ranges::none_of(known.harmless,
                                        [&](std::string_view of) { return matches(of, name); })) {
            unknown.push_back(key);
        }
    }
    if (!unknown.empty())
        config.note(fmt::format("nothing reads {}; check that the model is computed without",
                                fmt::join(unknown, ", ")));
}

namespace {

/// Sizes of the smallest model under all their names, and what makes readers go on to further keys.
nlohmann::json smallest_model(std::string_view model_type) {
    nlohmann::json smallest{
        {"model_type", model_type},   {"max_position_embeddings", 8}, {"n_positions", 8},
        {"use_sliding_window", true}, {"max_window_layers", 0},       {"sliding_window", 4},
        {"local_attention", 4},       {"partial_rotary_factor", 1.0}, {"no_rope_layers", {1}}};
    for (const char* size : {"hidden_size", "n_embd", "dim", "intermediate_size", "n_inner", "ffn_dim",
                             "hidden_dim", "head_dim"})
        smallest[size] = 8;
    for (const char* count : {"num_hidden_layers", "num_layers", "n_layer", "n_layers", "num_attention_heads",
                              "num_heads", "n_head", "n_heads", "num_key_value_heads"})
        smallest[count] = 1;
    smallest["vocab_size"] = 8;
    return smallest;
}

/// Settings of rotary positions of every type, for all layers and by type of layer.
std::vector<nlohmann::json> rotary_rules() {
    std::vector<nlohmann::json> rules{
        {{"rope_type", "linear"}, {"factor", 1}},
        {{"rope_type", "dynamic"}, {"factor", 1}},
        {{"rope_type", "yarn"}, {"factor", 1}, {"short_factor", {1, 1, 1, 1}}, {"long_factor", {1, 1, 1, 1}}},
        {{"rope_type", "longrope"}, {"short_factor", {1, 1, 1, 1}}, {"long_factor", {1, 1, 1, 1}}},
        {{"rope_type", "llama3"},
         {"factor", 1},
         {"low_freq_factor", 1},
         {"high_freq_factor", 4},
         {"original_max_position_embeddings", 8}}};
    for (std::size_t i = 0, count = rules.size(); i < count; ++i)
        rules.push_back({{"full_attention", rules[i]}, {"sliding_attention", rules[i]}});
    return rules;
}

}  // namespace

std::vector<std::string> consumed_keys(std::string_view model_type) {
    std::set<std::string> asked;
    for (const nlohmann::json& rule : rotary_rules())
        for (const char* place : {"rope_scaling", "rope_parameters"})
            for (const std::optional<Index> labels : {std::optional<Index>(), std::optional<Index>(1)}) {
                nlohmann::json values = smallest_model(model_type);
                values[place] = rule;
                if (labels)
                    values["attention_layers"] = {"global"};
                else
                    values["attention_types"] = {{{"global"}, 1U}};
                values["text_config"] = values;
                const Config config("config.json", values);
                try {
                    program_of(config, labels);
                } catch (const Error&) {
                    if (!rule.contains("full_attention")) throw;  // not every family has such settings
                }
                drawn_deviation(config);
                asked.insert(config.asked().begin(), config.asked().end());
            }
    return {asked.begin(), asked.end()};
}

}  // namespace tangram
