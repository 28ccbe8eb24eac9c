#include "decoder.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

/// Keys of published files that transformers does not read: what they may say beside those that it reads.
void judge_older_keys(const Config& config, double epsilon) {
    for (const char* const key :
         {"activation_function", "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32"})
        config.names(key);  // of no effect
    config.expect("layer_norm_epsilon", "norm_epsilon", epsilon);
    for (const auto& [key, only] : {std::pair{"mlp_type", "default"}, std::pair{"norm_type", "layer_norm"}})
        if (config.text(key, only) != only)
            config.refuse(ErrorKind::unsupported, key, std::string("supported: ") + only);
}

}  // namespace

/// Starcoder2ForCausalLM: LLaMA with layer norms, an MLP without a gate, biases everywhere but in the head,
/// and a window in every layer where sliding_window is given (Lozhkov et al. 2024; transformers'
/// modular_starcoder2 and configuration_starcoder2).
Program starcoder2(const Config& config, std::optional<Index> classifier_labels) {
    parts::DecoderStyle style = parts::read_decoder(config, {.hidden = 3072,
                                                             .intermediate = 12288,
                                                             .layers = 30,
                                                             .heads = 24,
                                                             .key_value_heads = 2,
                                                             .vocabulary = 49152,
                                                             .positions = 4096,
                                                             .epsilon = 1e-5,
                                                             .tied = true,
                                                             .activation = "gelu_pytorch_tanh",
                                                             .epsilon_key = "norm_epsilon"});
    parts::refuse_other_shares(config);
    judge_older_keys(config, style.epsilon);
    parts::set_layers(style, {std::nullopt, parts::rotary_angles(config, style.head_size)});
    const std::optional<Index> window =
        config.has("sliding_window") ? std::optional(config.size("sliding_window")) : std::nullopt;
    parts::set_alike(config, style, window);
    style.input_bias = style.output_bias = style.mlp_bias = config.flag("use_bias", true);
    style.layer_norms = true;
    style.plain_mlp = {"mlp.c_fc", "mlp.c_proj"};
    return parts::decoder(style, classifier_labels);
}

}  // namespace tangram
