#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tangram/model/config.hpp"

namespace tangram {

/// A key that changes what a model computes, or how its tensors must be read.
struct DecidingKey {
    std::string_view name;
    /// JSON list of the values that change nothing where no reader asks for the key; null, {} and [] never
    /// do.
    std::string_view neutral = "[]";
};

/// What is known of keys that a reader may leave unread. A name may begin and end with *, which stands for
/// any text.
struct KnownKeys {
    std::span<const std::string_view> harmless;
    std::span<const DecidingKey> deciding;
};
/// Of a model's config.json, whatever its family.
const KnownKeys& known_model_keys();
/// Of PEFT's adapter_config.json.
const KnownKeys& known_adapter_keys();

/// Judges the keys that nobody asked for (Config::asked): harmless ones pass, unknown ones are named in one
/// note of the file's. A nested object that a reader went into counts by its keys.
/// @throws Error(input, unsupported) naming the first that changes what is computed, with its value
void check_unread(const Config& config, const KnownKeys& known);

/// The keys that a model family's reader asks for, in full and in order. Local.
/// @throws Error(input) for a model_type that is not supported
std::vector<std::string> consumed_keys(std::string_view model_type);

}  // namespace tangram
