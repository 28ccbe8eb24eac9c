#include "tangram/model/config.hpp"

#include <fmt/format.h>

#include "tangram/error.hpp"
#include "tangram/files/json.hpp"

namespace tangram {

namespace {

[[noreturn]] void bad_key(const std::filesystem::path& file, const std::string& key,
                          const std::string& problem) {
    throw Error(ExitStatus::input, fmt::format("{}: {} {}; take the model's folder as it was published",
                                               file.string(), key, problem));
}

}  // namespace

Config::Config(const std::filesystem::path& file) : file_(file), values_(read_json(file)) {
    if (!values_.is_object()) bad_key(file_, "the file", "is not a JSON object");
}

bool Config::has(const std::string& key) const { return values_.contains(key) && !values_[key].is_null(); }

bool Config::names(const std::string& key) const { return values_.contains(key); }

const nlohmann::json& Config::at(const std::string& key) const {
    if (!has(key)) bad_key(file_, key, "is missing");
    return values_[key];
}

std::string Config::text(const std::string& key) const {
    const auto& value = at(key);
    if (!value.is_string()) bad_key(file_, key, "must be a string");
    return value.get<std::string>();
}

std::string Config::text(const std::string& key, const std::string& otherwise) const {
    return has(key) ? text(key) : otherwise;
}

Index Config::size(const std::string& key) const {
    const auto& value = at(key);
    // Sizes above 2^31 are no model's; the bound keeps products of two of them inside 64 bits.
    if (!value.is_number_integer() || value.get<double>() < 1 || value.get<double>() > 2147483647.0)
        bad_key(file_, key, "must be a positive integer below 2^31");
    return value.get<Index>();
}

Index Config::size(const std::string& key, Index otherwise) const { return has(key) ? size(key) : otherwise; }

double Config::number(const std::string& key) const {
    const auto& value = at(key);
    if (!value.is_number()) bad_key(file_, key, "must be a number");
    return value.get<double>();
}

double Config::number(const std::string& key, double otherwise) const {
    return has(key) ? number(key) : otherwise;
}

bool Config::flag(const std::string& key, bool otherwise) const {
    if (!has(key)) return otherwise;
    if (!values_[key].is_boolean()) bad_key(file_, key, "must be true or false");
    return values_[key].get<bool>();
}

void Config::refuse(const std::string& key, const std::string& supported) const {
    const std::string value = values_.contains(key) ? values_[key].dump() : "(missing)";
    throw Error(ExitStatus::input,
                fmt::format("{}: {} = {} is not supported; {}", file_.string(), key, value, supported));
}

}  // namespace tangram
