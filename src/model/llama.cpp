#include "decoder.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

using parts::DecoderStyle;

/// LLaMA's keys, and settings of rotary positions for all layers; absent keys of sizes are missing.
DecoderStyle read_llama(const Config& config, const parts::DecoderDefaults& defaults = {},
                        const parts::RotaryStyle& rotary = {}) {
    DecoderStyle style = parts::read_decoder(config, defaults);
    parts::refuse_other_shares(config);
    parts::set_layers(style, {std::nullopt, parts::rotary_angles(config, style.head_size, rotary)});
    return style;
}

/// Qwen's: sliding windows from layer max_window_layers on, where they are used.
void set_qwen_windows(const Config& config, DecoderStyle& style) {
    // Both are of no effect without a window.
    config.names("sliding_window");
    config.names("max_window_layers");
    std::vector<bool> own(style.layers.size(), false);
    std::optional<Index> window;
    if (config.flag("use_sliding_window", false)) {
        if (config.names("sliding_window") && !config.has("sliding_window"))
            config.refuse(ErrorKind::missing, "sliding_window", "use_sliding_window needs a number");
        window = config.size("sliding_window", 4096);
        const Index first = config.names("max_window_layers") && config.at("max_window_layers") == 0
                                ? 0
                                : config.size("max_window_layers", 28);
        for (Index i = first; i < std::ssize(own); ++i) own[static_cast<std::size_t>(i)] = true;
    }
    parts::set_windows(config, style, window, own, "max_window_layers");
}

}  // namespace

/// LlamaForCausalLM.
Program llama(const Config& config, std::optional<Index> classifier_labels) {
    DecoderStyle style = read_llama(config);
    style.input_bias = style.output_bias = config.flag("attention_bias", false);
    style.mlp_bias = config.flag("mlp_bias", false);
    parts::set_alike(config, style, std::nullopt);
    return parts::decoder(style, classifier_labels);
}

/// MistralForCausalLM: sliding windows in every layer, 4096 where config.json does not say.
Program mistral(const Config& config, std::optional<Index> classifier_labels) {
    config.size("num_key_value_heads");  // Hugging Face's default is another than LLaMA's
    const std::optional<Index> window = !config.names("sliding_window") ? std::optional<Index>(4096)
                                        : config.has("sliding_window")
                                            ? std::optional(config.size("sliding_window"))
                                            : std::nullopt;
    DecoderStyle style = read_llama(config);
    parts::set_alike(config, style, window);
    return parts::decoder(style, classifier_labels);
}

/// Qwen2ForCausalLM: biases of q, k and v.
Program qwen2(const Config& config, std::optional<Index> classifier_labels) {
    config.size("num_key_value_heads");  // Hugging Face's default is another than LLaMA's
    DecoderStyle style = read_llama(config);
    style.input_bias = true;
    set_qwen_windows(config, style);
    return parts::decoder(style, classifier_labels);
}

/// Qwen3ForCausalLM: queries and keys normalised head by head (Yang et al. 2025; transformers' modeling_qwen3
/// and configuration_qwen3).
Program qwen3(const Config& config, std::optional<Index> classifier_labels) {
    DecoderStyle style = read_llama(config, {.hidden = 4096,
                                             .intermediate = 22016,
                                             .layers = 32,
                                             .heads = 32,
                                             .key_value_heads = 32,
                                             .vocabulary = 151936,
                                             .positions = 32768,
                                             .head_size = 128});
    style.input_bias = style.output_bias = config.flag("attention_bias", false);
    style.head_norm = parts::HeadNorm::each_head;
    set_qwen_windows(config, style);
    return parts::decoder(style, classifier_labels);
}

}  // namespace tangram
