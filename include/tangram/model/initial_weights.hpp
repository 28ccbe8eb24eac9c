#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tangram/files/safetensors.hpp"
#include "tangram/model/program.hpp"

namespace tangram {

/// Where entries stand that were computed, and as what.
struct SharedEntries {
    const void* first;
    DType type;
};

/// Where a network's weights come from. Local, equal on every rank.
struct InitialWeights {
    const Weights* file = nullptr;     ///< the checkpoint; nullptr: none
    const Weights* adapter = nullptr;  ///< LoRA factors of an adapter_model.safetensors
    /// Not 0: the adapter's factors are no parameters, scale times their product B A is part of the weights.
    /// It is negative where lora_alpha is, which takes what was learnt away.
    double merged_scale = 0;
    /// Parameters that are drawn although the checkpoint may hold them; all where there is none.
    std::function<bool(const Parameter&)> drawn = [](const Parameter&) { return false; };
    std::uint64_t seed = 1;
    double deviation = 0.02;      ///< of drawn weights: config.json's initializer_range
    std::uint64_t lora_seed = 1;  ///< of LoRA's A where there is no adapter
    std::map<std::string, std::vector<double>> given = {};  ///< by name: values that were computed
    /// By name: matrices that were computed in memory that others share, in the order of their shape, and
    /// what keeps them there.
    std::map<std::string, SharedEntries> shared = {};
    std::shared_ptr<const void> memory = nullptr;
    /// For what only the time and the memory of passes count: no matrix is read or drawn, all of them begin
    /// at the same memory, which holds numbers of this deviation; biases and norms as drawn ones.
    bool placeholder = false;

    /// Where a parameter is read from; nullptr: it is given or drawn. Nothing is read.
    /// @throws Error(input) naming file and tensor that is missing or of another shape
    const TensorView* stored(const Parameter& parameter) const;
    /// The values of a parameter, in the order of its shape: given, read, or drawn. Drawn ones are normal(0,
    /// deviation^2) for matrices, 0 for biases, 1 for the weights of norms, as Hugging Face's models begin;
    /// LoRA's A is normal(0, 1/r), B is 0 [theory: M].
    /// @throws Error(input) naming file and tensor that is missing, of another shape or non-finite
    template <class Real>
    std::vector<Real> values(const Parameter& parameter) const;
    /// Whether the adapter's product is part of a parameter.
    bool is_adapted(const Parameter& parameter) const;
    /// The tensor whose entries are those of a parameter, transposed as the parameter says; nullptr: they are
    /// given, drawn or sums. Nothing is read. @throws Error(input) as stored()
    const TensorView* in_place(const Parameter& parameter) const;
};

/// A file's tensor of that name, or of the name without its first part ("model.layers.0..." as
/// "layers.0..."), which a base model that was saved alone has; norms may be called gamma and beta as in
/// BERT's oldest files. nullptr: none
const TensorView* find_tensor(const Weights& weights, const std::string& name);

}  // namespace tangram
