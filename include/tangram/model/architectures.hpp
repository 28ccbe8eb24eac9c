#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tangram/model/config.hpp"
#include "tangram/model/program.hpp"

namespace tangram {

/// One architecture: the `model_type` of config.json and the function that composes its program.
struct Architecture {
    std::string_view model_type;
    Program (*program)(const Config& config, std::optional<Index> classifier_labels);
    /// With the head of its *ForSequenceClassification. nullptr: of a causal model, as a new classifier's.
    Program (*with_trained_head)(const Config& config, Index labels) = nullptr;
};

/// All architectures known, one file in src/model for each family.
std::span<const Architecture> architectures();

/// The program of a model folder's config. @throws Error(input) naming the model_type and the supported ones,
/// or a key whose value is not supported.
/// @param classifier_labels  nothing: the language model's own head; else a new linear head of so many labels
///                           on the final features of the token that is read: score.weight, or
///                           classifier.weight and .bias on the first token of encoders. Its label
///                           ids are 0, 1, ...
Program program_of(const Config& config, std::optional<Index> classifier_labels = std::nullopt);

/// The labels of a folder's trained classifier, in the order of its outputs: id2label's, or as many names
/// LABEL_0, LABEL_1, ... as num_labels says (2 where it is missing), as transformers' configuration_utils has
/// them. Local.
/// @throws Error(input) naming architectures where they are no *ForSequenceClassification, problem_type and
/// id2label where they stand for a regression or for several labels at once, or ids that are not 0 .. C-1
std::vector<std::string> trained_labels(const Config& config);

/// The program of a *ForSequenceClassification folder: score (without bias) on the features of the last token
/// of a causal model; on the first token, of BERT classifier behind pooler.dense and tanh, of RoBERTa
/// classifier.out_proj behind classifier.dense and tanh (of ELECTRA GELU), of DistilBERT classifier behind
/// pre_classifier and ReLU, of ModernBERT classifier behind head.dense, activation and head.norm, on the
/// first token or the mean of all (classifier_pooling). Kind of all but norms: head.
/// @throws Error(input) as program_of, or where the family has no such head here
Program program_with_trained_head(const Config& config, Index labels);

/// The token that the head of a causal *ForSequenceClassification passes over at the end of a text:
/// pad_token_id (transformers' modeling_layers). Nothing where the model has none, or reads another token.
std::optional<std::int32_t> token_passed_over(const Config& config, const Program& program);

/// Deviation of drawn weights: initializer_range, or OPT's init_std.
double drawn_deviation(const Config& config);

Program llama(const Config& config, std::optional<Index> classifier_labels);
Program mistral(const Config& config, std::optional<Index> classifier_labels);
Program qwen2(const Config& config, std::optional<Index> classifier_labels);
Program qwen3(const Config& config, std::optional<Index> classifier_labels);
Program olmo2(const Config& config, std::optional<Index> classifier_labels);
Program olmo3(const Config& config, std::optional<Index> classifier_labels);
Program smollm3(const Config& config, std::optional<Index> classifier_labels);
Program phi3(const Config& config, std::optional<Index> classifier_labels);
Program phi(const Config& config, std::optional<Index> classifier_labels);
Program starcoder2(const Config& config, std::optional<Index> classifier_labels);
Program stablelm(const Config& config, std::optional<Index> classifier_labels);
Program granite(const Config& config, std::optional<Index> classifier_labels);
Program gemma(const Config& config, std::optional<Index> classifier_labels);
Program gemma2(const Config& config, std::optional<Index> classifier_labels);
Program gemma3_text(const Config& config, std::optional<Index> classifier_labels);
Program gemma3(const Config& config, std::optional<Index> classifier_labels);
Program gpt2(const Config& config, std::optional<Index> classifier_labels);
Program gpt_neo(const Config& config, std::optional<Index> classifier_labels);
Program gpt_neox(const Config& config, std::optional<Index> classifier_labels);
Program opt(const Config& config, std::optional<Index> classifier_labels);
Program bert_with_trained_head(const Config& config, Index labels);
Program electra_with_trained_head(const Config& config, Index labels);
Program roberta_with_trained_head(const Config& config, Index labels);
Program distilbert_with_trained_head(const Config& config, Index labels);
Program modernbert_with_trained_head(const Config& config, Index labels);
Program bert(const Config& config, std::optional<Index> classifier_labels);
/// The generator as a masked model; of either a classifier.
Program electra(const Config& config, std::optional<Index> classifier_labels);
/// RoBERTa, XLM-RoBERTa and CamemBERT.
Program roberta(const Config& config, std::optional<Index> classifier_labels);
Program distilbert(const Config& config, std::optional<Index> classifier_labels);
Program modernbert(const Config& config, std::optional<Index> classifier_labels);

}  // namespace tangram
