#include <cmath>

#include "parts.hpp"
#include "rotary_settings.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

/// GPTNeoXForCausalLM (the Pythia family): partial rotary positions, q, k and v of each head from one matrix,
/// attention and MLP side by side or one after the other, untied head (Black et al. 2022; tensor names as
/// Hugging Face stores them).
Program gpt_neox(const Config& config, std::optional<Index> classifier_labels) {
    using enum ParameterKind;
    const Index hidden = config.size("hidden_size");
    const Index heads = config.size("num_attention_heads");
    const Index layers = config.size("num_hidden_layers");
    const Index inner = config.size("intermediate_size");
    const double epsilon = config.number("layer_norm_eps", 1e-5);
    const Activation function = parts::activation(config, "hidden_act", "gelu");
    const bool parallel = config.flag("use_parallel_residual", true);
    const bool biased = config.flag("attention_bias", true);
    const Index head_size = parts::head_size(config, "num_attention_heads", heads, hidden);
    const double share = parts::rotary_share(config, "rotary_pct", 0.25);
    const auto rotary_size = static_cast<Index>(static_cast<double>(head_size) * share);
    if (rotary_size % 2 != 0)
        config.refuse(ErrorKind::contradiction, "rotary_pct",
                      "it must turn an even number of a head's entries");
    const RotaryAngles angles =
        parts::rotary_angles(config, rotary_size, {.older_theta_key = "rotary_emb_base"});

    Program program;
    program.vocabulary_size = config.size("vocab_size");
    program.maximum_length = config.size("max_position_embeddings");
    const parts::Module model{program, "gpt_neox."};
    const ParameterId table = model.weight("embed_in", program.vocabulary_size, hidden, embedding);
    Value x = program.embedding(table);
    for (Index layer = 0; layer < layers; ++layer) {
        const parts::Module block{program, "gpt_neox.layers." + std::to_string(layer) + "."};
        const Value h = block.layer_norm(x, "input_layernorm", epsilon);
        // Behind the last layer's keys and values only the token that is read matters.
        const bool last = layer == layers - 1;
        const ParameterId weight = block.weight("attention.query_key_value", 3 * hidden, hidden, attention);
        std::optional<ParameterId> bias;
        if (biased) {
            bias = block.bias("attention.query_key_value", 3 * hidden, attention);
            // Softmax does not see a shift of the key entries that stay where they are.
            for (Index head = 0; head < heads; ++head)
                program.idle(*bias, (3 * head + 1) * head_size + rotary_size, (3 * head + 2) * head_size);
        }
        const Value qkv = program.linear(h, weight, bias);
        const auto part = [&](Index i) {
            return program.columns(qkv, i * head_size, head_size, 3 * head_size, heads);
        };
        const Value q = program.rotary(last ? program.at_reads(part(0)) : part(0), head_size, angles);
        const Value k = program.rotary(part(1), head_size, angles);
        const Value a = program.attention({q, k, part(2), heads, heads, head_size,
                                           1.0 / std::sqrt(static_cast<double>(head_size)), std::nullopt});
        if (last) x = program.at_reads(x);
        const Value attended = block.linear(a, "attention.dense", hidden, attention, biased);
        const Value after_attention = program.add(x, attended);
        const Value m = block.layer_norm(parallel ? x : after_attention, "post_attention_layernorm", epsilon);
        const Value wide = program.activate(block.linear(m, "mlp.dense_h_to_4h", inner, mlp), function);
        x = program.add(after_attention, block.linear(wide, "mlp.dense_4h_to_h", hidden, mlp));
    }
    x = model.layer_norm(x, "final_layer_norm", epsilon);
    const bool tied = config.flag("tie_word_embeddings", false);
    parts::causal_head(program, x, tied ? std::optional(table) : std::nullopt, "embed_out",
                       classifier_labels);
    return program;
}

}  // namespace tangram
