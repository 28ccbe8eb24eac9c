#include "tangram/model/unused_tensors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <span>

#include "name_pattern.hpp"
#include "tangram/error.hpp"
#include "tangram/model/initial_weights.hpp"

namespace tangram {

namespace {

/// Put into names by torch.compile, FSDP and activation checkpointing.
constexpr std::string_view wrappers[] = {"_orig_mod.", "_fsdp_wrapped_module.",
                                         "_checkpoint_wrapped_module."};
/// Put before names by DataParallel and PEFT.
constexpr std::string_view prefixes[] = {"module.", "base_model.model."};

/// Where later versions of transformers put the language model of a larger one, and where earlier ones did.
constexpr std::string_view later = "model.language_model.", earlier = "language_model.model.";

/// Causal masks, positions and rotary frequencies that older files carry, and heads of pretraining that read
/// what no output of this program does.
constexpr std::string_view harmless[] = {"*.attention.bias",
                                         "*.attn.bias",
                                         "*masked_bias",
                                         "*rotary_emb.*",
                                         "*inv_freq",
                                         "*position_ids",
                                         "*.token_type_ids",
                                         "*pooler.dense.*",
                                         "cls.seq_relationship.*",
                                         "discriminator_predictions.*"};
constexpr std::string_view trained_heads[] = {
    "score.*",      "classifier.*", "pre_classifier.*",       "classification_head.*", "regression_head.*",
    "qa_outputs.*", "v_head.*",     "multiple_choice_head.*", "value_head.*"};
constexpr std::string_view language_heads[] = {
    "lm_head.*",           "*.lm_head.*",        "embed_out.*",       "cls.predictions.*",
    "vocab_transform.*",   "vocab_layer_norm.*", "vocab_projector.*", "generator_predictions.*",
    "generator_lm_head.*", "head.dense.*",       "head.norm.*",       "decoder.weight",
    "decoder.bias"};
/// Outside of the body, and yet part of every output beside the language models' heads.
constexpr std::string_view of_outputs[] = {"final_logits_bias"};
/// What models of texts and images have for the latter.
constexpr std::string_view of_images[] = {"*vision_tower.*", "*vision_model.*", "*multi_modal_projector.*"};

bool any(std::span<const std::string_view> patterns, std::string_view name) {
    return std::ranges::any_of(patterns, [&](std::string_view pattern) { return matches(pattern, name); });
}

std::string_view behind_first_dot(std::string_view name) {
    const auto dot = name.find('.');
    return dot == std::string_view::npos ? std::string_view() : name.substr(dot + 1);
}

std::string_view up_to_dot(std::string_view name) { return name.substr(0, name.find('.')); }

bool is_number(std::string_view part) {
    return !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
}

/// The name with "N" for the number of its layer, and that number.
std::pair<std::string, std::string> without_layer(std::string_view name) {
    std::string before;
    for (std::string_view rest = name; !rest.empty(); rest = behind_first_dot(rest)) {
        const std::string_view part = up_to_dot(rest);
        if (is_number(part))
            return {fmt::format("{}N{}", before, rest.substr(part.size())), std::string(part)};
        before += fmt::format("{}.", part);
    }
    return {std::string(name), ""};
}

/// Names that a program's tensors may have, and the first parts of the body's.
struct Body {
    std::set<std::string, std::less<>> first_parts, layers;

    explicit Body(const Program& program) {
        for (const Parameter& parameter : program.parameters()) {
            if (parameter.kind == ParameterKind::head) continue;
            const std::string_view name = parameter.name, inner = behind_first_dot(name);
            first_parts.emplace(up_to_dot(name));
            first_parts.emplace(up_to_dot(inner));
            layers.insert(without_layer(name).first);
            layers.insert(without_layer(inner).first);
        }
    }
    bool holds(std::string_view name) const { return first_parts.contains(up_to_dot(name)); }
    /// A further layer, and its number.
    std::string layer(std::string_view name) const {
        const auto [without, number] = without_layer(name);
        return layers.contains(without) ? number : "";
    }
};

/// What a program's outputs are read from.
struct Head {
    bool of_language = false;                        ///< a language model's
    std::set<std::string, std::less<>> first_parts;  ///< of a classifier's tensors

    explicit Head(const Program& program) {
        for (const auto& [name, parameter] : program.copies())
            of_language = of_language || any(language_heads, name);
        for (const Parameter& parameter : program.parameters()) {
            of_language = of_language || any(language_heads, parameter.name);
            if (any(trained_heads, parameter.name)) first_parts.emplace(up_to_dot(parameter.name));
        }
    }
    bool holds(std::string_view name) const { return first_parts.contains(up_to_dot(name)); }
};

[[noreturn]] void refuse(const Weights& weights, const std::string& tensor, const std::string& why) {
    throw Error(ExitStatus::input, ErrorKind::unsupported,
                fmt::format("{}: tensor {} {}", weights.name(), tensor, why));
}

std::string line(const Weights& weights, const std::string& what, const std::vector<std::string>& names,
                 const std::string& why) {
    constexpr std::size_t most = 8;
    const std::vector<std::string> first(names.begin(),
                                         names.begin() + static_cast<Index>(std::min(most, names.size())));
    return fmt::format("{}: {} {}{}{}", weights.name(), what, fmt::join(first, ", "),
                       names.size() > most ? fmt::format(" and {} more", names.size() - most) : "", why);
}

/// Takes `wrapper` out of a name wherever it begins one of its parts.
void take_out(std::string& name, std::string_view wrapper) {
    for (auto at = name.find(wrapper); at != std::string::npos; at = name.find(wrapper, at))
        if (at == 0 || name[at - 1] == '.')
            name.erase(at, wrapper.size());
        else
            ++at;
}

}  // namespace

std::string adopt_names(Weights& weights, const Program& program) {
    std::vector<std::string> taken_off;
    const auto names = [&] {
        std::vector<std::string> all = weights.integers();
        for (const TensorView& tensor : weights.tensors()) all.push_back(tensor.name);
        return all;
    };
    for (const std::string_view wrapper : wrappers) {
        const auto without = [&](std::string name) {
            take_out(name, wrapper);
            return name;
        };
        if (std::ranges::all_of(names(), [&](const std::string& name) { return without(name) == name; }))
            continue;
        weights.rename(without);
        taken_off.emplace_back(wrapper);
    }
    const bool inner = std::ranges::any_of(
        program.parameters(), [](const Parameter& parameter) { return parameter.name.starts_with(earlier); });
    if (inner)
        weights.rename([](const std::string& name) {
            return name.starts_with(later) ? std::string(earlier) + name.substr(later.size()) : name;
        });
    for (bool again = true; again;) {
        again = false;
        for (const std::string_view prefix : prefixes) {
            const std::vector<std::string> all = names();
            if (all.empty() || !std::ranges::all_of(all, [&](const std::string& name) {
                    return name.starts_with(prefix) && name.size() > prefix.size();
                }))
                continue;
            weights.rename([&](const std::string& name) { return name.substr(prefix.size()); });
            taken_off.emplace_back(prefix);
            again = true;
        }
    }
    for (const auto& [copy, parameter] : program.copies()) {
        const std::string& own = program.parameters()[parameter].name;
        const TensorView* const tensor = find_tensor(weights, copy);
        if (tensor == nullptr || find_tensor(weights, own) != nullptr) continue;
        weights.rename(
            [stored = tensor->name, &own](const std::string& name) { return name == stored ? own : name; });
    }
    return fmt::format("{}", fmt::join(taken_off, ", "));
}

std::vector<std::string> check_unused(const Program& program, const Weights& weights,
                                      const std::function<bool(const Parameter&)>& drawn) {
    std::set<std::string, std::less<>> used, layers;
    std::vector<std::string> heads, images, unknown;
    bool new_head = false;
    for (const Parameter& parameter : program.parameters()) {
        const bool is_new = drawn(parameter);
        new_head = new_head || is_new;
        if (const TensorView* const tensor = find_tensor(weights, parameter.name);
            tensor != nullptr && !is_new)
            used.insert(tensor->name);
    }
    for (const auto& [name, parameter] : program.copies())
        if (const TensorView* const tensor = find_tensor(weights, name)) used.insert(tensor->name);
    const Head head(program);
    const Body body(program);
    for (const std::string& name : weights.integers())
        if (!any(harmless, name))
            refuse(
                weights, name,
                "holds integers, as weights quantised by GPTQ, AWQ or bitsandbytes do, which are not read; "
                "give the folder of the model that they were made from");
    for (const TensorView& tensor : weights.tensors()) {
        const std::string& name = tensor.name;
        if (used.contains(name) || any(harmless, name) || (!head.of_language && any(language_heads, name)))
            continue;
        const std::string layer = body.layer(name);
        const bool of_adapter = matches("*.lora_*", name) || matches("*.base_layer.*", name);
        if (of_adapter)
            refuse(weights, name,
                   "is of an adapter that was not merged; save the model that merge_and_unload() gives");
        if (!new_head && head.holds(name))
            refuse(weights, name,
                   "is part of the trained head and nothing reads it; config.json is another model's");
        if (any(trained_heads, name))
            heads.push_back(name);
        else if (!layer.empty())
            layers.insert(layer);
        else if (any(of_images, name))
            images.push_back(name);
        else if (body.holds(name) || any(of_outputs, name) || any(language_heads, name))
            refuse(weights, name,
                   "is part of the model and nothing reads it; config.json is another model's");
        else
            unknown.push_back(name);
    }
    std::vector<std::string> lines;
    if (!heads.empty())
        lines.push_back(line(weights, "the trained head", heads,
                             fmt::format(" is left unused: {} (model.head)",
                                         new_head           ? "a new one is drawn"
                                         : head.of_language ? "outputs are those of the language model's head"
                                                            : "outputs are another head's")));
    if (!layers.empty())
        lines.push_back(
            line(weights, "layers beyond those that config.json asks for are left unused: their numbers are",
                 {layers.begin(), layers.end()}, ""));
    if (!images.empty())
        lines.push_back(line(weights, "what reads images", images, " is left unused: texts have none"));
    if (!unknown.empty())
        lines.push_back(line(weights, "nothing uses", unknown, "; check that the model is computed without"));
    return lines;
}

}  // namespace tangram
