#include "rotary_settings.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "tangram/elementary.hpp"

namespace tangram::parts {

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

/// Refuses settings for all layers that those of a kind of layers do not repeat: transformers 5 takes them
/// into the latter (configuration_gemma3, configuration_modernbert), transformers 4 reads them alone.
void refuse_settings_beside(const Config& config, const Config& of_all,
                            const std::optional<Config>& of_kind) {
    for (const auto& [key, value] : of_all.values().items())
        if (of_all.has(key) && !(of_kind && of_kind->has(key) && of_kind->at(key) == value))
            config.refuse(ErrorKind::contradiction, "rope_scaling",
                          fmt::format("rope_parameters beside it says otherwise of {}; write all settings "
                                      "under rope_parameters, layer type by layer type",
                                      key));
}

struct Settings {
    std::optional<Config> given;  ///< nothing: there are none
    bool base_alone = false;      ///< of them rope_theta alone counts
};

/// The settings of the style's layers.
Settings settings_of(const Config& config, const RotaryStyle& style) {
    if (!style.layer_type.empty() && config.has("rope_scaling") && config.has("rope_parameters")) {
        const Config newer = config.inside("rope_parameters");
        if (newer.has("full_attention") || newer.has("sliding_attention")) {
            const auto own =
                newer.has(style.layer_type) ? std::optional(newer.inside(style.layer_type)) : std::nullopt;
            if (style.shared == SharedSettings::all)
                refuse_settings_beside(config, config.inside("rope_scaling"), own);
            return {own};
        }
    }
    const std::optional<Config> all = rope_settings(config);
    if (!all || style.layer_type.empty()) return {all};
    bool by_type = false;
    for (const char* type : {"full_attention", "sliding_attention"}) by_type = by_type || all->has(type);
    if (by_type)
        return {all->has(style.layer_type) ? std::optional(all->inside(style.layer_type)) : std::nullopt};
    if (style.shared == SharedSettings::none) return {};
    return {all, style.shared == SharedSettings::base};
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

/// @throws Error(input) naming the key
double positive(const Config& settings, const std::string& key) {
    const double value = settings.number(key);
    if (!(value > 0)) settings.refuse(ErrorKind::out_of_range, key, "it must be a positive number");
    return value;
}

/// The same, where the key is absent, null or 0: otherwise.
double positive(const Config& settings, const std::string& key, double otherwise) {
    return settings.number(key, 0.0) == 0.0 ? otherwise : positive(settings, key);
}

double theta_of(const Config& config, const std::optional<Config>& settings, const RotaryStyle& style) {
    std::vector<Place> places{{&config, style.theta_key}};
    if (settings) places.insert(places.begin(), {&*settings, "rope_theta"});
    if (!style.older_theta_key.empty()) places.push_back({&config, style.older_theta_key});
    const std::optional<Place> place = first_of(places);
    return place ? positive(*place->config, place->key) : style.theta;
}

/// Short waves stay, long ones are stretched by the factor, between them a mixture.
void scale_by_pieces(const Config& settings, std::vector<double>& frequencies) {
    const double factor = positive(settings, "factor"), low = positive(settings, "low_freq_factor"),
                 high = positive(settings, "high_freq_factor"),
                 trained_length = positive(settings, "original_max_position_embeddings");
    if (!(high > low))
        settings.refuse(ErrorKind::contradiction, "high_freq_factor", "it must exceed low_freq_factor");
    for (double& frequency : frequencies) {
        const double waves = trained_length * frequency / (2 * std::numbers::pi);  // in the trained length
        const double kept = std::min(1.0, std::max(0.0, (waves - low) / (high - low)));
        frequency = (1 - kept) * frequency / factor + kept * frequency;
    }
}

/// Tokens that the model was trained for before its positions were stretched, as transformers 5 has it.
double trained_length(const Config& config, const Config& settings, const RotaryStyle& style) {
    const char* const key = "original_max_position_embeddings";
    const std::optional<Place> place = first_of({{&config, key}, {&settings, key}});
    if (!place && style.trained_length) return static_cast<double>(*style.trained_length);
    const auto longest = static_cast<double>(config.size("max_position_embeddings"));
    if (!place) return longest;
    const double length = positive(*place->config, place->key);
    if (place->config == &settings && length != longest)
        config.note(
            fmt::format("{} is the length that the model was trained for, as in transformers 5; earlier "
                        "versions take max_position_embeddings",
                        settings.full(key)));
    return length;
}

/// How often a model's longest text holds the trained length, as transformers 5 has it.
double stretch(const Config& config, const Config& settings, double length) {
    if (settings.has("factor")) return positive(settings, "factor");
    return static_cast<double>(config.size("max_position_embeddings")) / length;
}

/// YaRN: frequencies that turn `beta_fast` times or more in the trained length stay, those that turn
/// `beta_slow` times or less are divided by the factor, and between the two the share is linear in their
/// number.
RotaryAngles yarn(const Config& config, const Config& settings, const RotaryStyle& style, double theta,
                  std::vector<double> frequencies) {
    const double length = trained_length(config, settings, style);
    if (!settings.names("factor")) positive(settings, "factor");  // says that it is missing
    const double factor = stretch(config, settings, length);
    const auto entries = static_cast<double>(2 * frequencies.size());
    const auto number_that_turns = [&](double times) {
        return entries * elementary::log(length / (times * 2 * std::numbers::pi)) /
               (2 * elementary::log(theta));
    };
    double first = number_that_turns(positive(settings, "beta_fast", 32.0)),
           last = number_that_turns(positive(settings, "beta_slow", 1.0));
    if (settings.flag("truncate", true)) {
        first = std::floor(first);
        last = std::ceil(last);
    }
    first = std::max(first, 0.0);
    last = std::min(last, entries - 1);
    if (first == last) last += 0.001;
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
        const double stretched = std::clamp((static_cast<double>(i) - first) / (last - first), 0.0, 1.0);
        frequencies[i] = frequencies[i] / factor * stretched + frequencies[i] * (1 - stretched);
    }
    const auto magnitude = [&](double scale) {
        return factor <= 1 ? 1.0 : 0.1 * scale * elementary::log(factor) + 1;
    };
    const double above = settings.number("mscale", 0.0), below = settings.number("mscale_all_dim", 0.0);
    const double otherwise = above != 0 && below != 0 ? magnitude(above) / magnitude(below) : magnitude(1);
    return {.frequencies = std::move(frequencies),
            .factor = settings.has("attention_factor") ? positive(settings, "attention_factor") : otherwise};
}

/// A list of as many positive numbers as there are frequencies.
std::vector<double> divisors(const Config& settings, const std::string& key, std::size_t count) {
    const nlohmann::json& list = settings.at(key);
    std::vector<double> numbers;
    for (const nlohmann::json& entry : list)
        if (entry.is_number() && std::isfinite(entry.get<double>()) && entry.get<double>() > 0)
            numbers.push_back(entry.get<double>());
    if (!list.is_array() || numbers.size() != count || list.size() != count)
        settings.refuse(ErrorKind::malformed, key,
                        fmt::format("it must be a list of {} positive numbers", count));
    return numbers;
}

/// LongRoPE: every frequency has a divisor of its own, another one in texts beyond the trained length.
RotaryAngles longrope(const Config& config, const Config& settings, const RotaryStyle& style,
                      const std::vector<double>& frequencies) {
    const double length = trained_length(config, settings, style);
    const double factor = stretch(config, settings, length);
    if (factor != static_cast<double>(config.size("max_position_embeddings")) / length)
        config.note(
            fmt::format("{} counts, as in transformers 5; earlier versions take "
                        "max_position_embeddings over the trained length",
                        settings.full("factor")));
    const double otherwise =
        factor <= 1 ? 1.0 : std::sqrt(1 + elementary::log(factor) / elementary::log(length));
    RotaryAngles angles{
        .frequencies = frequencies,
        .factor = settings.has("attention_factor") ? positive(settings, "attention_factor") : otherwise,
        .long_frequencies = frequencies,
        .longest = static_cast<Index>(length)};
    const std::vector<double> in_short = divisors(settings, "short_factor", frequencies.size()),
                              in_long = divisors(settings, "long_factor", frequencies.size());
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
        angles.frequencies[i] /= in_short[i];
        angles.long_frequencies[i] /= in_long[i];
    }
    return angles;
}

}  // namespace

double rotary_share(const Config& config, const std::string& older_key, double otherwise,
                    std::optional<double> only) {
    const std::optional<Config> settings = rope_settings(config);
    std::vector<Place> places{{&config, "partial_rotary_factor"}};
    if (settings) places.insert(places.begin(), {&*settings, "partial_rotary_factor"});
    if (older_key != "partial_rotary_factor") places.push_back({&config, older_key});
    const std::optional<Place> place = first_of(places);
    const double share = place ? place->config->number(place->key) : otherwise;
    if (!(share >= 0 && share <= 1))
        place->config->refuse(ErrorKind::out_of_range, place->key, "it must be between 0 and 1");
    if (only && share != *only)
        place->config->refuse(ErrorKind::unsupported, place->key, fmt::format("supported: {}", *only));
    return share;
}

void refuse_other_shares(const Config& config) { rotary_share(config, "partial_rotary_factor", 1.0, 1.0); }

RotaryAngles rotary_angles(const Config& config, Index size, const RotaryStyle& style) {
    const auto [settings, base_alone] = settings_of(config, style);
    const double theta = theta_of(config, settings, style);
    std::vector<double> frequencies;
    for (Index i = 0; i < size / 2; ++i)
        frequencies.push_back(
            elementary::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(size)));
    if (!settings || base_alone) return {.frequencies = std::move(frequencies)};
    for (const auto& [name, value] : settings->values().items())
        if (value.is_object())
            settings->refuse(ErrorKind::unsupported, name, "supported: one rule for all layers");
    const std::optional<Place> place = first_of({{&*settings, "rope_type"}, {&*settings, "type"}});
    std::string type = place ? settings->text(place->key) : "default";
    if (!place && settings->has("factor"))
        settings->refuse(ErrorKind::missing, "rope_type", "factor needs it");
    if (style.trained_length && (type == "su" || type == "yarn")) type = "longrope";
    if (type == "yarn") return yarn(config, *settings, style, theta, std::move(frequencies));
    if (type == "longrope") return longrope(config, *settings, style, frequencies);
    if (type == "linear") {
        const double factor = positive(*settings, "factor");
        for (double& frequency : frequencies) frequency /= factor;
    } else if (type == "llama3") {
        scale_by_pieces(*settings, frequencies);
    } else if (type == "dynamic") {
        positive(*settings, "factor");
    } else if (type != "default") {
        settings->refuse(ErrorKind::unsupported, place->key,
                         "supported types: default, linear, dynamic, llama3, yarn, longrope");
    }
    return {.frequencies = std::move(frequencies)};
}

}  // namespace tangram::parts
