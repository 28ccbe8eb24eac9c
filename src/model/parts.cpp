#include "parts.hpp"

#include <fmt/format.h>

#include <cmath>
#include <numbers>
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

Index size(const Config& config, const std::string& key, const std::string& other_name) {
    if (!config.has(key) && config.has(other_name)) return config.size(other_name);
    const Index value = config.size(key);
    config.expect(other_name, key, value);
    return value;
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
std::optional<Config> rope_settings(const Config& config) {
    const auto given = [&](const char* key) { return config.has(key) && !config.at(key).empty(); };
    const bool older = given("rope_scaling"), newer = given("rope_parameters");
    if (older && newer && config.at("rope_scaling") != config.at("rope_parameters"))
        config.note(
            "rope_scaling counts, rope_parameters beside it does not, as in transformers 4 and 5; remove "
            "one");
    if (older) return config.inside("rope_scaling");
    if (newer) return config.inside("rope_parameters");
    return std::nullopt;
}

/// One of the places where a setting may stand.
struct Place {
    const Config* config;
    std::string key;
};

/// The first place that holds the setting; a note where a later one says otherwise.
std::optional<Place> first_of(const std::vector<Place>& places) {
    std::optional<Place> first;
    for (const Place& place : places) {
        if (!place.config->has(place.key)) continue;
        if (!first)
            first = place;
        else if (place.config->at(place.key) != first->config->at(first->key))
            place.config->note(
                fmt::format("{} counts, {} beside it does not; versions of transformers differ "
                            "in this, remove one",
                            first->config->full(first->key), place.config->full(place.key)));
    }
    return first;
}

}  // namespace

double rotary_share(const Config& config, const std::string& older_key, double otherwise) {
    const std::optional<Config> settings = rope_settings(config);
    std::vector<Place> places{{&config, "partial_rotary_factor"}};
    if (settings) places.insert(places.begin(), {&*settings, "partial_rotary_factor"});
    if (older_key != "partial_rotary_factor") places.push_back({&config, older_key});
    const std::optional<Place> place = first_of(places);
    const double share = place ? place->config->number(place->key) : otherwise;
    if (!(share >= 0 && share <= 1))
        place->config->refuse(ErrorKind::out_of_range, place->key, "it must be between 0 and 1");
    return share;
}

double rotary_theta(const Config& config, const std::string& older_key, double otherwise) {
    const std::optional<Config> settings = rope_settings(config);
    std::vector<Place> places{{&config, "rope_theta"}};
    if (settings) places.insert(places.begin(), {&*settings, "rope_theta"});
    if (!older_key.empty()) places.push_back({&config, older_key});
    const std::optional<Place> place = first_of(places);
    const double theta = place ? place->config->number(place->key) : otherwise;
    if (!(theta > 0)) place->config->refuse(ErrorKind::out_of_range, place->key, "it must be positive");
    return theta;
}

std::vector<double> rotary_frequencies(const Config& config, Index size, double theta) {
    std::vector<double> frequencies;
    for (Index i = 0; i < size / 2; ++i)
        frequencies.push_back(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(size)));
    const std::optional<Config> settings = rope_settings(config);
    if (!settings) return frequencies;
    const auto number = [&](const char* name) {
        const double value = settings->number(name);
        if (!(value > 0)) settings->refuse(ErrorKind::out_of_range, name, "it must be a positive number");
        return value;
    };
    for (const auto& [name, value] : settings->values().items())
        if (value.is_object())
            settings->refuse(ErrorKind::unsupported, name, "supported: one rule for all layers");
    const std::optional<Place> place = first_of({{&*settings, "rope_type"}, {&*settings, "type"}});
    const std::string type = place ? settings->text(place->key) : "default";
    if (!place && settings->has("factor"))
        settings->refuse(ErrorKind::missing, "rope_type", "factor needs it");
    if (type == "default") return frequencies;
    if (type == "linear") {
        for (double& frequency : frequencies) frequency /= number("factor");
        return frequencies;
    }
    if (type != "llama3")
        settings->refuse(ErrorKind::unsupported, place->key, "supported types: default, linear, llama3");
    const double factor = number("factor"), low = number("low_freq_factor"),
                 high = number("high_freq_factor"),
                 trained_length = number("original_max_position_embeddings");
    if (!(high > low))
        settings->refuse(ErrorKind::contradiction, "high_freq_factor", "it must exceed low_freq_factor");
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
