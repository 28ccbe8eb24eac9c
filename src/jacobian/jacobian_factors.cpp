#include "tangram/jacobian/jacobian_factors.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <optional>

#include "tangram/jacobian/factor_kinds.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/error.hpp"
#include "tangram/parallel_for.hpp"
#include "tangram/products.hpp"

namespace tangram {

namespace {

/// Entries that blocks may read behind the last row; what they compute from them is dropped.
constexpr Index overhang = products::panel_rows;

/// Overwrites out with entries [first, last) of the d_out x d_in matrix sum_t delta_t input_t^T, row-major.
template <class Real>
void outer_slice(const typename JacobianFactors<Real>::OuterRows& rows_of, Index first, Index last,
                 Real* out) {
    const auto& [delta, input, d_out, d_in, tokens] = rows_of;
    constexpr Index wide = products::block_rows<Real>, rows = products::block_columns;
    alignas(64) Real sums[rows * wide];
    for (Index row = first / d_in; row * d_in < last; row += rows)
        for (Index column = 0; column < d_in; column += wide) {
            products::block_sums<wide, rows, false>(input + column, d_in, delta + row, d_out, 1, tokens,
                                                    sums);
            for (Index r = row; r < std::min(row + rows, d_out); ++r) {
                const Index begin = std::max(first, r * d_in + column),
                            end = std::min({last, r * d_in + column + wide, (r + 1) * d_in});
                const Real* const from = sums + (r - row) * wide;
                for (Index i = begin; i < end; ++i) out[i - first] = from[i - r * d_in - column];
            }
        }
}

/// Adds `row`, which stands from entry `at` of the tensor on, to the slice.
template <class Real>
void add_row(std::span<const Real> row, Index at, Real coefficient, RowRange slice, Real* out) {
    const Index begin = std::max(at, slice.first), end = std::min(at + std::ssize(row), slice.last);
    for (Index i = begin; i < end; ++i)
        out[i - slice.first] += coefficient * row[static_cast<std::size_t>(i - at)];
}

/// S: d x stride, k of it.
template <class Real>
struct RandomMatrix {
    const Real* entries;
    Index d, k, stride;
};

/// out = rows S for `count` rows of width d: each entry one chain over d.
template <class Real>
void project_rows(const Real* rows, Index count, const RandomMatrix<Real>& S, Real* out) {
    const auto [entries, d, k, stride] = S;
    constexpr Index wide = products::block_rows<Real>, together = products::block_columns;
    alignas(64) Real sums[together * wide];
    for (Index t = 0; t < count;) {
        const Index at_once = count - t >= together ? together : 1;
        for (Index column = 0; column < k; column += wide) {
            const Real* const row = rows + t * d;
            if (at_once == together)
                products::block_sums<wide, together, false>(entries + column, stride, row, 1, d, d, sums);
            else
                products::block_sums<wide, 1, false>(entries + column, stride, row, 1, d, d, sums);
            for (Index r = 0; r < at_once; ++r)
                std::copy_n(sums + r * wide, std::min(wide, k - column), out + (t + r) * k + column);
        }
        t += at_once;
    }
}

}  // namespace

template <class Real>
JacobianFactors<Real>::JacobianFactors(Network<Real>& network, const DataSet& data,
                                       std::vector<Index> examples, KernelOutputs outputs,
                                       KeptParameters kept, const PassProgress& progress)
    : data_(&data),
      program_(&network.program()),
      label_ids_(network.label_ids().begin(), network.label_ids().end()),
      examples_(std::move(examples)),
      selected_(std::move(kept.parameters)),
      factors_(factors_of(network.program())),
      outputs_(std::move(outputs)),
      sketch_(std::move(kept.sketch)) {
    token_offsets_.push_back(0);
    for (const Index example : examples_)
        token_offsets_.push_back(token_offsets_.back() + std::ssize(data.tokens(example)));
    make_room();
    logits_.resize(examples_.size() * static_cast<std::size_t>(network.labels()));
    seeds_.resize(logits_.size() * static_cast<std::size_t>(outputs_.passes()));

    // Blocks go through the network on all threads; of several errors the first example's counts.
    const Index count = std::ssize(examples_);
    std::atomic<Index> done = 0;
    parallel_for((count + arithmetic::examples_per_block - 1) / arithmetic::examples_per_block,
                 [&] {
                     std::optional<Network<Real>> twin;
                     if (omp_get_thread_num() != 0) twin.emplace(network.twin());
                     return twin;
                 },
                 [&](std::optional<Network<Real>>& twin, Index block) {
                     const Index first = block * arithmetic::examples_per_block,
                                 last = std::min(count, first + arithmetic::examples_per_block);
                     pass_through(twin ? *twin : network, first, last);
                     done += last - first;
                     if (progress && omp_get_thread_num() == 0) progress(done, count);
                 });
    for (auto* const sides : {&projected_inputs_, &projected_deltas_})
        for (auto& [p, side] : *sides) side.matrix = {};
}

/// Room for what the passes leave of the selected parameters.
template <class Real>
void JacobianFactors<Real>::make_room() {
    const auto make = [&](Stored& stored, Value value) {
        if (stored.entries == nullptr)
            stored = room_for(program_->shape(value).rows, program_->shape(value).width);
    };
    const auto passes = static_cast<std::size_t>(outputs_.passes());
    inputs_.resize(program_->values().size());
    for (std::size_t pass = 0; pass < passes; ++pass) deltas_.emplace_back(program_->values().size());
    vectors_.assign(passes, std::vector<std::vector<Real>>(program_->parameters().size()));
    for (const ParameterId p : selected_)
        if (sketch_.holds(p)) add_sketch(p);
    for (const ParameterId p : selected_)
        for (const Factor& factor : factors_[p]) {
            const Kept kept = kept_of(factor.kind);
            if (kept.input && !projected_inputs_.contains(p)) make(inputs_[factor.input.id], factor.input);
            for (std::size_t pass = 0; pass < passes; ++pass) {
                if (kept.vector)
                    vectors_[pass][p].assign(
                        examples_.size() * static_cast<std::size_t>(program_->parameters()[p].size()),
                        Real(0));
                if (kept.delta && !projected_deltas_.contains(p))
                    make(deltas_[pass][factor.delta.id], factor.delta);
            }
        }
}

/// Room for the rows of all examples, not set but for what blocks may read behind them.
template <class Real>
typename JacobianFactors<Real>::Stored JacobianFactors<Real>::room_for(RowSet rows, Index width) const {
    const Index size = (rows == RowSet::tokens ? token_offsets_.back() : std::ssize(examples_)) * width;
    Stored stored{std::make_unique_for_overwrite<Real[]>(static_cast<std::size_t>(size + overhang)), rows,
                  width};
    std::fill_n(stored.entries.get() + size, overhang, Real(0));
    return stored;
}

/// Forward and backward passes of the examples [first, last) of the list; what they leave is stored and
/// checked.
template <class Real>
void JacobianFactors<Real>::pass_through(Network<Real>& network, Index first, Index last) {
    TokenBlock block;
    block.offsets.push_back(0);
    for (Index i = first; i < last; ++i) {
        const auto tokens = data_->tokens(examples_[static_cast<std::size_t>(i)]);
        block.reads.push_back(block.offsets.back() + data_->read(examples_[static_cast<std::size_t>(i)]));
        block.token_ids.insert(block.token_ids.end(), tokens.begin(), tokens.end());
        block.offsets.push_back(std::ssize(block.token_ids));
    }
    network.forward(block);
    const auto logits = network.logits();
    const auto labels = static_cast<std::size_t>(network.labels());
    for (std::size_t i = 0; i < logits.size(); ++i) {
        logits_[static_cast<std::size_t>(first) * labels + i] = static_cast<double>(logits[i]);
        if (!std::isfinite(logits[i])) {
            const Index example = examples_[static_cast<std::size_t>(first) + i / labels];
            throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                        fmt::format("the model's output for example {} (source row {}) is not finite; "
                                    "try precision = \"double\" or look at this text",
                                    example, data_->rows[static_cast<std::size_t>(example)]));
        }
    }
    for (Index pass = 0; pass < outputs_.passes() && !selected_.empty(); ++pass) {
        const std::span<Real> seeds(seeds_.data() + seeds_at(first, pass), logits.size());
        for (Index i = first; i < last; ++i) {
            const Index example = examples_[static_cast<std::size_t>(i)];
            const std::size_t at = static_cast<std::size_t>(i - first) * labels;
            outputs_.seeds(data_->task(example), pass, data_->labels[static_cast<std::size_t>(example)],
                           logits.subspan(at, labels), seeds.subspan(at, labels));
        }
        network.backward(seeds, selected_);
        std::ranges::copy(network.seeds(), seeds.begin());
        keep_rows(network, first, last, pass);
        keep_vectors(network, first, last, pass);
    }
}

/// Rows of inputs and deltas, as they are or projected, of one pass's block.
template <class Real>
void JacobianFactors<Real>::keep_rows(const Network<Real>& network, Index first, Index last, Index pass) {
    const auto first_row = [&](const Stored& stored, Index example) {
        return stored.rows == RowSet::tokens ? token_offsets_[static_cast<std::size_t>(example)] : example;
    };
    const auto count_of = [&](const Stored& stored) {
        return first_row(stored, last) - first_row(stored, first);
    };
    const auto place_of = [&](const Stored& stored) {
        return stored.entries.get() + first_row(stored, first) * stored.width;
    };
    const auto store = [&](Stored& stored, const Real* values) {
        if (stored.entries != nullptr) std::copy_n(values, count_of(stored) * stored.width, place_of(stored));
    };
    const auto project = [&](ProjectedSide& side, Index to, const Real* values) {
        Stored& stored = side.rows[static_cast<std::size_t>(to)];
        const Index d = program_->shape(side.value).width;
        project_rows<Real>(values, count_of(stored), {side.matrix.data(), d, stored.width, side.stride},
                           place_of(stored));
    };
    auto& deltas = deltas_[static_cast<std::size_t>(pass)];
    for (std::size_t v = 0; v < inputs_.size(); ++v) {
        if (pass == 0) store(inputs_[v], network.value(Value{v}));
        store(deltas[v], network.gradient(Value{v}));
    }
    for (auto& [p, side] : projected_inputs_)
        if (pass == 0) project(side, 0, network.value(side.value));
    for (auto& [p, side] : projected_deltas_) project(side, pass, network.gradient(side.value));
}

/// Vectors of one pass's block; all that was kept is checked.
template <class Real>
void JacobianFactors<Real>::keep_vectors(const Network<Real>& network, Index first, Index last, Index pass) {
    for (const ParameterId p : selected_)
        for (const Factor& factor : factors_[p]) {
            const Kept kept = kept_of(factor.kind);
            for (Index i = first; i < last; ++i) {
                if (kept.vector) {
                    const Index size = program_->parameters()[p].size();
                    Real* const out = vectors_[static_cast<std::size_t>(pass)][p].data() + i * size;
                    network.add_vector(factor, i - first, out);
                    for (const auto& [begin, end] : program_->parameters()[p].idle)
                        std::fill(out + begin, out + end, Real(0));
                    check_finite({out, static_cast<std::size_t>(size)}, i, p);
                } else if (kept.delta) {
                    const Stored& delta = delta_of(p, factor, static_cast<std::size_t>(pass));
                    const StoredRows rows = rows_of(delta, i);
                    check_finite({rows.first, static_cast<std::size_t>(rows.count * delta.width)}, i, p);
                }
            }
        }
}

template <class Real>
void JacobianFactors<Real>::check_finite(std::span<const Real> entries, Index example,
                                         ParameterId parameter) const {
    // x - x is 0 where x is finite and NaN where it is not: sums without branches.
    std::array<Real, 16> sums{};
    std::size_t i = 0;
    for (; i + sums.size() <= entries.size(); i += sums.size())
        for (std::size_t lane = 0; lane < sums.size(); ++lane)
            sums[lane] += entries[i + lane] - entries[i + lane];
    for (; i < entries.size(); ++i) sums[0] += entries[i] - entries[i];
    if (std::all_of(sums.begin(), sums.end(), [](Real sum) { return sum == Real(0); })) return;
    const Index in_data = examples_[static_cast<std::size_t>(example)];
    throw Error(
        ExitStatus::numerical, ErrorKind::non_finite,
        fmt::format("the gradient of {} for example {} (source row {}) is not finite; try precision = "
                    "\"double\" or leave the tensor out with kernel.parameters",
                    program_->parameters()[parameter].name, in_data,
                    data_->rows[static_cast<std::size_t>(in_data)]));
}

/// Makes room for the sides of a tensor that the sketch makes smaller.
template <class Real>
void JacobianFactors<Real>::add_sketch(ParameterId parameter) {
    const Factor& factor = factors_[parameter].front();
    const Parameter& tensor = program_->parameters()[parameter];
    const SketchShape shape = sketch_shape(tensor.shape[0], tensor.shape[1], sketch_.dimension);
    const auto add = [&](auto& sides, Value value, SketchSide side, Index k, std::size_t passes) {
        const ValueShape& whole = program_->shape(value);
        if (k >= whole.width) return;
        const Index stride = padded_columns(k);
        ProjectedSide& added = sides[parameter];
        added.value = value;
        added.matrix = sketch_matrix<Real>(sketch_.seed, tensor.name, side, whole.width, k, stride);
        added.stride = stride;
        for (std::size_t pass = 0; pass < passes; ++pass) added.rows.push_back(room_for(whole.rows, k));
    };
    add(projected_inputs_, factor.input, SketchSide::in, shape.in, 1);
    add(projected_deltas_, factor.delta, SketchSide::out, shape.out, deltas_.size());
}

template <class Real>
const typename JacobianFactors<Real>::Stored& JacobianFactors<Real>::input_of(ParameterId parameter) const {
    const auto projected = projected_inputs_.find(parameter);
    return projected != projected_inputs_.end() ? projected->second.rows.front()
                                                : inputs_[factors_[parameter].front().input.id];
}

template <class Real>
const typename JacobianFactors<Real>::Stored& JacobianFactors<Real>::delta_of(ParameterId parameter,
                                                                              const Factor& factor,
                                                                              std::size_t pass) const {
    const auto projected = projected_deltas_.find(parameter);
    return projected != projected_deltas_.end() ? projected->second.rows[pass]
                                                : deltas_[pass][factor.delta.id];
}

template <class Real>
typename JacobianFactors<Real>::StoredRows JacobianFactors<Real>::rows_of(const Stored& stored,
                                                                          Index example) const {
    const auto e = static_cast<std::size_t>(example);
    const bool tokens = stored.rows == RowSet::tokens;
    const Index first = tokens ? token_offsets_[e] : example;
    const Index count = tokens ? token_offsets_[e + 1] - first : 1;
    return {stored.entries.get() + first * stored.width, count};
}

template <class Real>
void JacobianFactors<Real>::multiply_out(ParameterId parameter, Index first, Index last, Index example,
                                         Index pass, Real* out) const {
    const std::vector<Factor>& factors = factors_[parameter];
    const Index width = program_->parameters()[parameter].shape.back();
    const Kept kept = kept_of(factors.front().kind);
    if (kept.input && kept.delta) {
        const OuterRows rows = outer_rows(parameter, example, pass);
        outer_slice<Real>(rows, first, last, out);
    } else if (kept.vector) {
        const Real* const vector =
            vectors_[static_cast<std::size_t>(pass)][parameter].data() + example * width;
        std::copy(vector + first, vector + last, out);
    } else if (factors.front().is_table()) {
        std::fill(out, out + (last - first), Real(0));
        for_table_rows(parameter, example, pass, [&](Index id, const Real* row, Real coefficient) {
            add_row<Real>({row, static_cast<std::size_t>(width)}, id * width, coefficient, {first, last},
                          out);
        });
    } else {
        std::fill(out, out + (last - first), Real(0));
        for (std::size_t c = 0; c < label_ids_.size(); ++c)
            if (label_ids_[c] >= first && label_ids_[c] < last)
                out[label_ids_[c] - first] += seeds_[static_cast<std::size_t>(seeds_at(example, pass)) + c];
    }
}

template <class Real>
typename JacobianFactors<Real>::OuterRows JacobianFactors<Real>::outer_rows(ParameterId parameter,
                                                                            Index example, Index pass) const {
    const Factor& factor = factors_[parameter].front();
    const Stored &delta = delta_of(parameter, factor, static_cast<std::size_t>(pass)),
                 &input = input_of(parameter);
    const StoredRows d = rows_of(delta, example), x = rows_of(input, example);
    return {d.first, x.first, delta.width, input.width, d.count};
}

template <class Real>
void JacobianFactors<Real>::add_table_rows(ParameterId parameter, std::span<const Index> ids,
                                           RowRange columns, Index example, Index pass, Real* out) const {
    const auto add = [&](Index id, const Real* row, Real coefficient) {
        const auto place = std::lower_bound(ids.begin(), ids.end(), id) - ids.begin();
        Real* const to = out + place * columns.size();
        for (Index i = columns.first; i < columns.last; ++i) to[i - columns.first] += coefficient * row[i];
    };
    for_table_rows(parameter, example, pass, add);
}

template <class Real>
template <class Visit>
void JacobianFactors<Real>::for_table_rows(ParameterId parameter, Index example, Index pass,
                                           Visit visit) const {
    const auto tokens = data_->tokens(examples_[static_cast<std::size_t>(example)]);
    for (const Factor& factor : factors_[parameter]) {
        if (kept_of(factor.kind).input) {
            const Real* const input = rows_of(inputs_[factor.input.id], example).first;
            const Real* const seeds = seeds_.data() + seeds_at(example, pass);
            for (std::size_t c = 0; c < label_ids_.size(); ++c)
                if (seeds[c] != Real(0)) visit(label_ids_[c], input, seeds[c]);
        } else {
            const Stored& delta = deltas_[static_cast<std::size_t>(pass)][factor.delta.id];
            const StoredRows rows = rows_of(delta, example);
            for (Index t = 0; t < rows.count; ++t)
                visit(table_row(factor, tokens, t), rows.first + t * delta.width, Real(1));
        }
    }
}

std::vector<Index> row_ids(const std::vector<Factor>& factors, const DataSet& data, Index example,
                           std::span<const std::int32_t> label_ids, const KernelOutputs& outputs) {
    std::vector<Index> ids;
    const auto tokens = data.tokens(example);
    for (const Factor& factor : factors) {
        if (kept_of(factor.kind).input) {
            const Index task = data.task(example), label = outputs.first_label(task);
            for (Index c = label; c < label + outputs.labels(task); ++c)
                ids.push_back(label_ids[static_cast<std::size_t>(c)]);
        } else {
            for (Index t = 0; t < std::ssize(tokens); ++t) ids.push_back(table_row(factor, tokens, t));
        }
    }
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
}

template class JacobianFactors<float>;
template class JacobianFactors<double>;

}  // namespace tangram
