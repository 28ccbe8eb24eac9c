#pragma once
#include <toml++/toml.h>
#include <string>
#include <string_view>
#include <vector>

#include "tangram/study/keys.hpp"

namespace tangram {

/// A TOML text. Local. @throws Error(study) naming it and the line, also for keys of many parts
toml::table parse_toml(std::string_view text, const std::string& name);

/// Puts `--set key=value` into a table: the value in TOML where it parses, bare text as a string otherwise.
/// Local. @throws Error(study)
void apply_setting(toml::table& table, const std::string& setting);

/// What a table holds for a key; nullptr: nothing. Of a task, [[tasks]] must be tables. Local.
const toml::node* find(const toml::table& table, const KeyValue& at);

/// Reads a value from its node. Local. @throws Error(study) naming the key where it has another type
void take(const KeyValue& at, const toml::node& node);

/// Puts a value under its key's own name. Local.
void put(toml::table& section, const KeyValue& at);

/// A node, or a value, as TOML. Local.
std::string text_of(const toml::node& node);
std::string toml_of(const KeyValue& at);

}  // namespace tangram
