#include <cmath>

#include "parts.hpp"
#include "tangram/model/architectures.hpp"

namespace tangram {

namespace {

using enum ParameterKind;

struct OptSizes {
    Index hidden, heads, head_size, inner;
    Activation function;
    bool norm_before, biased;
};

/// What transformers' nn.LayerNorm takes; there is no key for it.
constexpr double epsilon = 1e-5;

/// Attention and MLP of one layer, each with its norm before it or behind.
Value opt_layer(Program& program, Value x, Index number, bool last, const OptSizes& of) {
    const parts::Module block{program, "model.decoder.layers." + std::to_string(number) + "."};
    const std::string attn = "self_attn.";
    const Value h = of.norm_before ? block.layer_norm(x, "self_attn_layer_norm", epsilon) : x;
    // Behind the last layer's keys and values only the token that is read matters.
    const Value q =
        block.linear(last ? program.at_reads(h) : h, attn + "q_proj", of.hidden, attention, of.biased);
    const Value k = block.linear(h, attn + "k_proj", of.hidden, attention, of.biased);
    if (of.biased)  // softmax does not see a shift of all keys
        program.idle(program.parameters().size() - 1, 0, of.hidden);
    const Value v = block.linear(h, attn + "v_proj", of.hidden, attention, of.biased);
    const Value a = program.attention({q, k, v, of.heads, of.heads, of.head_size,
                                       1.0 / std::sqrt(static_cast<double>(of.head_size)), std::nullopt});
    if (last) x = program.at_reads(x);
    x = program.add(x, block.linear(a, attn + "out_proj", of.hidden, attention, of.biased));
    if (!of.norm_before) x = block.layer_norm(x, "self_attn_layer_norm", epsilon);
    const Value m = of.norm_before ? block.layer_norm(x, "final_layer_norm", epsilon) : x;
    const Value wide = program.activate(block.linear(m, "fc1", of.inner, mlp, of.biased), of.function);
    x = program.add(x, block.linear(wide, "fc2", of.hidden, mlp, of.biased));
    return of.norm_before ? x : block.layer_norm(x, "final_layer_norm", epsilon);
}

}  // namespace

/// OPTForCausalLM: learned positions from row 2 on, norms before attention and MLP or (350m) behind them,
/// embeddings that may be narrower than the layers (Zhang et al. 2022; transformers' modeling_opt; tensor
/// names as Hugging Face stores them).
Program opt(const Config& config, std::optional<Index> classifier_labels) {
    const Index hidden = config.size("hidden_size", 768), heads = config.size("num_attention_heads", 12);
    const OptSizes of{hidden,
                      heads,
                      parts::head_size(config, "num_attention_heads", heads, hidden),
                      config.size("ffn_dim", 3072),
                      parts::activation(config, "activation_function", "relu"),
                      config.flag("do_layer_norm_before", true),
                      config.flag("enable_bias", true)};
    const Index narrow = config.size("word_embed_proj_dim", hidden);
    const Index layers = config.size("num_hidden_layers", 12);
    if (!config.flag("layer_norm_elementwise_affine", true))
        config.refuse(ErrorKind::unsupported, "layer_norm_elementwise_affine", "supported: true");

    Program program;
    program.vocabulary_size = config.size("vocab_size", 50272);
    program.maximum_length = config.size("max_position_embeddings", 2048);
    const parts::Module model{program, "model.decoder."};
    const ParameterId table = model.weight("embed_tokens", program.vocabulary_size, narrow, embedding);
    Value x = program.embedding(table);
    if (narrow != hidden) x = model.linear(x, "project_in", hidden, mlp, false);
    constexpr Index first_position = 2;
    x = program.positions(
        x, model.weight("embed_positions", program.maximum_length + first_position, hidden, embedding),
        first_position);
    for (Index layer = 0; layer < layers; ++layer) x = opt_layer(program, x, layer, layer == layers - 1, of);
    // Files of before transformers 4.20 may be without the final norm.
    const bool removed = config.flag("_remove_final_layer_norm", false);
    if (of.norm_before && !removed) x = model.layer_norm(x, "final_layer_norm", epsilon);
    if (narrow != hidden) x = model.linear(x, "project_out", narrow, mlp, false);
    const bool tied = config.flag("tie_word_embeddings", true);
    parts::causal_head(program, x, tied ? std::optional(table) : std::nullopt, "lm_head", classifier_labels);
    return program;
}

}  // namespace tangram
