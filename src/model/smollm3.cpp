#include "decoder.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

/// Whether each layer turns queries and keys: the entries of no_rope_layers, or all but every
/// no_rope_layer_interval-th.
std::vector<bool> turning_layers(const Config& config, std::size_t layers) {
    std::vector<bool> turning;
    const auto interval = static_cast<std::size_t>(config.size("no_rope_layer_interval", 4));
    for (std::size_t i = 0; i < layers; ++i) turning.push_back((i + 1) % interval != 0);
    if (!config.has("no_rope_layers")) return turning;
    const nlohmann::json& list = config.at("no_rope_layers");
    if (!list.is_array() || list.size() < layers)
        config.refuse(ErrorKind::contradiction, "no_rope_layers", "it must name num_hidden_layers layers");
    for (std::size_t i = 0; i < layers; ++i) {
        if (list[i] != 0 && list[i] != 1)
            config.refuse(ErrorKind::malformed, "no_rope_layers", "it must be a list of 0 and 1");
        turning[i] = list[i] == 1;
    }
    return turning;
}

}  // namespace

/// SmolLM3ForCausalLM: LLaMA with layers that do not turn queries and keys, which alone may have a window
/// (transformers' modular_smollm3).
Program smollm3(const Config& config, std::optional<Index> classifier_labels) {
    parts::DecoderStyle style = parts::read_decoder(config, {.hidden = 2048,
                                                             .intermediate = 11008,
                                                             .layers = 36,
                                                             .heads = 16,
                                                             .key_value_heads = 4,
                                                             .vocabulary = 128256,
                                                             .positions = 32768,
                                                             .tied = true});
    parts::refuse_other_shares(config);
    const RotaryAngles angles = parts::rotary_angles(config, style.head_size, {.theta = 2000000});
    const std::vector<bool> turning = turning_layers(config, style.layers.size());
    for (std::size_t i = 0; i < turning.size(); ++i)
        if (turning[i]) style.layers[i].angles = angles;
    config.names("max_window_layers");  // in published files, of no effect
    const bool windowed = config.flag("use_sliding_window", false) && config.has("sliding_window");
    const std::optional<Index> window = windowed ? std::optional(config.size("sliding_window"))
                                                 : (config.names("sliding_window"), std::nullopt);
    std::vector<bool> own = turning;
    own.flip();
    if (!window) own.assign(own.size(), false);
    parts::set_windows(config, style, window, own, "no_rope_layers");
    style.input_bias = style.output_bias = config.flag("attention_bias", false);
    style.mlp_bias = config.flag("mlp_bias", false);
    return parts::decoder(style, classifier_labels);
}

}  // namespace tangram
