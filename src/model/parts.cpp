#include "parts.hpp"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace tangram::parts {

Index head_size(const Config& config, const std::string& heads_key, Index width) {
    const Index heads = config.size(heads_key), largest = Config::largest("head_dim");
    if (width % heads != 0)
        config.refuse(ErrorKind::contradiction, heads_key, fmt::format("it must divide the width {}", width));
    if (width / heads > largest)
        config.refuse(
            ErrorKind::out_of_range, heads_key,
            fmt::format("{} of the width {} for each head are more than {}", width / heads, width, largest));
    return width / heads;
}

Activation activation(const Config& config, const std::string& key, const std::string& otherwise) {
    const std::string name = config.text(key, otherwise);
    if (name == "silu" || name == "swish") return Activation::silu;
    if (name == "gelu") return Activation::gelu;
    if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::gelu_new;
    if (name == "quick_gelu") return Activation::quick_gelu;
    if (name == "relu") return Activation::relu;
    if (name == "tanh") return Activation::tanh;
    config.refuse(ErrorKind::unsupported, key,
                  "supported: silu, gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, relu, tanh");
}

namespace {

/// rope_scaling, rope_parameters or nothing.
const nlohmann::json* rope_settings(const Config& config, std::string& key) {
    for (const char* candidate : {"rope_parameters", "rope_scaling"})
        if (config.has(candidate)) {
            key = candidate;
            const nlohmann::json& settings = config.at(key);
            if (!settings.is_object())
                config.refuse(ErrorKind::malformed, key, "it must be an object or null");
            return &settings;
        }
    return nullptr;
}

}  // namespace

double rotary_share(const Config& config, const std::string& older_key, double otherwise) {
    std::string key;
    const nlohmann::json* const settings = rope_settings(config, key);
    const bool nested = settings != nullptr && settings->contains("partial_rotary_factor");
    if (!nested) key = config.has("partial_rotary_factor") ? "partial_rotary_factor" : older_key;
    if (nested && !(*settings)["partial_rotary_factor"].is_number())
        config.refuse(ErrorKind::malformed, key, "partial_rotary_factor must be a number");
    const double share =
        nested ? (*settings)["partial_rotary_factor"].get<double>() : config.number(key, otherwise);
    if (!(share >= 0 && share <= 1))
        config.refuse(ErrorKind::out_of_range, key, "it must be between 0 and 1");
    return share;
}

double rotary_theta(const Config& config, double otherwise) {
    std::string key;
    const nlohmann::json* const settings = rope_settings(config, key);
    if (settings != nullptr && settings->contains("rope_theta")) {
        const nlohmann::json& theta = (*settings)["rope_theta"];
        if (!theta.is_number() || !(theta.get<double>() > 0))
            config.refuse(ErrorKind::out_of_range, key, "rope_theta must be positive");
        return theta.get<double>();
    }
    const double theta = config.number("rope_theta", otherwise);
    if (!(theta > 0)) config.refuse(ErrorKind::out_of_range, "rope_theta", "it must be positive");
    return theta;
}

std::vector<double> rotary_frequencies(const Config& config, Index size, double theta) {
    std::vector<double> frequencies;
    for (Index i = 0; i < size / 2; ++i)
        frequencies.push_back(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(size)));
    std::string key;
    const nlohmann::json* const settings = rope_settings(config, key);
    if (settings == nullptr) return frequencies;
    const auto text = [&](const char* name) {
        const auto found = settings->find(name);
        return found != settings->end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    const auto number = [&](const char* name) {
        const auto found = settings->find(name);
        if (found == settings->end() || !found->is_number() || !(found->get<double>() > 0))
            config.refuse(found == settings->end() ? ErrorKind::missing : ErrorKind::out_of_range, key,
                          std::string(name) + " must be a positive number");
        return found->get<double>();
    };
    std::string type = text("rope_type");
    if (type.empty()) type = text("type");
    for (const auto& [name, value] : settings->items())
        if (value.is_object())
            config.refuse(ErrorKind::unsupported, key, "supported: one rule for all layers");
    if (type.empty() && settings->contains("factor"))
        config.refuse(ErrorKind::missing, key, "its rope_type is missing");
    if (type.empty() || type == "default") return frequencies;
    if (type == "linear") {
        for (double& frequency : frequencies) frequency /= number("factor");
        return frequencies;
    }
    if (type != "llama3")
        config.refuse(ErrorKind::unsupported, key, "supported types: default, linear, llama3");
    const double factor = number("factor"), low = number("low_freq_factor"),
                 high = number("high_freq_factor"),
                 trained_length = number("original_max_position_embeddings");
    if (!(high > low))
        config.refuse(ErrorKind::contradiction, key, "high_freq_factor must exceed low_freq_factor");
    for (double& frequency : frequencies) {
        // Short waves stay, long ones are stretched by the factor, between them a mixture.
        const double waves = trained_length * frequency / (2 * std::numbers::pi);  // in the trained length
        const double kept = std::min(1.0, std::max(0.0, (waves - low) / (high - low)));
        frequency = (1 - kept) * frequency / factor + kept * frequency;
    }
    return frequencies;
}

Value Module::linear(Value in, const std::string& part, Index d_out, ParameterKind kind,
                     bool with_bias) const {
    const ParameterId w = weight(part, d_out, program.shape(in).width, kind);
    return program.linear(in, w, with_bias ? std::optional(bias(part, d_out, kind)) : std::nullopt);
}

Value Module::layer_norm(Value in, const std::string& part, double epsilon) const {
    const Index width = program.shape(in).width;
    const ParameterId w = program.parameter(name + part + ".weight", {width}, ParameterKind::norm);
    return program.layer_norm(in, w, bias(part, width, ParameterKind::norm), epsilon);
}

Value Module::rms_norm(Value in, const std::string& part, double epsilon) const {
    const Index width = program.shape(in).width;
    return program.rms_norm(in, program.parameter(name + part + ".weight", {width}, ParameterKind::norm),
                            epsilon);
}

void causal_head(Program& program, Value features, std::optional<ParameterId> tied_table,
                 const std::string& head_name, std::optional<Index> classifier_labels) {
    const Index hidden = program.shape(features).width;
    const Module root{program, ""};
    if (classifier_labels) {
        program.label_logits(features, root.weight("score", *classifier_labels, hidden, ParameterKind::head));
    } else if (tied_table) {
        program.copy_of(head_name + ".weight", *tied_table);
        program.label_logits(features, *tied_table);
    } else {
        program.label_logits(features,
                             root.weight(head_name, program.vocabulary_size, hidden, ParameterKind::head));
    }
}

}  // namespace tangram::parts
