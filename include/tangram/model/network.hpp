#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "tangram/model/network_passes.hpp"

namespace tangram {

/// A program with its weights in one precision and one thread's passes over them: forward and backward over
/// blocks of examples. Serial. Buffers grow to the largest block and are reused.
template <class Real>
class Network {
  public:
    /// Takes every parameter of the program from `weights`.
    /// @param label_ids  C vocabulary ids whose logits are the outputs
    /// @throws Error(input) as NetworkWeights
    Network(Program program, const InitialWeights& weights, std::vector<std::int32_t> label_ids);
    /// All of them from a checkpoint.
    Network(Program program, const Weights& weights, std::vector<std::int32_t> label_ids);
    /// Passes of another executor.
    Network(std::shared_ptr<NetworkWeights<Real>> weights, Executor<Real> executor);
    /// The same weights, not copied, with activations and gradients of its own: for another thread.
    Network twin() const { return Network(weights_, executor_); }
    /// The same weights, with passes of another executor.
    Network on(Executor<Real> executor) const { return Network(weights_, std::move(executor)); }

    const Program& program() const { return weights_->program(); }
    Index labels() const { return std::ssize(weights_->label_ids()); }  ///< C
    std::span<const std::int32_t> label_ids() const { return weights_->label_ids(); }

    /// Fills the activations and the logits. Token ids must be below the vocabulary size, lengths at most the
    /// maximum length (the data set was checked).
    void forward(const TokenBlock& block) { passes_->forward(block); }
    /// examples x C, row-major: logits of the label words after forward(); where answers are scored, the
    /// log-likelihood of each example's.
    std::span<const Real> logits() const { return passes_->logits(); }
    std::span<const double> log_partitions() const { return passes_->log_partitions(); }
    /// Gradients of sum_c seeds[e][c] logit_c of each example e with respect to every activation.
    /// @param seeds  examples x C, row-major
    void backward(std::span<const Real> seeds);
    /// The same for the activations that the factors of `wanted` parameters take, directly or on the way; the
    /// other gradients are left as they were.
    void backward(std::span<const Real> seeds, std::span<const ParameterId> wanted) {
        passes_->backward(seeds, wanted);
    }

    /// After backward(), seeds of the head's products in W^T + b, examples x C: those given, or what a cap of
    /// the logits makes of them. What the head's own gradient is made of.
    std::span<const Real> seeds() const { return passes_->seeds(); }

    RowRange rows(RowSet set, Index example) const { return passes_->block().rows_of(set, example); }
    /// Rows of a value, row-major with the value's width, after forward(); of its gradient after backward().
    const Real* value(Value value) const { return passes_->value(value); }
    const Real* gradient(Value value) const { return passes_->gradient(value); }
    /// A factor of kind sum or normalised, for one example, added to out[0 .. d). After backward().
    void add_vector(const Factor& factor, Index example, Real* out) const {
        passes_->add_vector(factor, example, out);
    }
    /// A matrix of the weights where it stands (NetworkWeights).
    const StoredMatrix& matrix(ParameterId parameter) const { return weights_->matrix(parameter); }
    /// Bytes that the passes' buffers hold by now; the weights are none of them.
    Index pass_bytes() const { return passes_->bytes(); }
    Index tokens_per_block() const { return passes_->tokens_per_block(); }
    std::string device() const { return passes_->device(); }
    void leave_value(Value value, RowsThere<Real> to) { passes_->leave_value(value, to); }
    void leave_gradient(Value value, RowsThere<Real> to) { passes_->leave_gradient(value, to); }
    bool left_finite() { return passes_->left_finite(); }
    /// The weights of a parameter, of all twins, from here on in a copy that may be changed.
    std::span<Real> weights(ParameterId parameter) { return weights_->changeable(parameter); }

  private:
    std::shared_ptr<NetworkWeights<Real>> weights_;
    Executor<Real> executor_;
    std::unique_ptr<NetworkPasses<Real>> passes_;
};

extern template class Network<float>;
extern template class Network<double>;

}  // namespace tangram
