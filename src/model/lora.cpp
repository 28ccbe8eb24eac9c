#include "tangram/model/lora.hpp"

#include <fmt/format.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tangram/error.hpp"
#include "tangram/model/config.hpp"
#include "tangram/model/unread_keys.hpp"

namespace tangram {

namespace {

constexpr std::string_view a_end = ".lora_A.weight", b_end = ".lora_B.weight";

}  // namespace

Program with_lora(const Program& program, const std::vector<ParameterId>& weights, Index rank, double alpha) {
    // Operations keep their values; what is added behind a layer takes its output's place for all that
    // follows.
    Program result = program.without_operations();
    std::vector<Value> now;
    for (std::size_t v = 0; v < program.values().size(); ++v) now.push_back({v});
    for (Operation operation : program.operations()) {
        for (Value* const value : inputs_of(operation)) *value = now[value->id];
        result.append(operation);
        const auto* const linear = std::get_if<operation::Linear>(&operation);
        if (linear == nullptr || std::ranges::find(weights, linear->weight) == weights.end()) continue;
        const Parameter weight = program.parameters()[linear->weight];
        const std::string name = weight.name.substr(0, weight.name.rfind(".weight"));
        const ParameterId A = result.parameter(fmt::format("{}{}", name, a_end), {rank, weight.shape[1]},
                                               weight.kind),
                          B = result.parameter(fmt::format("{}{}", name, b_end), {weight.shape[0], rank},
                                               weight.kind);
        const Value change = result.linear(result.linear(linear->in, A), B);
        now[linear->out.id] = result.add(linear->out, change, alpha / static_cast<double>(rank));
    }
    return result;
}

bool is_lora_b(const Parameter& parameter) { return parameter.name.ends_with(b_end); }
bool is_lora(const Parameter& parameter) { return parameter.name.ends_with(a_end) || is_lora_b(parameter); }

const TensorView* find_factor(const Weights& adapter, const std::string& parameter_name) {
    const auto dot = parameter_name.find('.');
    for (const std::string& name : {parameter_name, parameter_name.substr(dot + 1)})
        if (const TensorView* const tensor = adapter.find(fmt::format("base_model.model.{}", name)))
            return tensor;
    return nullptr;
}

double AdapterSettings::scale() const {
    const auto r = static_cast<double>(rank);
    return alpha / (rank_stabilised ? std::sqrt(r) : r);
}

AdapterSettings read_adapter_settings(const std::filesystem::path& file, FilesRead& files) {
    const Config config(file, files);
    if (config.text("peft_type", "LORA") != "LORA")
        config.refuse(ErrorKind::unsupported, "peft_type", "supported: LORA");
    AdapterSettings settings{config.size("r"), config.number("lora_alpha"), config.flag("use_rslora", false)};
    check_unread(config, known_adapter_keys());
    settings.notes = config.notes();
    return settings;
}

std::vector<std::string> adapted_modules(const Program& program, const Weights& adapter, Index rank) {
    const auto refuse = [&](const std::string& tensor, ErrorKind kind, const std::string& why) {
        throw Error(ExitStatus::input, kind, fmt::format("{}: tensor {} {}", adapter.name(), tensor, why));
    };
    std::set<std::string_view> used;
    std::vector<std::string> modules;
    for (const Operation& operation : program.operations()) {
        const auto* const linear = std::get_if<operation::Linear>(&operation);
        if (linear == nullptr) continue;
        const Parameter& weight = program.parameters()[linear->weight];
        const std::string module = weight.name.substr(0, weight.name.rfind(".weight"));
        const TensorView* const A = find_factor(adapter, fmt::format("{}{}", module, a_end));
        const TensorView* const B = find_factor(adapter, fmt::format("{}{}", module, b_end));
        if (A == nullptr && B == nullptr) continue;
        if (A == nullptr || B == nullptr)
            refuse(A == nullptr ? B->name : A->name, ErrorKind::missing, "stands without its other factor");
        for (const auto& [factor, shape] : {std::pair{A, std::vector{rank, weight.shape[1]}},
                                            std::pair{B, std::vector{weight.shape[0], rank}}}) {
            if (factor->shape != shape)
                refuse(factor->name, ErrorKind::contradiction,
                       fmt::format("has shape [{}], adapter_config.json and {} ask for [{}]",
                                   fmt::join(factor->shape, ", "), weight.name, fmt::join(shape, ", ")));
            used.insert(factor->name);
        }
        modules.push_back(module);
    }
    constexpr const char* advice =
        "is no LoRA factor of a linear layer of this model, and would be left out; save the model that "
        "merge_and_unload() gives, and set model.adapter = \"none\" or take the adapter away";
    for (const TensorView& tensor : adapter.tensors())
        if (!used.contains(tensor.name)) refuse(tensor.name, ErrorKind::unsupported, advice);
    for (const std::string& tensor : adapter.integers()) refuse(tensor, ErrorKind::unsupported, advice);
    return modules;
}

}  // namespace tangram
