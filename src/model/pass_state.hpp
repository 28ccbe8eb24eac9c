#pragma once
#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "step.hpp"
#include "tangram/model/network_passes.hpp"
#include "tangram/model/token_softmax.hpp"

namespace tangram {

/// What forward and backward passes on this processor share: the block that went through last and what they
/// have made of it.
template <class Real>
struct PassState {
    explicit PassState(std::shared_ptr<const NetworkWeights<Real>> shared)
        : weights(std::move(shared)),
          program(weights->program()),
          values(program.values().size()),
          gradients(values.size()),
          statistics(program.operations().size()),
          slopes(statistics.size()),
          cosines(statistics.size()),
          sines(statistics.size()) {
        for (const Operation& operation : program.operations())
            declared.push_back({inputs_of(operation), output_of(operation)});
        for (std::size_t v = 0; v < values.size(); ++v) values[v].width = program.values()[v].width;
        for (std::size_t v = 0; v < values.size(); ++v) gradients[v].rows.width = values[v].width;
    }

    std::shared_ptr<const NetworkWeights<Real>> weights;
    const Program& program;
    std::vector<DeclaredValues> declared;  // by operation

    TokenBlock block;
    std::vector<Rows<Real>> values;                                         // by value
    std::vector<Gradient<Real>> gradients;                                  // by value
    std::vector<std::vector<operations::NormStatistics<Real>>> statistics;  // by operation: norms, per row
    std::vector<Rows<Real>> slopes;                                         // by operation: activations
    std::vector<std::vector<Real>> cosines, sines;                          // by operation: rotary tables
    std::vector<Real> logits, seeds;                                        // examples x C, or one each
    std::vector<double> log_partitions;                                     // rows read: answers
    operations::Buffer<Real> scratch, shifted;
    operations::HeadScratch<Real> head_scratch;

    RowSet row_set(Value value) const { return program.shape(value).rows; }
    /// The entries of a vector.
    const Real* weight(ParameterId parameter) const { return weights->values(parameter); }
    /// The weights of an RMS norm with its shift, in a buffer that the next call takes again.
    const Real* norm_weight(const operation::RmsNorm& op) {
        const Real* const w = weight(op.weight);
        if (op.shift == 0) return w;
        const Index n = program.parameters()[op.weight].size();
        Real* const out = shifted.reserve(n);
        for (Index i = 0; i < n; ++i) out[i] = w[i] + static_cast<Real>(op.shift);
        return out;
    }
    /// Copies a row of a matrix.
    void read_row(ParameterId table, Index r, Real* to) const {
        const StoredMatrix& matrix = weights->matrix(table);
        const Index width = program.parameters()[table].shape[1];
        with_entries<Real>(matrix.type, [=](auto entry) {
            const std::byte* const from = matrix.at(r, 0);
            for (Index i = 0; i < width; ++i) to[i] = entry(from, i * matrix.k_stride);
        });
    }
    /// A row of a matrix, in `scratch`.
    const Real* table_row(ParameterId table, Index r) {
        Real* const row = scratch.reserve(program.parameters()[table].shape[1]);
        read_row(table, r, row);
        return row;
    }
    const Real* label_row(ParameterId table, std::size_t c) {
        return table_row(table, weights->label_ids()[c]);
    }

    TokenSoftmax<Real> softmax(const operation::AnswerLikelihood& op) const {
        const std::vector<Index>& shape = program.parameters()[op.table].shape;
        return {weights->matrix(op.table), shape[0], shape[1], op.cap.value_or(0)};
    }

    /// Position in its example of each row of a row set; `visit(row, position, example)`.
    template <class Visit>
    void for_positions(RowSet set, Visit visit) const {
        for (Index e = 0; e < block.examples(); ++e) {
            const Index start = block.offsets[static_cast<std::size_t>(e)];
            const RowRange range = block.rows_of(set, e);
            const Index first =
                set == RowSet::reads ? block.reads[static_cast<std::size_t>(e)] - start : Index{0};
            for (Index row = range.first; row < range.last; ++row) visit(row, first + row - range.first, e);
        }
    }

    /// visit(head, offset of queries, offset of keys, first query row, first key row) for each example and
    /// head.
    template <class Visit>
    void for_heads(const operation::Attention& op, Visit visit) const {
        const RowSet query_rows = row_set(op.query);
        operations::Head<Real> head;
        head.size = op.head_size;
        head.query_stride = program.shape(op.query).width;
        head.key_stride = program.shape(op.key).width;
        head.scale = static_cast<Real>(op.scale);
        head.cap = static_cast<Real>(op.cap.value_or(0));
        for (Index e = 0; e < block.examples(); ++e) {
            const RowRange tokens = block.rows_of(RowSet::tokens, e), queries = block.rows_of(query_rows, e);
            head.queries = queries.size();
            head.keys = tokens.size();
            head.first_position =
                query_rows == RowSet::tokens ? 0 : block.reads[static_cast<std::size_t>(e)] - tokens.first;
            head.window = op.window.value_or(head.keys);
            head.causal = op.causal;
            for (Index h = 0; h < op.heads; ++h) {
                const Index group = h / (op.heads / op.key_value_heads);
                visit(head, h * op.head_size, group * op.head_size, queries.first, tokens.first);
            }
        }
    }

    /// out = or += the rotation of in by `direction` (1 forward, -1 backward: its transpose) times the angle.
    template <bool add>
    void rotate(std::size_t o, const operation::Rotary& op, const Rows<Real>& in, Rows<Real>& out,
                Real direction) const {
        const Index half = std::ssize(op.angles.frequencies), tables = operations::rotary_tables(op.angles);
        const Index head_count = in.width / op.head_size;
        for_positions(row_set(op.in), [&](Index r, Index position, Index example) {
            const bool in_long =
                tables > 1 && block.rows_of(RowSet::tokens, example).size() > op.angles.longest;
            const Index at = (position * tables + (in_long ? 1 : 0)) * half;
            const Real* const c = cosines[o].data() + at;
            const Real* const s = sines[o].data() + at;
            for (Index h = 0; h < head_count; ++h) {
                const Real* const a = in.row(r) + h * op.head_size;
                Real* const b = out.row(r) + h * op.head_size;
                for (Index i = 0; i < half; ++i) {
                    const auto [first, second] =
                        operations::turned(a[i], a[i + half], c[i], direction * s[i]);
                    b[i] = add ? b[i] + first : first;
                    b[i + half] = add ? b[i + half] + second : second;
                }
                for (Index i = 2 * half; i < op.head_size; ++i) b[i] = add ? b[i] + a[i] : a[i];
            }
        });
    }
};

/// Values and logits of state.block.
template <class Real>
void run_forward(PassState<Real>& state);

/// Gradients of the values that the wanted parameters' factors take, from state.seeds.
/// @param factors  of every parameter of the program
template <class Real>
void run_backward(PassState<Real>& state, const std::vector<std::vector<Factor>>& factors,
                  std::span<const ParameterId> wanted);

}  // namespace tangram
