#include <cmath>

#include "parts.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

/// What the relatives differ in.
struct Variant {
    bool input_bias, output_bias, mlp_bias;
    std::optional<Index> window;  ///< of attention, from `first_windowed` on
    Index first_windowed = 0;
    bool layer_types = false;  ///< whether a list of layer_types says which layers have the window instead
};

/// Which layers have the window.
/// @throws Error(input) for layer_types that are not a kind of attention for each layer, that need a window
/// where
///         there is none, or that the family does not obey and that say otherwise
std::vector<bool> windowed_layers(const Config& config, const Variant& variant, Index layers) {
    std::vector<bool> windowed;
    for (Index layer = 0; layer < layers; ++layer)
        windowed.push_back(variant.window && layer >= variant.first_windowed);
    if (!config.has("layer_types")) return windowed;
    const nlohmann::json& types = config.at("layer_types");
    if (!types.is_array() || std::ssize(types) != layers)
        config.refuse(ErrorKind::contradiction, "layer_types", "it must name num_hidden_layers layers");
    std::vector<bool> listed;
    for (const nlohmann::json& type : types) {
        if (type != "full_attention" && type != "sliding_attention")
            config.refuse(ErrorKind::unsupported, "layer_types",
                          "supported: \"full_attention\" and \"sliding_attention\"");
        listed.push_back(type == "sliding_attention");
    }
    if (listed == windowed) return listed;
    if (!variant.layer_types)
        config.refuse(ErrorKind::unsupported, "layer_types", "this family's layers are all alike");
    if (!variant.window)
        config.refuse(ErrorKind::unsupported, "layer_types",
                      "sliding_attention needs use_sliding_window and sliding_window");
    config.note(
        "layer_types counts, max_window_layers says otherwise; transformers before 4.53 went by the latter");
    return listed;
}

/// RMS norms before attention and MLP, rotary positions, grouped-query attention, gated MLP, tied or untied
/// head (Touvron et al. 2023; tensor names as Hugging Face stores them).
Program llama_family(const Config& config, const Variant& variant, std::optional<Index> classifier_labels) {
    using enum ParameterKind;
    const Index hidden = config.size("hidden_size");
    const Index heads = config.size("num_attention_heads");
    const Index key_value_heads = config.size("num_key_value_heads", heads);
    const Index head_size = config.has("head_dim")
                                ? config.size("head_dim")
                                : parts::head_size(config, "num_attention_heads", heads, hidden);
    const Index intermediate = config.size("intermediate_size");
    const double epsilon = config.number("rms_norm_eps", 1e-6);
    const Activation function = parts::activation(config, "hidden_act", "silu");
    if (heads % key_value_heads != 0)
        config.refuse(ErrorKind::contradiction, "num_key_value_heads", "it must divide num_attention_heads");
    if (parts::rotary_share(config, "partial_rotary_factor", 1.0) != 1.0)
        config.refuse(ErrorKind::unsupported, "partial_rotary_factor", "supported: 1");
    if (head_size % 2 != 0)
        config.refuse(ErrorKind::out_of_range, "head_dim", "rotary positions need an even head size");
    const std::vector<double> frequencies =
        parts::rotary_frequencies(config, head_size, parts::rotary_theta(config, "", 10000.0));

    Program program;
    program.vocabulary_size = config.size("vocab_size");
    program.maximum_length = config.size("max_position_embeddings");
    const parts::Module model{program, "model."};
    const ParameterId table = model.weight("embed_tokens", program.vocabulary_size, hidden, embedding);
    Value x = program.embedding(table);
    const Index layers = config.size("num_hidden_layers");
    const std::vector<bool> windowed = windowed_layers(config, variant, layers);
    for (Index layer = 0; layer < layers; ++layer) {
        const parts::Module block{program, "model.layers." + std::to_string(layer) + "."};
        const Value h = block.rms_norm(x, "input_layernorm", epsilon);
        // Behind the last layer's keys and values only the token that is read matters.
        const bool last = layer == layers - 1;
        const Index width = heads * head_size, key_width = key_value_heads * head_size;
        Value q = block.linear(last ? program.at_reads(h) : h, "self_attn.q_proj", width, attention,
                               variant.input_bias);
        Value k = block.linear(h, "self_attn.k_proj", key_width, attention, variant.input_bias);
        const Value v = block.linear(h, "self_attn.v_proj", key_width, attention, variant.input_bias);
        q = program.rotary(q, head_size, frequencies);
        k = program.rotary(k, head_size, frequencies);
        const Value a = program.attention(
            {q, k, v, heads, key_value_heads, head_size, 1.0 / std::sqrt(static_cast<double>(head_size)),
             windowed[static_cast<std::size_t>(layer)] ? variant.window : std::nullopt});
        if (last) x = program.at_reads(x);
        x = program.add(x, block.linear(a, "self_attn.o_proj", hidden, attention, variant.output_bias));
        const Value m = block.rms_norm(x, "post_attention_layernorm", epsilon);
        const Value gate = block.linear(m, "mlp.gate_proj", intermediate, mlp, variant.mlp_bias);
        const Value up = block.linear(m, "mlp.up_proj", intermediate, mlp, variant.mlp_bias);
        const Value gated = program.multiply(program.activate(gate, function), up);
        x = program.add(x, block.linear(gated, "mlp.down_proj", hidden, mlp, variant.mlp_bias));
    }
    x = model.rms_norm(x, "norm", epsilon);
    const bool tied = config.flag("tie_word_embeddings", false);
    parts::causal_head(program, x, tied ? std::optional(table) : std::nullopt, "lm_head", classifier_labels);
    return program;
}

}  // namespace

/// LlamaForCausalLM.
Program llama(const Config& config, std::optional<Index> classifier_labels) {
    const bool biased = config.flag("attention_bias", false);
    return llama_family(config, {biased, biased, config.flag("mlp_bias", false), std::nullopt},
                        classifier_labels);
}

/// MistralForCausalLM: sliding windows in every layer, 4096 where config.json does not say.
Program mistral(const Config& config, std::optional<Index> classifier_labels) {
    config.size("num_key_value_heads");  // Hugging Face's default is another than LLaMA's
    const std::optional<Index> window = !config.names("sliding_window") ? std::optional<Index>(4096)
                                        : config.has("sliding_window")
                                            ? std::optional(config.size("sliding_window"))
                                            : std::nullopt;
    return llama_family(config, {false, false, false, window}, classifier_labels);
}

/// Qwen2ForCausalLM: biases of q, k and v; sliding windows from layer max_window_layers on, where they are
/// used.
Program qwen2(const Config& config, std::optional<Index> classifier_labels) {
    config.size("num_key_value_heads");  // Hugging Face's default is another than LLaMA's
    Variant variant{true, false, false, std::nullopt, 0, true};
    // Both are of no effect without a window.
    config.names("sliding_window");
    config.names("max_window_layers");
    if (config.flag("use_sliding_window", false)) {
        if (config.names("sliding_window") && !config.has("sliding_window"))
            config.refuse(ErrorKind::missing, "sliding_window", "use_sliding_window needs a number");
        variant.window = config.size("sliding_window", 4096);
        variant.first_windowed = config.names("max_window_layers") && config.at("max_window_layers") == 0
                                     ? 0
                                     : config.size("max_window_layers", 28);
    }
    return llama_family(config, variant, classifier_labels);
}

}  // namespace tangram
