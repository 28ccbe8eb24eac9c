#pragma once
#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tangram/error.hpp"

namespace tangram {

/// What the readers of tokenizer.json's parts share: checked access that names the file and the part.
struct JsonPart {
    const nlohmann::json& json;
    const std::string& file;
    std::string what;  ///< for messages: "pre_tokenizer", "added token", ...

    [[noreturn]] void refuse(ErrorKind kind, const std::string& problem) const {
        throw Error(ExitStatus::input, kind, fmt::format("{}: {}", file, problem));
    }
    [[noreturn]] void refuse_type() const {
        refuse(ErrorKind::unsupported, fmt::format("{} \"{}\" is not supported", what, type()));
    }

    bool is_null() const { return json.is_null(); }
    bool has(const char* key) const { return json.is_object() && json.contains(key) && !json[key].is_null(); }
    JsonPart at(const char* key) const {
        if (!has(key)) refuse(ErrorKind::missing, fmt::format("{} has no \"{}\"", what, key));
        return {json[key], file, what};
    }
    std::string type() const { return text("type"); }
    std::string text(const char* key) const {
        const auto& value = at(key).json;
        if (!value.is_string())
            refuse(ErrorKind::malformed, fmt::format("{}: \"{}\" is not a string", what, key));
        return value.get<std::string>();
    }
    std::string text(const char* key, const char* otherwise) const {
        return has(key) ? text(key) : otherwise;
    }
    bool flag(const char* key, bool otherwise) const {
        if (!has(key)) return otherwise;
        if (!json[key].is_boolean())
            refuse(ErrorKind::malformed, fmt::format("{}: \"{}\" is neither true nor false", what, key));
        return json[key].get<bool>();
    }
    const nlohmann::json& list(const char* key) const {
        const auto& value = at(key).json;
        if (!value.is_array())
            refuse(ErrorKind::malformed, fmt::format("{}: \"{}\" is not a list", what, key));
        return value;
    }
    /// A token id.
    std::int32_t id() const {
        if (!json.is_number_unsigned() || json.get<std::uint64_t>() > 0x7FFFFFFE)
            refuse(ErrorKind::malformed, fmt::format("{}: {} is not a token id", what, json.dump()));
        return json.get<std::int32_t>();
    }
};

}  // namespace tangram
