#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tangram/files/files_read.hpp"
#include "tangram/files/safetensors.hpp"
#include "tangram/model/program.hpp"

namespace tangram {

/// The program with W x replaced by W x + (alpha/rank) B (A x) for linear weights W (Hu et al. 2021): each
/// gets two parameters behind all others, W.lora_A.weight [rank, d_in] and W.lora_B.weight [d_out, rank],
/// W here the name without ".weight". With B = 0 outputs stay and the gradient of A vanishes. Local.
/// @param weights  of linear layers, each used by one operation
Program with_lora(const Program& program, const std::vector<ParameterId>& weights, Index rank, double alpha);

bool is_lora(const Parameter& parameter);
bool is_lora_b(const Parameter& parameter);
/// An adapter's tensor of a LoRA factor, PEFT's "base_model.model.<name>", with the architecture's prefix or
/// without; nullptr: none
const TensorView* find_factor(const Weights& adapter, const std::string& parameter_name);

/// rank and alpha of a PEFT adapter_config.json.
struct AdapterSettings {
    Index rank;
    double alpha;  ///< lora_alpha
    bool rank_stabilised = false;
    std::vector<std::string> notes = {};  ///< on its keys

    /// Of B A: alpha/rank, or alpha/sqrt(rank) where it is rank-stabilised (Kalajdzievski 2023).
    double scale() const;
};
/// @throws Error(input) naming a key whose value is not supported
AdapterSettings read_adapter_settings(const std::filesystem::path& file, FilesRead& files);

/// The names, without ".weight", of the program's linear weights that an adapter adapts.
/// @throws Error(input) naming a tensor of the adapter that is no LoRA factor of such a weight, that stands
///         without the other factor, or whose shape does not fit
std::vector<std::string> adapted_modules(const Program& program, const Weights& adapter, Index rank);

}  // namespace tangram
