#include "study_toml.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "checks.hpp"
#include "tangram/error.hpp"

namespace tangram {

namespace {

[[noreturn]] void wrong_type(const std::string& key, const char* expected) {
    refuse(ErrorKind::malformed, fmt::format("{} must be {}", key, expected));
}

void take(const std::string& key, const toml::node& node, std::string& value) {
    if (!node.is_string()) wrong_type(key, "a string");
    value = **node.as_string();
}
void take(const std::string& key, const toml::node& node, bool& value) {
    if (!node.is_boolean()) wrong_type(key, "true or false");
    value = **node.as_boolean();
}
void take(const std::string& key, const toml::node& node, Index& value) {
    if (!node.is_integer()) wrong_type(key, "an integer");
    value = **node.as_integer();
}
void take(const std::string& key, const toml::node& node, double& value) {
    if (!node.is_number()) wrong_type(key, "a number");
    value = *node.value<double>();
    if (!std::isfinite(value)) refuse(ErrorKind::non_finite, fmt::format("{} must be a finite number", key));
}
template <class Entry>
void take(const std::string& key, const toml::node& node, std::vector<Entry>& values) {
    if (!node.is_array()) wrong_type(key, "a list");
    values.clear();
    for (const toml::node& entry : *node.as_array()) {
        values.emplace_back();
        take(fmt::format("{}[{}]", key, values.size() - 1), entry, values.back());
    }
}
void take(const std::string& key, const toml::node& node, const StringOrList& target) {
    if (node.is_string())
        *target.values = {**node.as_string()};
    else if (node.is_array())
        take(key, node, *target.values);
    else
        wrong_type(key, "a string or a list of strings");
}
void take(const std::string& key, const toml::node& node, const FlagOrWord& target) {
    if (node.is_boolean())
        *target.word = **node.as_boolean() ? "true" : "false";
    else if (node.is_string() && **node.as_string() != "true" && **node.as_string() != "false")
        *target.word = **node.as_string();
    else
        wrong_type(key, "true, false or a word, the former without quotes");
}
void take(const std::string& key, const toml::node& node, std::optional<double>& value) {
    if (node.is_string() && **node.as_string() == "auto") {
        value.reset();
    } else if (node.is_number()) {
        take(key, node, value.emplace());
    } else {
        wrong_type(key, "a number or \"auto\"");
    }
}
void take(const std::string& key, const toml::node& node, std::optional<Index>& value) {
    if (node.is_string() && **node.as_string() == "auto") {
        value.reset();
    } else if (node.is_integer()) {
        take(key, node, value.emplace());
    } else {
        wrong_type(key, "an integer or \"auto\"");
    }
}
void take(const std::string& key, const toml::node& node, const NumbersOrAuto& target) {
    std::vector<double>& values = *target.values;
    if (node.is_array()) {
        take(key, node, values);
        if (values.empty()) wrong_type(key, "a number, a list of at least one, or \"auto\"");
        return;
    }
    std::optional<double> single;
    take(key, node, single);
    values.clear();
    if (single) values.push_back(*single);
}

template <class T>
void put(toml::table& table, const std::string& name, const T& value) {
    table.insert(name, value);
}
template <class Entry>
void put(toml::table& table, const std::string& name, const std::vector<Entry>& values) {
    toml::array list;
    for (const Entry& entry : values) list.push_back(entry);
    table.insert(name, list);
}
void put(toml::table& table, const std::string& name, const StringOrList& target) {
    put(table, name, *target.values);
}
void put(toml::table& table, const std::string& name, const FlagOrWord& target) {
    if (*target.word == "true" || *target.word == "false")
        table.insert(name, *target.word == "true");
    else
        table.insert(name, *target.word);
}
template <class Number>
void put(toml::table& table, const std::string& name, const std::optional<Number>& value) {
    if (value)
        table.insert(name, *value);
    else
        table.insert(name, "auto");
}
void put(toml::table& table, const std::string& name, const NumbersOrAuto& target) {
    const std::vector<double>& values = *target.values;
    if (values.size() > 1)
        put(table, name, values);
    else
        put(table, name, values.empty() ? std::nullopt : std::optional(values.front()));
}

/// Calls `work` with what a value points to, or with what holds its pointer.
template <class Work>
void with(const StudyValue& value, Work work) {
    std::visit(
        [&](const auto& at) {
            if constexpr (std::is_pointer_v<std::decay_t<decltype(at)>>)
                work(*at);
            else
                work(at);
        },
        value);
}

/// Parts that a key may have; those of a study have two. toml++ goes through what a key opens by
/// recursion: with its limit of 256 nested values the tree stays shallow.
constexpr Index most_key_parts = 16;

/// Where the string of a TOML text that begins at byte `first` ends, or its line where it does not.
std::size_t end_of_string(std::string_view text, std::size_t first) {
    const char quote = text[first];
    const std::string fence(3, quote);
    const bool multiline = text.substr(first).starts_with(fence);
    for (std::size_t i = first + (multiline ? 3 : 1); i < text.size(); ++i) {
        if (text[i] == '\\' && quote == '"') {
            ++i;
        } else if (!multiline && (text[i] == quote || text[i] == '\n')) {
            return text[i] == quote ? i + 1 : i;
        } else if (multiline && text.substr(i).starts_with(fence)) {
            // One or two quotes may stand before the three that end it.
            return std::min(text.find_first_not_of(quote, i), std::min(i + 5, text.size()));
        }
    }
    return text.size();
}

/// The line of the first key of more parts than a key may have; dots in strings and comments join none.
std::optional<Index> line_of_deep_key(std::string_view text) {
    Index line = 1, parts = 1;
    for (std::size_t i = 0; i < text.size();) {
        const char c = text[i];
        std::size_t next = i + 1;
        if (c == '#') {
            next = std::min(text.find('\n', i), text.size());
        } else if (c == '"' || c == '\'') {
            next = end_of_string(text, i);
        } else if (c == '.') {
            if (++parts > most_key_parts) return line;
        } else if (std::string_view("\n,=[]{}").find(c) != std::string_view::npos) {
            parts = 1;
        }
        line +=
            std::count(text.begin() + static_cast<Index>(i), text.begin() + static_cast<Index>(next), '\n');
        i = next;
    }
    return std::nullopt;
}

}  // namespace

toml::table parse_toml(std::string_view text, const std::string& name) {
    if (text.starts_with("\x89HDF\r\n"))
        refuse(ErrorKind::malformed,
               fmt::format("{} is an HDF5 file and no study; `tangram inspect` shows what it holds", name));
    if (const auto line = line_of_deep_key(text))
        refuse(ErrorKind::malformed,
               fmt::format("{}: line {}: a key of more than {} parts; write section.key, as in data.samples",
                           name, *line, most_key_parts));
    try {
        return toml::parse(text, name);
    } catch (const toml::parse_error& e) {
        refuse(ErrorKind::malformed,
               fmt::format("{}: line {}: {}", name, e.source().begin.line, e.description()));
    }
}

void apply_setting(toml::table& table, const std::string& setting) {
    const auto equals = setting.find('=');
    if (equals == std::string::npos || equals == 0)
        refuse(ErrorKind::malformed,
               fmt::format("--set {}: write key=value, for example --set data.samples=128", setting));
    const auto trimmed = [](const std::string& words) {
        const auto first = words.find_first_not_of(" \t");
        return first == std::string::npos ? ""
                                          : words.substr(first, words.find_last_not_of(" \t") + 1 - first);
    };
    const std::string key = trimmed(setting.substr(0, equals)), text = trimmed(setting.substr(equals + 1));
    toml::table value;
    try {
        value = parse_toml("value = " + text, "--set");
    } catch (const Error&) {
        value = toml::table{{"value", text}};
    }
    if (value.size() != 1) value = toml::table{{"value", text}};
    const auto dot = key.find('.');
    if (dot == std::string::npos)
        refuse(ErrorKind::malformed,
               fmt::format("--set {}: the key needs its section, as in data.samples", setting));
    const std::string section = key.substr(0, dot);
    if (!table.contains(section)) table.insert(section, toml::table{});
    if (!table[section].is_table())
        refuse(ErrorKind::malformed, fmt::format("--set {}: [{}] is not a section", setting, section));
    table[section].as_table()->insert_or_assign(key.substr(dot + 1), *value.get("value"));
}

const toml::node* find(const toml::table& table, const KeyValue& at) {
    const toml::table* section = nullptr;
    if (!at.task)
        section = table[at.key->section()].as_table();
    else if (const toml::array* const tasks = table["tasks"].as_array(); tasks != nullptr)
        section = (*tasks)[*at.task].as_table();
    return section == nullptr ? nullptr : section->get(at.key->own_name());
}

void take(const KeyValue& at, const toml::node& node) {
    with(at.value, [&](auto& value) { take(at.name(), node, value); });
}

void put(toml::table& section, const KeyValue& at) {
    with(at.value, [&](const auto& value) { put(section, at.key->own_name(), value); });
}

std::string text_of(const toml::node& node) {
    std::ostringstream text;
    text << toml::default_formatter(node);
    return text.str();
}

std::string toml_of(const KeyValue& at) {
    toml::table section;
    put(section, at);
    return text_of(*section.get(at.key->own_name()));
}

}  // namespace tangram
