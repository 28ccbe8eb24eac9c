#include "decoder.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

/// What OLMo 2 and 3 share: norms on what attention and MLP give, none before them; queries and keys
/// normalised over all heads together. Layers are left without window and rotation.
parts::DecoderStyle read_olmo(const Config& config) {
    parts::DecoderStyle style = parts::read_decoder(config, {.hidden = 4096,
                                                             .intermediate = 11008,
                                                             .layers = 32,
                                                             .heads = 32,
                                                             .vocabulary = 50304,
                                                             .positions = 2048,
                                                             .epsilon = 1e-5});
    parts::refuse_other_shares(config);
    style.input_bias = style.output_bias = config.flag("attention_bias", false);
    style.head_norm = parts::HeadNorm::all_heads;
    style.before_attention = style.before_mlp = "";
    style.behind_attention = "post_attention_layernorm";
    style.behind_mlp = "post_feedforward_layernorm";
    return style;
}

/// Notes what versions of transformers read otherwise.
void note_rotary_versions(const Config& config) {
    const auto given = [&](const char* place) { return config.has(place) && !config.at(place).empty(); };
    bool based = config.has("rope_theta");
    for (const char* const place : {"rope_scaling", "rope_parameters"}) {
        if (!given(place)) continue;
        const Config settings = config.inside(place);
        based = based || settings.has("rope_theta");
        for (const char* const type : {"full_attention", "sliding_attention"})
            based = based || (settings.has(type) && settings.inside(type).has("rope_theta"));
    }
    if (!based)
        config.note(
            "without rope_theta the base is 500000, as in later versions of transformers 5; earlier ones "
            "take 10000");
    if (!given("rope_parameters")) return;
    const Config one_rule = config.inside("rope_parameters");
    if (one_rule.has("rope_type") && one_rule.at("rope_type") != "default")
        config.note(
            "rope_parameters scale layers without a window alone, as in version 4 of transformers and where "
            "they stand by type of layer; earlier ones of version 5 scale all layers");
}

}  // namespace

/// Olmo2ForCausalLM (OLMo team 2024; transformers' modular_olmo2 and configuration_olmo2).
Program olmo2(const Config& config, std::optional<Index> classifier_labels) {
    parts::DecoderStyle style = read_olmo(config);
    parts::set_layers(style, {std::nullopt, parts::rotary_angles(config, style.head_size)});
    return parts::decoder(style, classifier_labels);
}

/// Olmo3ForCausalLM: windows in three layers of four, whose rotations have the base of the others and are not
/// scaled (OLMo team 2025; transformers' modular_olmo3).
Program olmo3(const Config& config, std::optional<Index> classifier_labels) {
    constexpr Index period = 4;
    constexpr double theta = 500000;
    parts::DecoderStyle style = read_olmo(config);
    parts::set_windows_but(config, style, period, "");
    note_rotary_versions(config);
    const RotaryAngles everywhere =
        parts::rotary_angles(config, style.head_size, {.theta = theta, .layer_type = "full_attention"});
    const RotaryAngles near = parts::rotary_angles(
        config, style.head_size,
        {.theta = theta, .layer_type = "sliding_attention", .shared = parts::SharedSettings::base});
    for (parts::DecoderLayer& layer : style.layers) layer.angles = layer.window ? near : everywhere;
    return parts::decoder(style, classifier_labels);
}

}  // namespace tangram
