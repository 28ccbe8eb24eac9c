#include "tangram/jacobian/jacobian_factors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tangram/arithmetic.hpp"
#include "tangram/error.hpp"

namespace tangram {

namespace {

/// out[0 .. width) of R consecutive gradient rows o: sum_t delta[t][o] input[t][c .. c + width), t ascending.
/// R rows and a fixed width keep the running sums in registers.
template <int R, Index width, class Real>
void outer_block(const Real* delta, Index d_out, const Real* input, Index d_in, Index tokens, Real* out,
                 Index stride) {
    Real sums[R][width] = {};
    for (Index t = 0; t < tokens; ++t)
        for (int r = 0; r < R; ++r)
            for (Index c = 0; c < width; ++c) sums[r][c] += delta[t * d_out + r] * input[t * d_in + c];
    for (int r = 0; r < R; ++r)
        for (Index c = 0; c < width; ++c) out[r * stride + c] = sums[r][c];
}

/// The same for columns [c, end) of R rows, block by block.
template <int R, class Real>
void outer_rows(const Real* delta, Index d_out, const Real* input, Index d_in, Index tokens, Index c,
                Index end, Real* out, Index stride) {
    constexpr Index wide = 32, narrow = 4;
    for (; c + wide <= end; c += wide, out += wide)
        outer_block<R, wide>(delta, d_out, input + c, d_in, tokens, out, stride);
    for (; c + narrow <= end; c += narrow, out += narrow)
        outer_block<R, narrow>(delta, d_out, input + c, d_in, tokens, out, stride);
    for (; c < end; ++c, ++out) outer_block<R, 1>(delta, d_out, input + c, d_in, tokens, out, stride);
}

/// Adds nothing, overwrites: entries [first, last) of the d_out x d_in matrix sum_t delta_t input_t^T,
/// row-major.
template <class Real>
void outer_slice(const Real* delta, Index d_out, const Real* input, Index d_in, Index tokens, Index first,
                 Index last, Real* out) {
    constexpr int rows = 4;
    Index at = first;
    while (at < last) {
        const Index row = at / d_in, column = at % d_in;
        if (column == 0 && last - at >= rows * d_in) {
            outer_rows<rows>(delta + row, d_out, input, d_in, tokens, 0, d_in, out + (at - first), d_in);
            at += rows * d_in;
        } else {
            const Index end = std::min(d_in, column + last - at);
            outer_rows<1>(delta + row, d_out, input, d_in, tokens, column, end, out + (at - first), d_in);
            at += end - column;
        }
    }
}

/// Adds `row` (width entries, standing at [at, at + width) of the tensor) to the slice [first, last).
template <class Real>
void add_row(const Real* row, Index at, Index width, Real coefficient, Index first, Index last, Real* out) {
    const Index begin = std::max(at, first), end = std::min(at + width, last);
    for (Index i = begin; i < end; ++i) out[i - first] += coefficient * row[i - at];
}

}  // namespace

template <class Real>
JacobianFactors<Real>::JacobianFactors(Network<Real>& network, const DataSet& data,
                                       std::vector<Index> examples, KernelOutputs outputs,
                                       std::vector<ParameterId> selected)
    : data_(&data),
      program_(&network.program()),
      label_ids_(network.label_ids().begin(), network.label_ids().end()),
      examples_(std::move(examples)),
      selected_(std::move(selected)),
      factors_(factors_of(network.program())),
      outputs_(std::move(outputs)) {
    token_offsets_.push_back(0);
    for (const Index example : examples_)
        token_offsets_.push_back(token_offsets_.back() + std::ssize(data.tokens(example)));
    const auto count = std::ssize(examples_);
    const auto passes = static_cast<std::size_t>(outputs_.passes());

    const auto make = [&](Stored& stored, Value value) {
        if (stored.kept) return;
        const ValueShape& value_shape = program_->shape(value);
        stored = {{}, value_shape.rows, value_shape.width, true};
        const Index rows = stored.rows == RowSet::tokens ? token_offsets_.back() : count;
        stored.entries.reserve(static_cast<std::size_t>(rows * stored.width));
    };
    inputs_.resize(program_->values().size());
    deltas_.assign(passes, std::vector<Stored>(program_->values().size()));
    vectors_.assign(passes, std::vector<std::vector<Real>>(program_->parameters().size()));
    for (const ParameterId p : selected_)
        for (const Factor& factor : factors_[p]) {
            using Kind = Factor::Kind;
            const Kind kind = factor.kind;
            if (kind == Kind::outer || kind == Kind::label_rows) make(inputs_[factor.input.id], factor.input);
            for (std::size_t pass = 0; pass < passes; ++pass) {
                if (kind == Kind::sum || kind == Kind::normalised)
                    vectors_[pass][p].assign(
                        static_cast<std::size_t>(count * program_->parameters()[p].size()), Real(0));
                else if (kind != Kind::label_rows)
                    make(deltas_[pass][factor.delta.id], factor.delta);
            }
        }

    const auto labels = static_cast<std::size_t>(network.labels());
    std::vector<Real> seeds;
    for (Index first = 0; first < count; first += arithmetic::examples_per_block) {
        const Index last = std::min(count, first + arithmetic::examples_per_block);
        TokenBlock block;
        block.offsets.push_back(0);
        for (Index i = first; i < last; ++i) {
            const auto tokens = data.tokens(examples_[static_cast<std::size_t>(i)]);
            block.token_ids.insert(block.token_ids.end(), tokens.begin(), tokens.end());
            block.offsets.push_back(std::ssize(block.token_ids));
            block.reads.push_back(block.offsets.back() - 1);
        }
        network.forward(block);
        const auto logits = network.logits();
        for (std::size_t i = 0; i < logits.size(); ++i) {
            logits_.push_back(static_cast<double>(logits[i]));
            if (!std::isfinite(logits[i])) {
                const Index example = examples_[static_cast<std::size_t>(first) + i / labels];
                throw Error(ExitStatus::numerical,
                            fmt::format("the model's output for example {} (source row {}) is not finite; "
                                        "try precision = \"double\" or look at this text",
                                        example, data.rows[static_cast<std::size_t>(example)]));
            }
        }
        for (Index pass = 0; pass < outputs_.passes(); ++pass) {
            seeds.resize(logits.size());
            for (std::size_t i = 0; i < seeds.size(); ++i)
                seeds[i] = static_cast<Real>(
                    outputs_.seed(data.task(examples_[static_cast<std::size_t>(first) + i / labels]), pass,
                                  static_cast<Index>(i % labels)));
            network.backward(seeds);
            for (Index i = first; i < last; ++i) append(network, i - first, pass);
            for (const ParameterId p : selected_)
                for (const Factor& factor : factors_[p])
                    if (factor.kind == Factor::Kind::sum || factor.kind == Factor::Kind::normalised)
                        for (Index i = first; i < last; ++i) {
                            auto& vector = vectors_[static_cast<std::size_t>(pass)][p];
                            const Index size = program_->parameters()[p].size();
                            Real* const out = vector.data() + i * size;
                            network.add_vector(factor, i - first, out);
                            check_finite({out, static_cast<std::size_t>(size)}, i, p);
                        }
        }
    }
    for (const ParameterId p : selected_)
        for (const Factor& factor : factors_[p])
            for (std::size_t pass = 0; pass < passes; ++pass) {
                const Stored& delta = deltas_[pass][factor.delta.id];
                if (!delta.kept || factor.kind == Factor::Kind::label_rows) continue;
                for (Index i = 0; i < count; ++i) {
                    const StoredRows rows = rows_of(delta, i);
                    check_finite({rows.first, static_cast<std::size_t>(rows.count * delta.width)}, i, p);
                }
            }
}

template <class Real>
void JacobianFactors<Real>::check_finite(std::span<const Real> entries, Index example,
                                         ParameterId parameter) const {
    if (std::all_of(entries.begin(), entries.end(), [](Real x) { return std::isfinite(x); })) return;
    const Index in_data = examples_[static_cast<std::size_t>(example)];
    throw Error(
        ExitStatus::numerical,
        fmt::format("the gradient of {} for example {} (source row {}) is not finite; try precision = "
                    "\"double\" or leave the tensor out with kernel.parameters",
                    program_->parameters()[parameter].name, in_data,
                    data_->rows[static_cast<std::size_t>(in_data)]));
}

/// Copies the rows of one example of the block that went through last behind those stored.
template <class Real>
void JacobianFactors<Real>::append(Network<Real>& network, Index in_block, Index pass) {
    const auto copy = [&](Stored& stored, const Real* values) {
        if (!stored.kept) return;
        const RowRange range = network.rows(stored.rows, in_block);
        stored.entries.insert(stored.entries.end(), values + range.first * stored.width,
                              values + range.last * stored.width);
    };
    for (std::size_t v = 0; v < inputs_.size(); ++v) {
        if (pass == 0) copy(inputs_[v], network.value(Value{v}));
        copy(deltas_[static_cast<std::size_t>(pass)][v], network.gradient(Value{v}));
    }
}

template <class Real>
typename JacobianFactors<Real>::StoredRows JacobianFactors<Real>::rows_of(const Stored& stored,
                                                                          Index example) const {
    const auto e = static_cast<std::size_t>(example);
    const bool tokens = stored.rows == RowSet::tokens;
    const Index first = tokens ? token_offsets_[e] : example;
    const Index count = tokens ? token_offsets_[e + 1] - first : 1;
    return {stored.entries.data() + first * stored.width, count};
}

template <class Real>
void JacobianFactors<Real>::multiply_out(ParameterId parameter, Index first, Index last, Index example,
                                         Index pass, Real* out) const {
    const auto p = static_cast<std::size_t>(pass);
    bool written = false;
    const auto start_from_zero = [&] {
        if (!written) std::fill(out, out + (last - first), Real(0));
        written = true;
    };
    const auto tokens = data_->tokens(examples_[static_cast<std::size_t>(example)]);
    for (const Factor& factor : factors_[parameter]) {
        switch (factor.kind) {
            case Factor::Kind::outer: {
                const Stored &delta = deltas_[p][factor.delta.id], &input = inputs_[factor.input.id];
                const StoredRows d = rows_of(delta, example), x = rows_of(input, example);
                outer_slice(d.first, delta.width, x.first, input.width, d.count, first, last, out);
                written = true;
                break;
            }
            case Factor::Kind::sum:
            case Factor::Kind::normalised: {
                const Real* const vector =
                    vectors_[p][parameter].data() + example * program_->parameters()[parameter].size();
                std::copy(vector + first, vector + last, out);
                written = true;
                break;
            }
            case Factor::Kind::token_rows:
            case Factor::Kind::position_rows: {
                start_from_zero();
                const Stored& delta = deltas_[p][factor.delta.id];
                const StoredRows rows = rows_of(delta, example);
                for (Index t = 0; t < rows.count; ++t) {
                    const Index row =
                        factor.kind == Factor::Kind::token_rows ? tokens[static_cast<std::size_t>(t)] : t;
                    add_row(rows.first + t * delta.width, row * delta.width, delta.width, Real(1), first,
                            last, out);
                }
                break;
            }
            case Factor::Kind::label_rows: {
                start_from_zero();
                const Stored& input = inputs_[factor.input.id];
                const StoredRows rows = rows_of(input, example);
                for (std::size_t c = 0; c < label_ids_.size(); ++c) {
                    const double coefficient =
                        outputs_.seed(data_->task(examples_[static_cast<std::size_t>(example)]), pass,
                                      static_cast<Index>(c));
                    if (coefficient != 0.0)
                        add_row(rows.first, label_ids_[c] * input.width, input.width,
                                static_cast<Real>(coefficient), first, last, out);
                }
                break;
            }
        }
    }
}

template <class Real>
Index JacobianFactors<Real>::bytes() const {
    std::size_t count = 0;
    for (const Stored& stored : inputs_) count += stored.entries.capacity();
    for (const auto& pass : deltas_)
        for (const Stored& stored : pass) count += stored.entries.capacity();
    for (const auto& pass : vectors_)
        for (const auto& vector : pass) count += vector.capacity();
    return static_cast<Index>(count * sizeof(Real));
}

template class JacobianFactors<float>;
template class JacobianFactors<double>;

}  // namespace tangram
