#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "tangram/model/network.hpp"
#include "tangram/study/model_loading.hpp"

namespace tangram {

/// `<output>-weights`, of a task `<output>-<task>-weights`, beside the output file, its ending taken off.
std::filesystem::path trained_folder(const std::filesystem::path& output, const std::string& task = "");

/// Refuses a folder (or file) that stands there already, unless it holds what these inputs made. Local.
/// @throws Error(output, contradiction) naming it
void check_trained_folder(const std::filesystem::path& folder, const std::string& inputs);

/// The same of what no training has written, before there are inputs.
void check_trained_folder(const std::filesystem::path& folder);

/// Of a new classifier, its labels' names in the order of its outputs; empty: the head is the model's own.
using NewLabels = std::vector<std::string>;

/// Writes a Hugging Face folder: model.safetensors with all tensors under their stored names and in their
/// stored layout (the network's in its precision, those that it does not use as they were, LoRA's products
/// added to the weights that they change), config.json (of a new classifier with its labels, and with its
/// class where it is read at the last token) and what the model's folder holds of a tokenizer, and
/// finetune.json, which says what made it. It is written beside and renamed; one of these inputs is replaced.
/// Local; the first rank. @throws Error(output)
template <class Real>
void write_trained_folder(const std::filesystem::path& folder, const LoadedModel& model,
                          const NewLabels& labels, const Network<Real>& network, const std::string& inputs);

}  // namespace tangram
