#include "tangram/model/config.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "tangram/error.hpp"
#include "tangram/files/json.hpp"

namespace tangram {

namespace {

/// As messages show it; JSON itself has no NaN.
std::string shown(const nlohmann::json& value) {
    if (value.is_number_float() && !std::isfinite(value.get<double>()))
        return fmt::format("{}", value.get<double>());
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// The largest sizes that are taken: several times those of any model, so small that a program of them stays
/// below a GiB before a weight is read, and that the number of bytes of all its tensors fits into 64 bits.
struct Bound {
    std::string_view key;
    Index most;
};
constexpr Index most_layers = 4096, most_heads = 4096, most_head_size = 4096, most_width = 1 << 20,
                most_tokens = 1 << 28, most_labels = 1 << 16, most_of_others = 2147483647;
constexpr std::array bounds{
    Bound{"num_hidden_layers", most_layers},
    Bound{"num_layers", most_layers},
    Bound{"n_layer", most_layers},
    Bound{"n_layers", most_layers},
    Bound{"num_attention_heads", most_heads},
    Bound{"num_key_value_heads", most_heads},
    Bound{"num_heads", most_heads},
    Bound{"n_head", most_heads},
    Bound{"n_heads", most_heads},
    Bound{"head_dim", most_head_size},
    Bound{"hidden_size", most_width},
    Bound{"embedding_size", most_width},
    Bound{"n_embd", most_width},
    Bound{"dim", most_width},
    Bound{"intermediate_size", most_width},
    Bound{"n_inner", most_width},
    Bound{"ffn_dim", most_width},
    Bound{"hidden_dim", most_width},
    Bound{"word_embed_proj_dim", most_width},
    Bound{"r", most_width},
    Bound{"vocab_size", most_tokens},
    Bound{"type_vocab_size", most_tokens},
    Bound{"num_labels", most_labels},
};

}  // namespace

Index Config::largest(const std::string& key) {
    const auto found = std::ranges::find(bounds, key, &Bound::key);
    return found == bounds.end() ? most_of_others : found->most;
}

Config::Config(const std::filesystem::path& file, FilesRead& files) : Config(file, read_json(file, files)) {}

Config::Config(const std::filesystem::path& name, nlohmann::json values)
    : file_(name), values_(std::move(values)) {
    if (!values_.is_object()) bad_key(ErrorKind::malformed, "the file", "is not a JSON object");
}

void Config::bad_key(ErrorKind kind, const std::string& key, const std::string& problem) const {
    throw Error(ExitStatus::input, kind,
                fmt::format("{}: {} {}; take the model's folder as it was published", file_.string(),
                            full(key), problem));
}

bool Config::has(const std::string& key) const { return names(key) && !values_[key].is_null(); }

bool Config::names(const std::string& key) const {
    record_->asked.insert(full(key));
    return values_.contains(key);
}

const nlohmann::json& Config::at(const std::string& key) const {
    if (!has(key)) bad_key(ErrorKind::missing, key, "is missing");
    return values_[key];
}

Config Config::inside(const std::string& key) const {
    const nlohmann::json& object = at(key);
    if (!object.is_object()) refuse(ErrorKind::malformed, key, "it must be an object or null");
    Config nested(file_, object);
    nested.prefix_ = prefix_ + key + ".";
    nested.record_ = record_;
    return nested;
}

std::string Config::text(const std::string& key) const {
    const auto& value = at(key);
    if (!value.is_string()) bad_key(ErrorKind::malformed, key, "must be a string");
    return value.get<std::string>();
}

std::string Config::text(const std::string& key, const std::string& otherwise) const {
    return has(key) ? text(key) : otherwise;
}

Index Config::size(const std::string& key) const {
    const auto& value = at(key);
    if (!value.is_number_integer() || value.get<double>() < 1 ||
        value.get<double>() > static_cast<double>(largest(key)))
        bad_key(value.is_number() ? ErrorKind::out_of_range : ErrorKind::malformed, key,
                fmt::format("{}must be a positive integer up to {}",
                            value.is_number() ? fmt::format("= {} ", shown(value)) : "", largest(key)));
    return value.get<Index>();
}

Index Config::size(const std::string& key, Index otherwise) const { return has(key) ? size(key) : otherwise; }

double Config::number(const std::string& key) const {
    const auto& value = at(key);
    if (!value.is_number()) bad_key(ErrorKind::malformed, key, "must be a number");
    if (!std::isfinite(value.get<double>()))
        bad_key(ErrorKind::non_finite, key, fmt::format("= {} must be finite", shown(value)));
    return value.get<double>();
}

double Config::number(const std::string& key, double otherwise) const {
    return has(key) ? number(key) : otherwise;
}

bool Config::flag(const std::string& key, bool otherwise) const {
    if (!has(key)) return otherwise;
    if (!values_[key].is_boolean()) bad_key(ErrorKind::malformed, key, "must be true or false");
    return values_[key].get<bool>();
}

void Config::refuse(ErrorKind kind, const std::string& key, const std::string& supported) const {
    const std::string value = values_.contains(key) ? shown(values_[key]) : "(missing)";
    throw Error(ExitStatus::input, kind,
                fmt::format("{}: {} = {} is not supported; {}", file_.string(), full(key), value, supported));
}

void Config::refuse_disagreement(const std::string& other_name, const std::string& key) const {
    throw Error(ExitStatus::input, ErrorKind::contradiction,
                fmt::format("{}: {} = {} is another name of {}, which has another value; remove one of them",
                            file_.string(), other_name, shown(values_[other_name]), key));
}

void Config::note(const std::string& text) const {
    const std::string line = fmt::format("{}: {}", file_.string(), text);
    if (std::ranges::find(record_->notes, line) == record_->notes.end()) record_->notes.push_back(line);
}

}  // namespace tangram
