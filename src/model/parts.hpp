#pragma once
#include <optional>
#include <string>

#include "tangram/model/config.hpp"
#include "tangram/model/program.hpp"

/// What architecture files share: reading config.json's choices, and layers that several of them have.
namespace tangram::parts {

/// The size of a head: the width over the number of heads that stands under a key.
/// @throws Error(input) naming the key where the number does not divide the width, or leaves a head larger
///         than any model's
Index head_size(const Config& config, const std::string& heads_key, Index heads, Index width);

/// A size that stands under a key or under another name that transformers takes for it.
/// @param otherwise  where both are absent; nothing: one of them must be there
/// @throws Error(input) naming both where they differ
Index size(const Config& config, const std::string& key, const std::string& other_name,
           std::optional<Index> otherwise = std::nullopt);

/// The activation that a key names. @throws Error(input) naming the key and those supported
Activation activation(const Config& config, const std::string& key, const std::string& otherwise);

/// An RMS norm that is none over the whole row, or whose weight is counted from one.
struct RmsNormStyle {
    double epsilon;
    double shift = 0;  ///< added to the weight
    Index width = 0;   ///< of each head that is normalised alone; 0: the row
};

/// Parameters of a module under their Hugging Face names.
struct Module {
    Program& program;
    std::string name;  ///< "transformer.h.0."

    ParameterId weight(const std::string& part, Index d_out, Index d_in, ParameterKind kind) const {
        return program.parameter(name + part + ".weight", {d_out, d_in}, kind);
    }
    ParameterId bias(const std::string& part, Index d, ParameterKind kind) const {
        return program.parameter(name + part + ".bias", {d}, kind);
    }
    /// in W^T + b
    Value linear(Value in, const std::string& part, Index d_out, ParameterKind kind,
                 bool with_bias = true) const;
    Value layer_norm(Value in, const std::string& part, double epsilon, bool with_bias = true) const;
    Value rms_norm(Value in, const std::string& part, RmsNormStyle style) const;
};

/// The end of a causal model: logits of the label words from the tied table or lm_head, or a new classifier
/// (score, without bias, as Hugging Face's *ForSequenceClassification).
/// @param biased  the language model's head has a bias
/// @param cap  of the language model's logits
void causal_head(Program& program, Value features, std::optional<ParameterId> tied_table,
                 const std::string& head_name, std::optional<Index> classifier_labels, bool biased = false,
                 std::optional<double> cap = std::nullopt);

/// The end of an encoder: a new classifier (classifier.weight and .bias) on the features of the first token.
void first_token_classifier(Program& program, Value features, Index labels);

}  // namespace tangram::parts
