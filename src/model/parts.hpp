#pragma once
#include <vector>

#include "tangram/model/config.hpp"
#include "tangram/model/program.hpp"

/// What architecture files share: reading config.json's choices, and layers that several of them have.
namespace tangram::parts {

/// The size of a head: the width over the number of heads that stands under a key.
/// @throws Error(input) naming the key where the number does not divide the width, or leaves a head larger
///         than any model's
Index head_size(const Config& config, const std::string& heads_key, Index heads, Index width);

/// A size that stands under a key or under another name that transformers takes for it.
/// @throws Error(input) naming both where they differ
Index size(const Config& config, const std::string& key, const std::string& other_name);

/// The activation that a key names. @throws Error(input) naming the key and those supported
Activation activation(const Config& config, const std::string& key, const std::string& otherwise);

/// Rotary frequencies theta^(-2i/size), i < size/2, in radians per position, scaled as rope_scaling (or, in
/// newer files, rope_parameters alone) says: "default", "linear" (Chen et al. 2023) or "llama3" (Llama 3's
/// piecewise rule).
/// @throws Error(input) naming another rope type or a missing factor
std::vector<double> rotary_frequencies(const Config& config, Index size, double theta);

/// The share of a head's entries that turn: partial_rotary_factor, in the object of rotary settings or at the
/// top, or an older key.
double rotary_share(const Config& config, const std::string& older_key, double otherwise);

/// rope_theta, in the object of rotary settings or at the top, or an older key (empty: none).
double rotary_theta(const Config& config, const std::string& older_key, double otherwise);

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
    Value layer_norm(Value in, const std::string& part, double epsilon) const;
    Value rms_norm(Value in, const std::string& part, double epsilon) const;
};

/// The end of a causal model: logits of the label words from the tied table or lm_head, or a new classifier
/// (score, without bias, as Hugging Face's *ForSequenceClassification).
void causal_head(Program& program, Value features, std::optional<ParameterId> tied_table,
                 const std::string& head_name, std::optional<Index> classifier_labels);

}  // namespace tangram::parts
