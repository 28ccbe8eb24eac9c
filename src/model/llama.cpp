#include <cmath>

#include "tangram/model/architectures.hpp"

namespace tangram {

/// LlamaForCausalLM: RMS norms before attention and MLP, rotary positions, grouped-query attention, SwiGLU, tied or
/// untied head (Touvron et al. 2023; tensor names as Hugging Face stores them).
Program llama(const Config& config) {
    using enum ParameterKind;
    const Index hidden = config.size("hidden_size");
    const Index heads = config.size("num_attention_heads");
    const Index key_value_heads = config.size("num_key_value_heads", heads);
    const Index head_size = config.size("head_dim", hidden / heads);
    const Index intermediate = config.size("intermediate_size");
    const Index vocabulary = config.size("vocab_size");
    const double epsilon = config.number("rms_norm_eps");
    const double theta = config.number("rope_theta", 10000.0);
    if (heads % key_value_heads != 0) config.refuse("num_key_value_heads", "it must divide num_attention_heads");
    if (head_size % 2 != 0) config.refuse("head_dim", "rotary positions need an even head size");
    if (!config.has("head_dim") && hidden % heads != 0)
        config.refuse("num_attention_heads", "it must divide hidden_size");
    if (config.text("hidden_act", "silu") != "silu") config.refuse("hidden_act", "supported: silu");
    if (config.has("rope_scaling")) config.refuse("rope_scaling", "supported: null");
    if (config.flag("attention_bias", false)) config.refuse("attention_bias", "supported: false");
    if (config.flag("mlp_bias", false)) config.refuse("mlp_bias", "supported: false");

    Program program;
    program.vocabulary_size = vocabulary;
    program.maximum_length = config.size("max_position_embeddings");
    const auto weight = [&](const std::string& name, Index d_out, Index d_in, ParameterKind kind) {
        return program.parameter(name + ".weight", {d_out, d_in}, kind);
    };
    const auto norm_at = [&](Value in, const std::string& name) {
        return program.rms_norm(in, program.parameter(name + ".weight", {hidden}, norm), epsilon);
    };

    const ParameterId table = weight("model.embed_tokens", vocabulary, hidden, embedding);
    Value x = program.embedding(table);
    const Index layers = config.size("num_hidden_layers");
    for (Index layer = 0; layer < layers; ++layer) {
        const std::string at = "model.layers." + std::to_string(layer) + ".";
        const Value h = norm_at(x, at + "input_layernorm");
        // Behind the last layer's keys and values only the token that is read matters.
        const bool last = layer == layers - 1;
        const Value h_query = last ? program.at_reads(h) : h;
        const Index width = heads * head_size, key_width = key_value_heads * head_size;
        Value q = program.linear(h_query, weight(at + "self_attn.q_proj", width, hidden, attention));
        Value k = program.linear(h, weight(at + "self_attn.k_proj", key_width, hidden, attention));
        const Value v = program.linear(h, weight(at + "self_attn.v_proj", key_width, hidden, attention));
        q = program.rotary(q, head_size, theta);
        k = program.rotary(k, head_size, theta);
        const Value a = program.attention({q, k, v, heads, key_value_heads, head_size,
                                           1.0 / std::sqrt(static_cast<double>(head_size)), std::nullopt, {}});
        if (last) x = program.at_reads(x);
        x = program.add(x, program.linear(a, weight(at + "self_attn.o_proj", hidden, width, attention)));
        const Value m = norm_at(x, at + "post_attention_layernorm");
        const Value gate = program.linear(m, weight(at + "mlp.gate_proj", intermediate, hidden, mlp));
        const Value up = program.linear(m, weight(at + "mlp.up_proj", intermediate, hidden, mlp));
        const Value gated = program.multiply(program.activate(gate, Activation::silu), up);
        x = program.add(x, program.linear(gated, weight(at + "mlp.down_proj", hidden, intermediate, mlp)));
    }
    x = norm_at(x, "model.norm");
    const bool tied = config.flag("tie_word_embeddings", false);
    program.label_logits(x, tied ? table : weight("lm_head", vocabulary, hidden, head));
    return program;
}

}  // namespace tangram
