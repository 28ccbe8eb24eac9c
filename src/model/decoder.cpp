#include "decoder.hpp"

#include <algorithm>
#include <cmath>

namespace tangram::parts {

namespace {

using enum ParameterKind;

Index size_or(const Config& config, const std::string& key, const std::optional<Index>& otherwise) {
    return otherwise ? config.size(key, *otherwise) : config.size(key);
}

Value norm_of(const Module& module, const DecoderStyle& style, Value in, const std::string& part) {
    return style.layer_norms ? module.layer_norm(in, part, style.epsilon)
                             : module.rms_norm(in, part, {style.epsilon, style.norm_shift});
}

/// One layer of a decoder: attention and MLP, each added to what goes by.
class Layer {
  public:
    Layer(Program& program, const DecoderStyle& style, const DecoderLayer& layer, Index number, bool last)
        : program_(program),
          block_{program, style.prefix + "model.layers." + std::to_string(number) + "."},
          style_(style),
          layer_(layer),
          last_(last) {}

    Value out(Value x) const {
        const Value h = norm(x, style_.before_attention);
        const Value attended = norm(attention_of(h), style_.behind_attention);
        const Value y = program_.add(seen(x), attended, style_.residual_factor);
        const Value m = style_.parallel ? seen(h) : norm(y, style_.before_mlp);
        return program_.add(y, norm(mlp_of(m), style_.behind_mlp), style_.residual_factor);
    }

  private:
    struct Projections {
        Value q, k, v;
    };

    Index query_width() const { return style_.heads * style_.head_size; }
    Index key_width() const { return style_.key_value_heads * style_.head_size; }

    Value attention_of(Value h) const {
        auto [q, k, v] = style_.fused ? fused_projections(h) : projections(h);
        q = turned(q, "self_attn.q_norm");
        k = turned(k, "self_attn.k_norm");
        const Value a = program_.attention({q,
                                            k,
                                            v,
                                            style_.heads,
                                            style_.key_value_heads,
                                            style_.head_size,
                                            style_.score_scale,
                                            layer_.window,
                                            {},
                                            true,
                                            style_.attention_cap});
        return block_.linear(a, style_.attention_output, style_.hidden, attention, style_.output_bias);
    }

    Value mlp_of(Value m) const {
        const Index n = style_.intermediate;
        const bool biased = style_.mlp_bias;
        if (!style_.plain_mlp.in.empty()) {
            const Value wide = block_.linear(m, style_.plain_mlp.in, n, mlp, biased);
            return block_.linear(program_.activate(wide, style_.function), style_.plain_mlp.out,
                                 style_.hidden, mlp, biased);
        }
        Value gate{}, up{};
        if (style_.fused) {
            const Value both = block_.linear(m, "mlp.gate_up_proj", 2 * n, mlp, biased);
            gate = program_.columns(both, 0, n, n, 1);
            up = program_.columns(both, n, n, n, 1);
        } else {
            gate = block_.linear(m, "mlp.gate_proj", n, mlp, biased);
            up = block_.linear(m, "mlp.up_proj", n, mlp, biased);
        }
        const Value gated = program_.multiply(program_.activate(gate, style_.function), up);
        return block_.linear(gated, "mlp.down_proj", style_.hidden, mlp, biased);
    }

    Value norm(Value in, const std::string& part) const {
        return part.empty() ? in : norm_of(block_, style_, in, part);
    }

    // Behind the last layer's keys and values only the token that is read matters.
    Value seen(Value in) const { return last_ ? program_.at_reads(in) : in; }

    Projections projections(Value h) const {
        const bool biased = style_.input_bias;
        const Value q = block_.linear(seen(h), "self_attn.q_proj", query_width(), attention, biased);
        const Value k = block_.linear(h, "self_attn.k_proj", key_width(), attention, biased);
        if (biased && style_.head_norm == HeadNorm::none && !style_.attention_cap)
            leave_idle(program_.parameters().size() - 1);
        return {q, k, block_.linear(h, "self_attn.v_proj", key_width(), attention, biased)};
    }

    Projections fused_projections(Value h) const {
        const Index q = query_width(), k = key_width();
        const Value qkv = block_.linear(h, "self_attn.qkv_proj", q + 2 * k, attention, style_.input_bias);
        return {seen(program_.columns(qkv, 0, q, q, 1)), program_.columns(qkv, q, k, k, 1),
                program_.columns(qkv, q + k, k, k, 1)};
    }

    /// Softmax does not see a shift of all keys in entries that stay where they are.
    void leave_idle(ParameterId key_bias) const {
        const Index turning = layer_.angles ? 2 * std::ssize(layer_.angles->frequencies) : 0;
        for (Index head = 0; head < style_.key_value_heads; ++head)
            program_.idle(key_bias, head * style_.head_size + turning, (head + 1) * style_.head_size);
    }

    Value turned(Value in, const std::string& norm_name) const {
        if (style_.head_norm != HeadNorm::none)
            in = block_.rms_norm(in, norm_name,
                                 {style_.epsilon, style_.norm_shift,
                                  style_.head_norm == HeadNorm::each_head ? style_.head_size : 0});
        return layer_.angles ? program_.rotary(in, style_.head_size, *layer_.angles) : in;
    }

    Program& program_;
    Module block_;
    const DecoderStyle& style_;
    const DecoderLayer& layer_;
    bool last_;
};

}  // namespace

DecoderStyle read_decoder(const Config& config, const DecoderDefaults& defaults) {
    DecoderStyle style{};
    style.hidden = size_or(config, "hidden_size", defaults.hidden);
    style.heads = size_or(config, "num_attention_heads", defaults.heads);
    const bool no_key = !config.names("num_key_value_heads") && defaults.key_value_heads;
    style.key_value_heads =
        config.size("num_key_value_heads", no_key ? *defaults.key_value_heads : style.heads);
    if (style.heads % style.key_value_heads != 0)
        config.refuse(ErrorKind::contradiction, "num_key_value_heads", "it must divide num_attention_heads");
    style.head_size = config.has("head_dim") ? config.size("head_dim")
                      : defaults.head_size
                          ? *defaults.head_size
                          : head_size(config, "num_attention_heads", style.heads, style.hidden);
    style.intermediate = size_or(config, "intermediate_size", defaults.intermediate);
    style.epsilon = config.number(defaults.epsilon_key, defaults.epsilon);
    style.function = activation(config, defaults.activation_key, defaults.activation);
    if (style.head_size % 2 != 0)
        config.refuse(ErrorKind::out_of_range, "head_dim", "rotary positions need an even head size");
    style.vocabulary = size_or(config, "vocab_size", defaults.vocabulary);
    style.positions = size_or(config, "max_position_embeddings", defaults.positions);
    style.layers.resize(static_cast<std::size_t>(size_or(config, "num_hidden_layers", defaults.layers)));
    style.tied = config.flag("tie_word_embeddings", defaults.tied);
    style.score_scale = 1.0 / std::sqrt(static_cast<double>(style.head_size));
    return style;
}

Index turning_entries(const Config& config, Index head_size, double otherwise) {
    const double share = rotary_share(config, "partial_rotary_factor", otherwise);
    const auto turning = static_cast<Index>(static_cast<double>(head_size) * share);
    if (turning % 2 != 0)
        config.refuse(ErrorKind::contradiction, "partial_rotary_factor",
                      "it must turn an even number of a head's entries");
    return turning;
}

void set_layers(DecoderStyle& style, const DecoderLayer& layer) { std::ranges::fill(style.layers, layer); }

std::vector<bool> sliding_layers(const Config& config, const std::vector<bool>& otherwise) {
    if (!config.has("layer_types")) return otherwise;
    const nlohmann::json& types = config.at("layer_types");
    if (!types.is_array() || types.size() != otherwise.size())
        config.refuse(ErrorKind::contradiction, "layer_types", "it must name num_hidden_layers layers");
    std::vector<bool> listed;
    for (const nlohmann::json& type : types) {
        if (type != "full_attention" && type != "sliding_attention")
            config.refuse(ErrorKind::unsupported, "layer_types",
                          "supported: \"full_attention\" and \"sliding_attention\"");
        listed.push_back(type == "sliding_attention");
    }
    return listed;
}

void set_windows(const Config& config, DecoderStyle& style, std::optional<Index> window,
                 const std::vector<bool>& own, const std::string& own_key) {
    const std::vector<bool> listed = sliding_layers(config, own);
    const bool any = std::ranges::find(listed, true) != listed.end();
    if (any && !window)
        config.refuse(
            ErrorKind::unsupported, "layer_types",
            "sliding_attention needs sliding_window, and use_sliding_window where there is such a key");
    if (listed != own && !own_key.empty() && config.names(own_key))
        config.note("layer_types counts, " + own_key +
                    " says otherwise; transformers before 4.53 went by the latter");
    for (std::size_t i = 0; i < listed.size(); ++i)
        style.layers[i].window = listed[i] ? window : std::nullopt;
}

void set_windows_but(const Config& config, DecoderStyle& style, Index period, const std::string& own_key) {
    const std::optional<Index> window = config.names("sliding_window") && !config.has("sliding_window")
                                            ? std::nullopt
                                            : std::optional(config.size("sliding_window", 4096));
    std::vector<bool> own;
    for (Index i = 0; i < std::ssize(style.layers); ++i) own.push_back((i + 1) % period != 0);
    set_windows(config, style, window, own, own_key);
}

void set_alike(const Config& config, DecoderStyle& style, std::optional<Index> window) {
    const std::vector<bool> own(style.layers.size(), window.has_value());
    if (sliding_layers(config, own) != own)
        config.refuse(ErrorKind::unsupported, "layer_types", "this family's layers are all alike");
    for (DecoderLayer& layer : style.layers) layer.window = window;
}

Program decoder(const DecoderStyle& style, std::optional<Index> classifier_labels) {
    Program program;
    program.vocabulary_size = style.vocabulary;
    program.maximum_length = style.positions;
    const Module model{program, style.prefix + "model."};
    const ParameterId table = model.weight("embed_tokens", style.vocabulary, style.hidden, embedding);
    Value x = program.embedding(table);
    if (style.embedding_factor) x = program.scale(x, *style.embedding_factor);
    const Index count = std::ssize(style.layers);
    for (Index i = 0; i < count; ++i) {
        const Layer layer(program, style, style.layers[static_cast<std::size_t>(i)], i, i == count - 1);
        x = layer.out(x);
    }
    x = norm_of(model, style, x, style.final_norm);
    if (style.logit_factor && !classifier_labels) x = program.scale(x, *style.logit_factor);
    causal_head(program, x, style.tied ? std::optional(table) : std::nullopt, style.prefix + "lm_head",
                classifier_labels, style.head_bias, style.logit_cap);
    return program;
}

}  // namespace tangram::parts
