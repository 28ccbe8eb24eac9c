#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tangram/files/files_read.hpp"
#include "tangram/model/program.hpp"

namespace tangram {

/// The program with W x replaced by W x + (alpha/rank) B (A x) for linear weights W (Hu et al. 2021): each
/// gets two parameters behind all others, W.lora_A.weight [rank, d_in] and W.lora_B.weight [d_out, rank],
/// W here the name without ".weight". With B = 0 outputs stay and the gradient of A vanishes. Local.
/// @param weights  of linear layers, each used by one operation
Program with_lora(const Program& program, const std::vector<ParameterId>& weights, Index rank, double alpha);

bool is_lora(const Parameter& parameter);
bool is_lora_b(const Parameter& parameter);
/// What PEFT calls a LoRA factor in adapter_model.safetensors: "base_model.model.<name>".
std::string adapter_name(const Parameter& parameter);

/// rank and alpha of a PEFT adapter_config.json. @throws Error(input) naming a key whose value is not
/// supported
struct AdapterSettings {
    Index rank;
    double alpha;
};
AdapterSettings read_adapter_settings(const std::filesystem::path& file, FilesRead& files);

}  // namespace tangram
