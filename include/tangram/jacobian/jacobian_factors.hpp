#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "tangram/jacobian/output.hpp"
#include "tangram/jacobian/sketch.hpp"
#include "tangram/jacobian/token_blocks.hpp"
#include "tangram/model/factor_memory.hpp"
#include "tangram/model/network.hpp"
#include "tangram/model/token_softmax.hpp"
#include "tangram/text/data_set.hpp"

namespace tangram {

/// Told, between blocks of examples and behind the last one, how many have gone through the network, of how
/// many. What it throws ends the pass.
using PassProgress = std::function<void(Index done, Index examples)>;

/// The parameters whose factors are kept; those that the sketch names are kept projected, in place of the
/// whole ones.
struct KeptParameters {
    KeptParameters(std::vector<ParameterId> all = {}, Sketch projected = {},
                   FactorMemory* of_device = nullptr, std::vector<ParameterId> may_stay = {})
        : parameters(std::move(all)),
          sketch(std::move(projected)),
          memory(of_device),
          staying(std::move(may_stay)) {}
    std::vector<ParameterId> parameters;
    Sketch sketch;
    /// Where passes on the same device leave rows that the outer products of `staying` parameters alone take,
    /// if it has room for all of them; nullptr: all come home.
    FactorMemory* memory;
    std::vector<ParameterId> staying;  ///< ascending
};

/// The factors of a list of examples: what one forward pass and `passes` backward passes per example leave,
/// kept so that any slice of any gradient can be multiplied out later. Local, on the rank's OpenMP threads;
/// every example is treated alone, so its bits do not depend on the list.
template <class Real>
class JacobianFactors {
  public:
    /// @param kept      its memory, if any, outlives the object or forgets the factors before
    /// @param progress  called on the first thread
    /// @throws Error(numerical) naming example and tensor where an activation or gradient is not finite
    /// Memory: per example and row set, (inputs + passes * deltas) of the selected layers, passes the most of
    /// any task; of a vocabulary the inputs alone.
    JacobianFactors(Network<Real>& network, const DataSet& data, std::vector<Index> examples,
                    KernelOutputs outputs, KeptParameters kept, const PassProgress& progress = {});

    const std::vector<Index>& examples() const noexcept { return examples_; }
    /// examples x C logits at the initial weights, in the order of `examples`.
    const std::vector<double>& logits() const noexcept { return logits_; }

    /// Entries [first, last) of the gradient of one parameter, in storage order, for one example of the list
    /// and one backward pass: sums over tokens in token order (arithmetic.hpp, 2.). Of a sketched one, of the
    /// k_out x k_in matrix. `out` (last - first) is overwritten.
    void multiply_out(ParameterId parameter, Index first, Index last, Index example, Index pass,
                      Real* out) const;

    /// Rows of delta and of the input of a linear weight's gradient, sum_t delta_t input_t^T, one after the
    /// other; projected where the tensor is sketched.
    struct OuterRows {
        const Real *delta, *input;
        Index delta_width, input_width;  ///< d_out, d_in, or k_out, k_in
        Index count;                     ///< tokens, or those that are read where only they count
    };
    OuterRows outer_rows(ParameterId parameter, Index example, Index pass) const;
    /// All rows that those stand among, of all examples: deltas of every backward pass, and inputs. Nothing:
    /// the gradient of this parameter is no sum of outer products.
    struct OuterFactors {
        std::vector<std::span<const Real>> deltas;
        std::span<const Real> inputs;
        Index delta_width, input_width;
    };
    std::optional<OuterFactors> outer_factors(ParameterId parameter) const;
    /// Rows of this parameter's outer products may stand on a device alone, where their addresses are names:
    /// behind it they are here. On one thread.
    void bring_home(ParameterId parameter) const;

    /// What the delta of a vocabulary's table follows from, for one example of the list and one pass: added
    /// to `to`, a row for each token that is read.
    void add_predictions(ParameterId parameter, Index example, Index pass, TokenPredictions<Real>& to) const;
    /// Columns `vocabulary` of those deltas, row-major; `out` is overwritten.
    void vocabulary_deltas(ParameterId parameter, const TokenPredictions<Real>& of, RowRange vocabulary,
                           Real* out) const;

    /// Adds some columns of the rows `ids` of a table's gradient to out (ids x columns, row-major; ids
    /// ascending, from row_ids()): tokens in order, then labels. For one example of the list and one pass.
    void add_table_rows(ParameterId parameter, std::span<const Index> ids, RowRange columns, Index example,
                        Index pass, Real* out) const;

  private:
    /// Rows of one activation or of one pass's gradient for all examples, one after the other.
    struct Stored {
        std::unique_ptr<Real[]> entries;  // nullptr: not kept
        RowSet rows = RowSet::tokens;
        Index width = 0;
        RowsThere<Real> there = {};  ///< where they are left, in place of here
    };
    /// One side of a sketched tensor, where it is projected: rows of S^T x in place of x.
    struct ProjectedSide {
        Value value;               ///< the inputs, or the value whose gradient is delta
        std::vector<Real> matrix;  ///< S, while rows are added
        Index stride;
        std::vector<Stored> rows;  ///< by pass; of inputs one
    };
    struct StoredRows {
        const Real* first;
        Index count;
    };
    /// Of all sequences of an example, or of those of one gradient.
    StoredRows rows_of(const Stored& stored, Index example) const;
    StoredRows rows_of(const Stored& stored, Index example, Index pass) const;
    /// visit(row id, row, coefficient) for everything that is added to a row of a table.
    template <class Visit>
    void for_table_rows(ParameterId parameter, Index example, Index pass, Visit visit) const;
    void add_vocabulary_rows(ParameterId parameter, RowRange slice, Index example, Index pass,
                             Real* out) const;
    void make_room();
    void make_room_there(const std::vector<ParameterId>& staying);
    void forget_projections();
    void take_outputs(const Network<Real>& network, Index first, Index last);
    std::vector<Real> seeds_of(Index first, Index last, Index pass);
    void pass_through(Network<Real>& network, Index first, Index last);
    void keep_rows(Network<Real>& network, Index first, Index last, Index pass);
    void keep_vectors(Network<Real>& network, Index first, Index last, Index pass);
    void add_sketch(ParameterId parameter);
    Stored room_for(RowSet rows, Index width) const;
    void check_finite(std::span<const Real> entries, Index example, ParameterId parameter) const;

    const DataSet* data_;
    const Program* program_;
    std::vector<std::int32_t> label_ids_;
    std::vector<Index> examples_;
    std::vector<Index> token_offsets_, read_offsets_;  // examples + 1, in this list
    std::vector<ParameterId> selected_;
    FactorMemory* memory_;
    bool leaves_rows_ = false;                  // some stand in memory_ alone
    std::vector<std::vector<Factor>> factors_;  // by parameter
    KernelOutputs outputs_;
    Sketch sketch_;
    std::map<ParameterId, ProjectedSide> projected_inputs_, projected_deltas_;
    std::vector<Stored> inputs_;                           // by value
    std::vector<std::vector<Stored>> deltas_;              // by pass, by value
    std::vector<std::vector<std::vector<Real>>> vectors_;  // by pass, by parameter: examples x d
    std::vector<double> logits_;
    std::vector<Real> seeds_;             // by backward pass, examples x C
    std::vector<double> log_partitions_;  // rows read: answers
    StoredMatrix vocabulary_table_{};     // of the network
    std::optional<operation::AnswerLikelihood> scored_;

    Index example_of(Index in_list) const { return examples_[static_cast<std::size_t>(in_list)]; }
    Index task_of(Index in_list) const { return data_->task(example_of(in_list)); }
    Index seeds_at(Index example, Index pass) const {
        return (pass * std::ssize(examples_) + example) * outputs_.labels();
    }
    /// The backward pass that a gradient stands in.
    std::size_t stored_pass(Index pass) const {
        return data_->scores_answers() ? 0 : static_cast<std::size_t>(pass);
    }

    const Stored& input_of(ParameterId parameter) const;
    const Stored& delta_of(ParameterId parameter, const Factor& factor, std::size_t pass) const;
};

/// The rows of a table that the gradient of one example may be non-zero in, ascending: its token ids,
/// positions and the label ids of its task. Local; any rank can say what another holds.
std::vector<Index> row_ids(const std::vector<Factor>& factors, const DataSet& data, Index example,
                           std::span<const std::int32_t> label_ids, const KernelOutputs& outputs);

extern template class JacobianFactors<float>;
extern template class JacobianFactors<double>;

}  // namespace tangram
