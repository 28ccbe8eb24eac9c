#include "parts.hpp"

#include <fmt/core.h>

#include <optional>

namespace tangram::parts {

Index head_size(const Config& config, const std::string& heads_key, Index heads, Index width) {
    const Index largest = Config::largest("head_dim");
    if (width % heads != 0)
        config.refuse(ErrorKind::contradiction, heads_key, fmt::format("it must divide the width {}", width));
    if (width / heads > largest)
        config.refuse(
            ErrorKind::out_of_range, heads_key,
            fmt::format("{} of the width {} for each head are more than {}", width / heads, width, largest));
    return width / heads;
}

Index size(const Config& config, const std::string& key, const std::string& other_name,
           std::optional<Index> otherwise) {
    if (!config.has(key) && config.has(other_name)) return config.size(other_name);
    const Index value = otherwise ? config.size(key, *otherwise) : config.size(key);
    config.expect(other_name, key, value);
    return value;
}

Activation activation(const Config& config, const std::string& key, const std::string& otherwise) {
    const std::string name = config.text(key, otherwise);
    if (name == "silu" || name == "swish") return Activation::silu;
    if (name == "gelu") return Activation::gelu;
    // gelu_fast is gelu_new with sqrt(2/pi) written 0.7978845608 (FastGELUActivation of transformers'
    // activations.py): the same number in float32; in float64 the argument of tanh differs by 3.6e-12 of
    // itself.
    if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") return Activation::gelu_new;
    if (name == "quick_gelu") return Activation::quick_gelu;
    if (name == "relu") return Activation::relu;
    if (name == "tanh") return Activation::tanh;
    config.refuse(ErrorKind::unsupported, key,
                  "supported: silu, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, quick_gelu, relu, tanh");
}

Value Module::linear(Value in, const std::string& part, Index d_out, ParameterKind kind,
                     bool with_bias) const {
    const ParameterId w = weight(part, d_out, program.shape(in).width, kind);
    return program.linear(in, w, with_bias ? std::optional(bias(part, d_out, kind)) : std::nullopt);
}

Value Module::layer_norm(Value in, const std::string& part, double epsilon, bool with_bias) const {
    const Index width = program.shape(in).width;
    const ParameterId w = program.parameter(name + part + ".weight", {width}, ParameterKind::norm);
    return program.layer_norm(
        in, w, with_bias ? std::optional(bias(part, width, ParameterKind::norm)) : std::nullopt, epsilon);
}

Value Module::rms_norm(Value in, const std::string& part, RmsNormStyle style) const {
    const Index width = style.width > 0 ? style.width : program.shape(in).width;
    const ParameterId w = program.parameter(name + part + ".weight", {width}, ParameterKind::norm);
    if (style.shift != 0) program.drawn_as_zeros(w);
    return program.rms_norm(in, w, style.epsilon, style.shift);
}

void causal_head(Program& program, Value features, std::optional<ParameterId> tied_table,
                 const std::string& head_name, std::optional<Index> classifier_labels, bool biased,
                 std::optional<double> cap) {
    const Index hidden = program.shape(features).width, words = program.vocabulary_size;
    const Module root{program, ""};
    if (classifier_labels) {
        program.label_logits(features, root.weight("score", *classifier_labels, hidden, ParameterKind::head));
        return;
    }
    if (tied_table) program.copy_of(head_name + ".weight", *tied_table);
    const ParameterId table =
        tied_table ? *tied_table : root.weight(head_name, words, hidden, ParameterKind::head);
    program.label_logits(
        features, table,
        biased ? std::optional(root.bias(head_name, words, ParameterKind::head)) : std::nullopt, cap);
}

void first_token_classifier(Program& program, Value features, Index labels) {
    const Module root{program, ""};
    const ParameterId weight =
        root.weight("classifier", labels, program.shape(features).width, ParameterKind::head);
    program.label_logits(features, weight, root.bias("classifier", labels, ParameterKind::head));
}

}  // namespace tangram::parts
