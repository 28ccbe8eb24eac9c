#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tangram/model/factor_memory.hpp"
#include "tangram/model/factors.hpp"
#include "tangram/model/network_weights.hpp"

namespace tangram {

/// Half-open range of rows.
struct RowRange {
    Index first, last;
    Index size() const { return last - first; }
};

/// Examples that go through the network together: tokens concatenated, not padded.
struct TokenBlock {
    std::vector<std::int32_t> token_ids;
    std::vector<Index> offsets;  ///< examples + 1; example e owns tokens offsets[e] .. offsets[e+1]-1
    std::vector<Index> reads;    ///< per example the row among all tokens at which the outputs are read
    /// Where answers are scored, the tokens that rows read predict, one after the other, and examples + 1
    /// places: example e is read at as many rows from reads[e] on as it has there. Empty: at one row.
    std::vector<std::int32_t> predicted = {};
    std::vector<Index> predicted_offsets = {};

    Index examples() const { return static_cast<Index>(reads.size()); }
    /// Rows of a row set.
    Index rows(RowSet set) const {
        return set == RowSet::tokens       ? offsets.back()
               : predicted_offsets.empty() ? examples()
                                           : predicted_offsets.back();
    }
    /// An example's rows of a row set.
    RowRange rows_of(RowSet set, Index example) const;
    /// Tokens of the longest example.
    Index longest() const;
};

/// One thread's passes over a network's weights: what an executor (this processor, a device) implements, and
/// all of a network that depends on where it runs. Serial. Every operation treats rows or examples alone
/// (arithmetic.hpp, 1.), so that a row's bits depend on its own example only, and are the same from every
/// executor. Pointers that it returns are this processor's, and hold until the next pass.
template <class Real>
class NetworkPasses {
  public:
    NetworkPasses() = default;
    NetworkPasses(const NetworkPasses&) = delete;
    NetworkPasses& operator=(const NetworkPasses&) = delete;
    virtual ~NetworkPasses() = default;

    /// Fills the activations and the logits.
    virtual void forward(const TokenBlock& block) = 0;
    /// The block that went through last.
    virtual const TokenBlock& block() const = 0;
    virtual std::span<const Real> logits() const = 0;
    /// Of each row read, log sum_v exp(z_v) over the vocabulary; empty where no answers are scored.
    virtual std::span<const double> log_partitions() const = 0;
    /// Gradients of sum_c seeds[e][c] logit_c for the activations that the factors of `wanted` parameters
    /// take, directly or on the way.
    virtual void backward(std::span<const Real> seeds, std::span<const ParameterId> wanted) = 0;
    /// After backward(), seeds of the head's products in W^T + b: those given, or what a cap makes of them.
    virtual std::span<const Real> seeds() const = 0;
    virtual const Real* value(Value value) const = 0;
    virtual const Real* gradient(Value value) const = 0;
    /// A factor of kind sum or normalised, for one example, added to out[0 .. d).
    virtual void add_vector(const Factor& factor, Index example, Real* out) const = 0;
    /// What its buffers hold by now.
    virtual Index bytes() const = 0;
    /// Tokens that its blocks should have, with all examples through one thread's passes; 0: a few examples,
    /// and passes on every thread. No bit depends on it.
    virtual Index tokens_per_block() const { return 0; }

    /// The device that values and gradients stand on; empty: this machine's memory.
    virtual std::string device() const { return {}; }
    /// Begins to copy a value's rows of the last block to rows on the same device, with zeros between them.
    virtual void leave_value(Value, RowsThere<Real>) {}
    /// The same of its gradient. @see left_finite
    virtual void leave_gradient(Value, RowsThere<Real>) {}
    /// Until rows are left; whether all gradients left since the last backward pass are finite.
    virtual bool left_finite() { return true; }
};

/// Makes the passes of one more thread over the same weights.
template <class Real>
using Executor =
    std::function<std::unique_ptr<NetworkPasses<Real>>(std::shared_ptr<const NetworkWeights<Real>>)>;

/// The executor that runs on the thread that calls it.
template <class Real>
std::unique_ptr<NetworkPasses<Real>> passes_on_processor(std::shared_ptr<const NetworkWeights<Real>> weights);

/// Bytes that passes_on_processor's buffers hold after a forward and a backward pass of the block, computed
/// from the program alone; of the token ids of the block only their number counts. Local.
/// @param labels  C
template <class Real>
Index planned_pass_bytes(const Program& program, const TokenBlock& block, Index labels,
                         std::span<const ParameterId> wanted);

}  // namespace tangram
