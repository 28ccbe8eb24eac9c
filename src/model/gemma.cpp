#include <cmath>

#include "decoder.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

using parts::DecoderStyle;

/// The number as the type that config.json names for the weights holds it: float32, then that type, to
/// nearest.
double as_weights_hold_it(const Config& config, const Config& part, double number) {
    const Config& from = config.has("dtype") || config.has("torch_dtype") ? config : part;
    const char* const key = from.has("dtype") ? "dtype" : "torch_dtype";
    const std::string type = from.text(key, "float32");
    const int bits = type == "float32" ? 24 : type == "bfloat16" ? 8 : type == "float16" ? 11 : 0;
    if (bits == 0) from.refuse(ErrorKind::unsupported, key, "supported: float32, bfloat16, float16");
    int exponent = 0;
    const double mantissa = std::frexp(static_cast<double>(static_cast<float>(number)), &exponent);
    return std::ldexp(std::nearbyint(std::ldexp(mantissa, bits)), exponent - bits);
}

/// A cap of scores or logits: where the key is absent, otherwise; where it is null, none.
std::optional<double> cap_of(const Config& config, const std::string& key, std::optional<double> otherwise) {
    if (!config.names(key)) return otherwise;
    if (!config.has(key)) return std::nullopt;
    const double cap = config.number(key);
    if (!(cap > 0)) config.refuse(ErrorKind::out_of_range, key, "it must be a positive number or null");
    return cap;
}

/// What all of them share. @param file  the whole config.json, which may name the weights' type
DecoderStyle read_any_gemma(const Config& file, const Config& config, const parts::DecoderDefaults& sizes) {
    DecoderStyle style = parts::read_decoder(config, sizes);
    parts::refuse_other_shares(config);
    style.input_bias = style.output_bias = config.flag("attention_bias", false);
    style.norm_shift = 1;
    style.embedding_factor = as_weights_hold_it(file, config, std::sqrt(static_cast<double>(style.hidden)));
    return style;
}

/// What Gemma 2 and 3 share.
DecoderStyle read_gemma(const Config& file, const Config& config, const parts::DecoderDefaults& sizes) {
    DecoderStyle style = read_any_gemma(file, config, sizes);
    const std::string function = config.text("hidden_activation", sizes.activation);
    if (config.has("hidden_act") && config.at("hidden_act") != function)
        config.note("hidden_activation counts (" + function + "), hidden_act beside it does not");
    const double scalar = config.number("query_pre_attn_scalar", 256);
    if (!(scalar > 0)) config.refuse(ErrorKind::out_of_range, "query_pre_attn_scalar", "it must be positive");
    style.score_scale = 1.0 / std::sqrt(scalar);
    style.behind_attention = "post_attention_layernorm";
    style.before_mlp = "pre_feedforward_layernorm";
    style.behind_mlp = "post_feedforward_layernorm";
    return style;
}

void set_gemma_windows(const Config& config, DecoderStyle& style, Index period, const std::string& key) {
    parts::set_windows_but(config, style, period, key);
    for (const parts::DecoderLayer& layer : style.layers)
        if (layer.window) config.expect("sliding_window_size", "sliding_window", *layer.window);
}

DecoderStyle read_gemma3(const Config& file, const Config& config) {
    DecoderStyle style = read_gemma(file, config,
                                    {.hidden = 2304,
                                     .intermediate = 9216,
                                     .layers = 26,
                                     .heads = 8,
                                     .key_value_heads = 4,
                                     .vocabulary = 262208,
                                     .positions = 131072,
                                     .head_size = 256,
                                     .tied = true,
                                     .activation_key = "hidden_activation",
                                     .activation = "gelu_pytorch_tanh"});
    style.head_norm = parts::HeadNorm::each_head;
    set_gemma_windows(config, style, config.size("sliding_window_pattern", 6), "sliding_window_pattern");
    const RotaryAngles everywhere =
        parts::rotary_angles(config, style.head_size, {.theta = 1000000, .layer_type = "full_attention"});
    const RotaryAngles near = parts::rotary_angles(config, style.head_size,
                                                   {.theta_key = "rope_local_base_freq",
                                                    .layer_type = "sliding_attention",
                                                    .shared = parts::SharedSettings::none});
    for (parts::DecoderLayer& layer : style.layers) layer.angles = layer.window ? near : everywhere;
    // transformers reads the key and hands it to no attention.
    if (config.has("attn_logit_softcapping"))
        config.refuse(ErrorKind::unsupported, "attn_logit_softcapping", "supported: null");
    style.logit_cap = cap_of(config, "final_logit_softcapping", std::nullopt);
    return style;
}

/// Versions of transformers differ where hidden_act is another function than hidden_activation, or than
/// gelu_pytorch_tanh where that is absent: earlier ones pass over hidden_act, later ones over
/// hidden_activation. The oldest files have gelu there and mean gelu_pytorch_tanh.
void note_hidden_act(const Config& config, const std::string& function) {
    const std::string other = config.text("hidden_act", function);
    if (other == function) return;
    if (!config.has("hidden_activation") && other != "gelu" && other != "gelu_new")
        config.refuse(ErrorKind::unsupported, "hidden_act",
                      "versions of transformers differ in what it does; write hidden_activation");
    config.note("the activation is " + function + ", hidden_act = " + other +
                " does not count; versions of transformers differ in this");
}

}  // namespace

/// GemmaForCausalLM: LLaMA with norms whose weights are counted from one, and embeddings times the square
/// root of their width (Gemma team 2024; transformers' modular_gemma).
Program gemma(const Config& config, std::optional<Index> classifier_labels) {
    const std::string function = "gelu_pytorch_tanh";
    DecoderStyle style = read_any_gemma(config, config,
                                        {.hidden = 3072,
                                         .intermediate = 24576,
                                         .layers = 28,
                                         .heads = 16,
                                         .key_value_heads = 16,
                                         .vocabulary = 256000,
                                         .positions = 8192,
                                         .head_size = 256,
                                         .tied = true,
                                         .activation_key = "hidden_activation",
                                         .activation = function});
    note_hidden_act(config, config.text("hidden_activation", function));
    parts::set_layers(style, {std::nullopt, parts::rotary_angles(config, style.head_size)});
    parts::set_alike(config, style, std::nullopt);
    return parts::decoder(style, classifier_labels);
}

/// Gemma2ForCausalLM: norms before and behind attention and MLP, their weights counted from one; embeddings
/// times the square root of their width; caps of scores and logits; a window in every other layer (Gemma team
/// 2024; transformers' modular_gemma2 and configuration_gemma2).
Program gemma2(const Config& config, std::optional<Index> classifier_labels) {
    DecoderStyle style = read_gemma(config, config,
                                    {.hidden = 2304,
                                     .intermediate = 9216,
                                     .layers = 26,
                                     .heads = 8,
                                     .key_value_heads = 4,
                                     .vocabulary = 256000,
                                     .positions = 8192,
                                     .head_size = 256,
                                     .tied = true,
                                     .activation_key = "hidden_activation",
                                     .activation = "gelu_pytorch_tanh"});
    parts::set_layers(style, {std::nullopt, parts::rotary_angles(config, style.head_size)});
    set_gemma_windows(config, style, 2, "");
    style.attention_cap = cap_of(config, "attn_logit_softcapping", 50);
    style.logit_cap = cap_of(config, "final_logit_softcapping", 30);
    return parts::decoder(style, classifier_labels);
}

/// Gemma3ForCausalLM: queries and keys normalised head by head, no caps, windows in five layers of six, which
/// turn queries and keys faster (Gemma team 2025; transformers' modular_gemma3).
Program gemma3_text(const Config& config, std::optional<Index> classifier_labels) {
    return parts::decoder(read_gemma3(config, config), classifier_labels);
}

/// The language model of Gemma3ForConditionalGeneration, on texts without images.
Program gemma3(const Config& config, std::optional<Index> classifier_labels) {
    const Config text = config.inside("text_config");
    text.names("model_type");
    config.names("vision_config");
    DecoderStyle style = read_gemma3(config, text);
    if (style.logit_cap) text.refuse(ErrorKind::unsupported, "final_logit_softcapping", "supported: null");
    style.prefix = "language_model.";
    return parts::decoder(style, classifier_labels);
}

}  // namespace tangram
