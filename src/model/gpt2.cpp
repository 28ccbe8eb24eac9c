#include <cmath>

#include "parts.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

/// GPT2LMHeadModel: learned positions, layer norms before attention and MLP, q, k and v from one matrix,
/// weights stored as [d_in, d_out] (Radford et al. 2019; tensor names as Hugging Face stores them).
Program gpt2(const Config& config, std::optional<Index> classifier_labels) {
    using enum ParameterKind;
    const Index hidden = parts::size(config, "n_embd", "hidden_size");
    const Index heads = parts::size(config, "n_head", "num_attention_heads");
    const Index head_size = parts::head_size(config, "n_head", heads, hidden);
    const Index layers = parts::size(config, "n_layer", "num_hidden_layers");
    const Index inner = config.size("n_inner", 4 * hidden);
    config.expect("intermediate_size", "n_inner", inner);
    const double epsilon = config.number("layer_norm_epsilon", 1e-5);
    const Activation function = parts::activation(config, "activation_function", "gelu_new");
    const bool scaled = config.flag("scale_attn_weights", true);
    const bool by_layer = config.flag("scale_attn_by_inverse_layer_idx", false);
    if (config.flag("add_cross_attention", false))
        config.refuse(ErrorKind::unsupported, "add_cross_attention", "supported: false");

    Program program;
    program.vocabulary_size = config.size("vocab_size");
    program.maximum_length = parts::size(config, "n_positions", "max_position_embeddings");
    const parts::Module model{program, "transformer."};
    const ParameterId table = model.weight("wte", program.vocabulary_size, hidden, embedding);
    Value x = program.embedding(table);
    x = program.positions(x, model.weight("wpe", program.maximum_length, hidden, embedding));
    for (Index layer = 0; layer < layers; ++layer) {
        const parts::Module block{program, "transformer.h." + std::to_string(layer) + "."};
        const auto conv1d = [&](Value in, const std::string& name, Index d_out, ParameterKind kind) {
            const ParameterId w = program.transposed_parameter(block.name + name + ".weight",
                                                               {d_out, program.shape(in).width}, kind);
            const ParameterId b = block.bias(name, d_out, kind);
            if (name == "attn.c_attn")
                program.idle(b, hidden, 2 * hidden);  // keys: softmax does not see a shift
            return program.linear(in, w, b);
        };
        // Behind the last layer's keys and values only the token that is read matters.
        const bool last = layer == layers - 1;
        const Value qkv = conv1d(block.layer_norm(x, "ln_1", epsilon), "attn.c_attn", 3 * hidden, attention);
        const auto third = [&](Index i) { return program.columns(qkv, i * hidden, hidden, hidden, 1); };
        const Value q = last ? program.at_reads(third(0)) : third(0);
        double scale = scaled ? 1.0 / std::sqrt(static_cast<double>(head_size)) : 1.0;
        if (by_layer) scale /= static_cast<double>(layer + 1);
        const Value a =
            program.attention({q, third(1), third(2), heads, heads, head_size, scale, std::nullopt});
        if (last) x = program.at_reads(x);
        x = program.add(x, conv1d(a, "attn.c_proj", hidden, attention));
        const Value m = conv1d(block.layer_norm(x, "ln_2", epsilon), "mlp.c_fc", inner, mlp);
        x = program.add(x, conv1d(program.activate(m, function), "mlp.c_proj", hidden, mlp));
    }
    x = model.layer_norm(x, "ln_f", epsilon);
    const bool tied = config.flag("tie_word_embeddings", true);
    parts::causal_head(program, x, tied ? std::optional(table) : std::nullopt, "lm_head", classifier_labels);
    return program;
}

}  // namespace tangram
