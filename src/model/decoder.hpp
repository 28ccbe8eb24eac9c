#pragma once
#include <optional>
#include <string>
#include <vector>

#include "parts.hpp"
#include "rotary_settings.hpp"

/// The decoders that descend from LLaMA: norms, rotary positions, grouped-query attention, gated MLPs; and
/// those that have plain MLPs or attention and MLP side by side.
namespace tangram::parts {

/// What transformers takes where config.json has no such key; nothing: the key must be there.
struct DecoderDefaults {
    std::optional<Index> hidden = {}, intermediate = {}, layers = {}, heads = {}, key_value_heads = {},
                         vocabulary = {}, positions = {};
    std::optional<Index> head_size = {};  ///< nothing: the width over the heads
    double epsilon = 1e-6;
    bool tied = false;
    std::string activation_key = "hidden_act", activation = "silu", epsilon_key = "rms_norm_eps";
};

enum class HeadNorm {
    none,
    each_head,  ///< queries and keys, each head alone with the same weight
    all_heads,  ///< queries and keys, all heads together
};

/// What a layer's attention sees, and how it turns queries and keys.
struct DecoderLayer {
    std::optional<Index> window;
    std::optional<RotaryAngles> angles;
};

/// Names of an MLP's two matrices that has no gate; both empty: it has one.
struct PlainMlp {
    std::string in, out;
};

/// A decoder with its sizes, and what families differ in.
struct DecoderStyle {
    Index hidden, intermediate, heads, key_value_heads, head_size, vocabulary, positions;
    double epsilon;
    Activation function;
    bool tied;
    double score_scale;
    std::vector<DecoderLayer> layers;
    bool input_bias = false, output_bias = false, mlp_bias = false, head_bias = false;
    std::string prefix = "";   ///< of all names, where the decoder is a part of a larger model
    bool fused = false;        ///< one matrix for q, k and v, and one for the MLP's gate and up
    bool parallel = false;     ///< the MLP reads what attention reads, both are added at once
    bool layer_norms = false;  ///< with biases, in place of RMS norms
    PlainMlp plain_mlp = {};
    HeadNorm head_norm = HeadNorm::none;
    double norm_shift = 0;
    /// Names of the norms before and behind attention and MLP; empty: none.
    std::string before_attention = "input_layernorm", behind_attention = "",
                before_mlp = "post_attention_layernorm", behind_mlp = "";
    std::string final_norm = "norm", attention_output = "self_attn.o_proj";
    std::optional<double> embedding_factor, attention_cap, logit_cap;
    double residual_factor = 1;          ///< of what attention and MLP add
    std::optional<double> logit_factor;  ///< of the language model's logits
};

/// Sizes and functions under LLaMA's keys; every layer is left without window and rotation.
/// @throws Error(input) naming a key that is missing, or whose value contradicts another's
DecoderStyle read_decoder(const Config& config, const DecoderDefaults& defaults);

/// Entries of a head that turn where partial_rotary_factor of them do, rounded down.
/// @throws Error(input) naming it where their number is odd
Index turning_entries(const Config& config, Index head_size, double otherwise);

/// Gives every layer the same window and angles.
void set_layers(DecoderStyle& style, const DecoderLayer& layer);

/// Whether layer_types names "sliding_attention" for each layer; `otherwise` where there is no such key.
/// @throws Error(input) where it is no list of that and "full_attention", one for each layer
std::vector<bool> sliding_layers(const Config& config, const std::vector<bool>& otherwise);

/// Gives the window to the layers that layer_types names, or else to those that the family's own key does.
/// @param own_key  empty: there is none
/// @throws Error(input) for layer_types that need a window where there is none
void set_windows(const Config& config, DecoderStyle& style, std::optional<Index> window,
                 const std::vector<bool>& own, const std::string& own_key);

/// Gives windows of sliding_window tokens (4096 where there is no such key) to all layers but every
/// `period`-th, or as layer_types has them.
/// @param own_key, throws  as set_windows
void set_windows_but(const Config& config, DecoderStyle& style, Index period, const std::string& own_key);

/// Gives it to all layers of a family that takes layer_types only where they say so.
void set_alike(const Config& config, DecoderStyle& style, std::optional<Index> window);

/// The program of a decoder (Touvron et al. 2023; tensor names as Hugging Face stores them).
Program decoder(const DecoderStyle& style, std::optional<Index> classifier_labels);

}  // namespace tangram::parts
