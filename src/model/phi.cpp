#include "decoder.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

/// PhiForCausalLM (phi-1, phi-1.5, phi-2): attention and MLP side by side behind one norm with a bias, a part
/// of each head that turns, biases everywhere, the head's too (Gunasekar et al. 2023; transformers'
/// modular_phi and configuration_phi).
Program phi(const Config& config, std::optional<Index> classifier_labels) {
    parts::DecoderStyle style = parts::read_decoder(config, {.hidden = 2048,
                                                             .intermediate = 8192,
                                                             .layers = 24,
                                                             .heads = 32,
                                                             .vocabulary = 51200,
                                                             .positions = 2048,
                                                             .epsilon = 1e-5,
                                                             .activation = "gelu_new",
                                                             .epsilon_key = "layer_norm_eps"});
    const Index turning = parts::turning_entries(config, style.head_size, 0.5);
    parts::set_layers(style, {std::nullopt, parts::rotary_angles(config, turning)});
    parts::set_alike(config, style, std::nullopt);
    style.input_bias = style.output_bias = style.mlp_bias = style.head_bias = true;
    style.parallel = style.layer_norms = true;
    style.plain_mlp = {"mlp.fc1", "mlp.fc2"};
    style.before_mlp = "";
    style.final_norm = "final_layernorm";
    style.attention_output = "self_attn.dense";
    return parts::decoder(style, classifier_labels);
}

}  // namespace tangram
