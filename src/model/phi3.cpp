#include "decoder.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

/// Phi3ForCausalLM: LLaMA with q, k and v from one matrix, and the MLP's gate and up from one; windows in
/// every layer where sliding_window is given; LongRoPE (Abdin et al. 2024; transformers' modular_phi3 and
/// configuration_phi3).
Program phi3(const Config& config, std::optional<Index> classifier_labels) {
    parts::DecoderStyle style = parts::read_decoder(config, {.hidden = 3072,
                                                             .intermediate = 8192,
                                                             .layers = 32,
                                                             .heads = 32,
                                                             .vocabulary = 32064,
                                                             .positions = 4096,
                                                             .epsilon = 1e-5});
    const Index turning = parts::turning_entries(config, style.head_size, 1.0);
    const Index trained_length = config.size("original_max_position_embeddings", 4096);
    parts::set_layers(
        style, {std::nullopt, parts::rotary_angles(config, turning, {.trained_length = trained_length})});
    const std::optional<Index> window =
        config.has("sliding_window") ? std::optional(config.size("sliding_window")) : std::nullopt;
    parts::set_alike(config, style, window);
    style.fused = true;
    return parts::decoder(style, classifier_labels);
}

}  // namespace tangram
