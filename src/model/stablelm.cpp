#include "decoder.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

/// StableLmForCausalLM: LLaMA with layer norms, a part of each head that turns, and attention and MLP side by
/// side behind one norm where use_parallel_residual says so (Bellagente et al. 2024; transformers'
/// modeling_stablelm and configuration_stablelm).
Program stablelm(const Config& config, std::optional<Index> classifier_labels) {
    parts::DecoderStyle style = parts::read_decoder(config, {.hidden = 2560,
                                                             .intermediate = 6912,
                                                             .layers = 32,
                                                             .heads = 32,
                                                             .key_value_heads = 32,
                                                             .vocabulary = 50304,
                                                             .positions = 4096,
                                                             .epsilon = 1e-5,
                                                             .epsilon_key = "layer_norm_eps"});
    if (style.heads * style.head_size != style.hidden)
        config.refuse(ErrorKind::contradiction, "head_dim",
                      "this family's is hidden_size over num_attention_heads");
    const Index turning = parts::turning_entries(config, style.head_size, 0.25);
    parts::set_layers(style, {std::nullopt, parts::rotary_angles(config, turning)});
    parts::set_alike(config, style, std::nullopt);
    style.input_bias = config.flag("use_qkv_bias", false);
    style.parallel = config.flag("use_parallel_residual", false);
    style.layer_norms = true;
    return parts::decoder(style, classifier_labels);
}

}  // namespace tangram
