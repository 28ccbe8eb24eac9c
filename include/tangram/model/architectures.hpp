#pragma once
#include <optional>
#include <span>
#include <string_view>

#include "tangram/model/config.hpp"
#include "tangram/model/program.hpp"

namespace tangram {

/// One architecture: the `model_type` of config.json and the function that composes its program.
struct Architecture {
    std::string_view model_type;
    Program (*program)(const Config& config, std::optional<Index> classifier_labels);
};

/// All architectures known, one file in src/model for each family.
std::span<const Architecture> architectures();

/// The program of a model folder's config. @throws Error(input) naming the model_type and the supported ones,
/// or a key whose value is not supported.
/// @param classifier_labels  nothing: the language model's own head; else a new linear head of so many labels
///                           on the final features of the token that is read: score.weight, or
///                           classifier.weight and .bias on the first token of BERT and RoBERTa. Its label
///                           ids are 0, 1, ...
Program program_of(const Config& config, std::optional<Index> classifier_labels = std::nullopt);

/// Deviation of drawn weights: initializer_range.
double drawn_deviation(const Config& config);

Program llama(const Config& config, std::optional<Index> classifier_labels);
Program mistral(const Config& config, std::optional<Index> classifier_labels);
Program qwen2(const Config& config, std::optional<Index> classifier_labels);
Program gpt_neo(const Config& config, std::optional<Index> classifier_labels);
Program gpt2(const Config& config, std::optional<Index> classifier_labels);
Program gpt_neox(const Config& config, std::optional<Index> classifier_labels);
Program bert(const Config& config, std::optional<Index> classifier_labels);
Program roberta(const Config& config, std::optional<Index> classifier_labels);

}  // namespace tangram
