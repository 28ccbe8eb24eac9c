#include "decoder.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

/// Olmo2ForCausalLM: norms on what attention and MLP give, none before them; queries and keys normalised over
/// all heads together (OLMo team 2024; transformers' modular_olmo2 and configuration_olmo2).
Program olmo2(const Config& config, std::optional<Index> classifier_labels) {
    parts::DecoderStyle style = parts::read_decoder(config, {.hidden = 4096,
                                                             .intermediate = 11008,
                                                             .layers = 32,
                                                             .heads = 32,
                                                             .vocabulary = 50304,
                                                             .positions = 2048,
                                                             .epsilon = 1e-5});
    parts::refuse_other_shares(config);
    parts::set_layers(style, {std::nullopt, parts::rotary_angles(config, style.head_size)});
    style.input_bias = style.output_bias = config.flag("attention_bias", false);
    style.head_norm = parts::HeadNorm::all_heads;
    style.before_attention = style.before_mlp = "";
    style.behind_attention = "post_attention_layernorm";
    style.behind_mlp = "post_feedforward_layernorm";
    return parts::decoder(style, classifier_labels);
}

}  // namespace tangram
