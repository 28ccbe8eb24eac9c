#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tangram/model/initial_weights.hpp"
#include "tangram/model/program.hpp"

namespace tangram {

/// Examples that go through the network together: tokens concatenated, not padded.
struct TokenBlock {
    std::vector<std::int32_t> token_ids;
    std::vector<Index> offsets;  ///< examples + 1; example e owns tokens offsets[e] .. offsets[e+1]-1
    std::vector<Index> reads;    ///< per example the row among all tokens at which the outputs are read

    Index examples() const { return static_cast<Index>(reads.size()); }
};

/// Half-open range of rows.
struct RowRange {
    Index first, last;
    Index size() const { return last - first; }
};

/// What backpropagation leaves of one parameter's gradient at one operation that uses it, per example:
struct Factor {
    enum class Kind {
        outer,          ///< sum over rows t of delta_t input_t^T (linear weight)
        sum,            ///< sum over rows of delta_t (bias)
        normalised,     ///< sum over rows of delta_t * normalised input_t (norm weight)
        token_rows,     ///< delta_t added to row token_t (token table)
        position_rows,  ///< delta_t added to row position(t) + offset (position table)
        first_row,      ///< delta_t added to row 0 (token types)
        label_rows,     ///< seed_c input added to row label_c (output head)
        label_entries,  ///< seed_c added to entry label_c (the head's bias)
    };
    Kind kind;
    Value delta;  ///< the value whose gradient is delta (not of label_rows, label_entries)
    Value input;  ///< the value that stands beside it (outer, normalised, label_rows)
    std::size_t operation;
    Index offset = 0;

    bool from_label() const { return kind == Kind::label_rows || kind == Kind::label_entries; }
    /// Whether it is a sum of rows, each added to a row of a table.
    bool is_table() const {
        return kind == Kind::token_rows || kind == Kind::position_rows || kind == Kind::first_row ||
               kind == Kind::label_rows;
    }
};

/// The factors of every parameter, in the order of the operations; a tied table has several. Local.
std::vector<std::vector<Factor>> factors_of(const Program& program);

/// A program with its weights in one precision: forward and backward passes over blocks of examples. Serial.
/// Every operation treats rows or examples alone (arithmetic.hpp, 1.), so that a row's bits depend on its own
/// example only. Buffers grow to the largest block and are reused.
template <class Real>
class Network {
  public:
    /// Takes every parameter of the program from `weights`.
    /// @param label_ids  C vocabulary ids whose logits are the outputs
    /// @throws Error(input) naming file and tensor that is missing, of another shape or non-finite, or a
    /// second copy of a tied tensor that differs
    Network(Program program, const InitialWeights& weights, std::vector<std::int32_t> label_ids);
    /// All of them from a checkpoint.
    Network(Program program, const Weights& weights, std::vector<std::int32_t> label_ids);
    ~Network();
    Network(Network&&) noexcept;
    /// The same weights, not copied, with activations and gradients of its own: for another thread.
    Network twin() const;

    const Program& program() const;
    Index labels() const;  ///< C
    std::span<const std::int32_t> label_ids() const;

    /// Fills the activations and the logits. Token ids must be below the vocabulary size, lengths at most the
    /// maximum length (the data set was checked).
    void forward(const TokenBlock& block);
    /// examples x C, row-major: logits of the label words after forward().
    std::span<const Real> logits() const;
    /// Gradients of sum_c seeds[e][c] logit_c of each example e with respect to every activation.
    /// @param seeds  examples x C, row-major
    void backward(std::span<const Real> seeds);
    /// The same for the activations that the factors of `wanted` parameters take, directly or on the way; the
    /// other gradients are left as they were.
    void backward(std::span<const Real> seeds, std::span<const ParameterId> wanted);

    RowRange rows(RowSet set, Index example) const;
    /// Rows of a value, row-major with the value's width, after forward(); of its gradient after backward().
    const Real* value(Value value) const;
    const Real* gradient(Value value) const;
    /// A factor of kind sum or normalised, for one example, added to out[0 .. d). After backward().
    void add_vector(const Factor& factor, Index example, Real* out) const;
    /// The weights of a parameter, of all twins, from here on in a copy that may be changed.
    std::span<Real> weights(ParameterId parameter);

  private:
    struct Model;
    struct State;
    explicit Network(std::unique_ptr<State> state);

    std::unique_ptr<State> state_;
};

extern template class Network<float>;
extern template class Network<double>;

}  // namespace tangram
