#pragma once
#include <memory>
#include <string>

#include "tangram/model/network_passes.hpp"

namespace tangram {

/// What forward and backward passes take of a back end's memory. Bytes are upper bounds.
struct PassNeeds {
    double weights = 0;  ///< weights_in_passes()
    double fixed = 0;    ///< whatever goes through at once: scratch, rotary tables
    double token = 0;    ///< of each token that goes through at once, with its gradients
    double copies = 0;   ///< of this machine's memory, of each such token: what factors take
    Index tokens = 0;    ///< that go through at once, or one example's where it has more

    double bytes(Index longest) const;
    /// The same where no more than the longest example goes through at once.
    double least(Index longest) const;
};

/// What stands at once beside values and gradients. No bit depends on it.
struct PassSizes {
    /// Entries of the attention weights of the examples that an attention treats together, where the longest
    /// of them has no more.
    Index attention_entries = Index{1} << 24;
    /// Rows whose logits over a part of the vocabulary stand at once.
    Index vocabulary_rows = 1024;
};

/// Bytes that a block of examples may take: beyond it larger blocks are no faster. No bit depends on it.
inline constexpr double pass_block_bytes = 4.0 * 1024 * 1024 * 1024;

/// Of a device's memory, where passes run beside products.
inline constexpr double pass_share = 0.25;

/// Whether a matrix of that type stays as it is stored where passes run on a back end; others are converted
/// to the passes' precision. No bit depends on it.
inline constexpr bool stays_stored(DType type) { return bytes_of(type) == 2; }

/// Bytes that a network's weights take there. Local; nothing is read. @throws Error(input) as InitialWeights
template <class Real>
double weights_in_passes(const Program& program, const InitialWeights& source);

/// From the program alone, for examples of at most `longest` tokens. Local.
/// @param wanted   parameters whose factors are taken
/// @param memory   bytes of the back end that passes may take; `tokens` follows from it
/// @param weights  weights_in_passes()
template <class Real>
PassNeeds pass_needs(const Program& program, Index longest, Index labels, std::span<const ParameterId> wanted,
                     double memory, double weights);

/// What runs forward and backward passes in place of this machine's cores; a device implements it. Local, on
/// one thread.
class PassBackEnd {
  public:
    virtual ~PassBackEnd() = default;
    /// What it is, for people.
    virtual std::string name() const = 0;
    /// Bytes of its own memory that passes may take.
    virtual double memory() const = 0;
    /// Passes with the bits of passes_on_processor(). The weights are copied to it once for all passes over
    /// them, as they are then. Their calls throw Error(numerical) where the device fails.
    /// @param tokens  that blocks of examples should have (NetworkPasses::tokens_per_block)
    virtual std::unique_ptr<NetworkPasses<float>> passes(std::shared_ptr<const NetworkWeights<float>> weights,
                                                         Index tokens) = 0;
    virtual std::unique_ptr<NetworkPasses<double>> passes(
        std::shared_ptr<const NetworkWeights<double>> weights, Index tokens) = 0;
    /// Whether one of the passes has thrown because the device failed.
    virtual bool failed() const = 0;
};

}  // namespace tangram
