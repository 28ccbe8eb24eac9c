#include "decoder.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

/// A factor, 1 where there is no such key.
double multiplier(const Config& config, const std::string& key) {
    const double factor = config.number(key, 1);
    if (!(factor > 0)) config.refuse(ErrorKind::out_of_range, key, "it must be positive");
    return factor;
}

}  // namespace

/// GraniteForCausalLM: LLaMA with factors of the embeddings, of scores (in place of one over the square root
/// of the head size), of what attention and MLP add, and a divisor of the language model's logits, which a
/// classifier's do not have (Granite team 2024; transformers' modular_granite and configuration_granite).
Program granite(const Config& config, std::optional<Index> classifier_labels) {
    parts::DecoderStyle style = parts::read_decoder(config, {.hidden = 4096,
                                                             .intermediate = 11008,
                                                             .layers = 32,
                                                             .heads = 32,
                                                             .vocabulary = 32000,
                                                             .positions = 2048});
    parts::refuse_other_shares(config);
    parts::set_layers(style, {std::nullopt, parts::rotary_angles(config, style.head_size)});
    parts::set_alike(config, style, std::nullopt);
    style.input_bias = style.output_bias = config.flag("attention_bias", false);
    style.mlp_bias = config.flag("mlp_bias", false);
    style.embedding_factor = multiplier(config, "embedding_multiplier");
    style.score_scale = multiplier(config, "attention_multiplier");
    style.residual_factor = multiplier(config, "residual_multiplier");
    style.logit_factor = 1 / multiplier(config, "logits_scaling");
    return parts::decoder(style, classifier_labels);
}

}  // namespace tangram
