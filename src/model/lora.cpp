#include "tangram/model/lora.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "tangram/model/config.hpp"

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
std::string adapter_name(const Parameter& parameter) {
    return fmt::format("base_model.model.{}", parameter.name);
}

AdapterSettings read_adapter_settings(const std::filesystem::path& file, FilesRead& files) {
    const Config config(file, files);
    for (const char* key : {"use_rslora", "use_dora"})
        if (config.flag(key, false)) config.refuse(ErrorKind::unsupported, key, "supported: false");
    if (config.text("peft_type", "LORA") != "LORA")
        config.refuse(ErrorKind::unsupported, "peft_type", "supported: LORA");
    if (config.text("bias", "none") != "none")
        config.refuse(ErrorKind::unsupported, "bias", "supported: \"none\"");
    for (const char* key : {"rank_pattern", "alpha_pattern", "modules_to_save", "layer_replication"})
        if (config.has(key) && !config.at(key).empty())
            config.refuse(ErrorKind::unsupported, key, "supported: none");
    return {config.size("r"), config.number("lora_alpha")};
}

}  // namespace tangram
