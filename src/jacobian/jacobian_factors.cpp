#include "tangram/jacobian/jacobian_factors.hpp"

#include <fmt/core.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <type_traits>

#include "tangram/arithmetic.hpp"
#include "tangram/error.hpp"
#include "tangram/jacobian/factor_kinds.hpp"
#include "tangram/parallel_for.hpp"
#include "tangram/products.hpp"

namespace tangram {

namespace {

/// Entries that blocks may read behind the last row; what they compute from them is dropped.
constexpr Index overhang = products::panel_rows;

/// Calls visit(std::integral_constant<Index, count>()) for 0 < count <= most.
template <Index most, class Visit>
void with_count(Index count, Visit visit) {
    if constexpr (most > 1)
        if (count < most) return with_count<most - 1>(count, visit);
    visit(std::integral_constant<Index, most>());
}

/// Entries of a matrix: rows [row, row + rows) of columns [column, column + columns).
struct Part {
    Index row, rows, column, columns;
};

/// Overwrites out with a part of the d_out x d_in matrix sum_t delta_t input_t^T, row-major.
template <class Real>
void outer_part(const typename JacobianFactors<Real>::OuterRows& rows_of, const Part& part, Real* out) {
    const auto& [delta, input, d_out, d_in, tokens] = rows_of;
    constexpr Index wide = products::block_rows<Real>, together = products::block_columns;
    constexpr Index line = 64 / static_cast<Index>(sizeof(Real));
    alignas(64) Real sums[together * wide];
    // Rows of deltas side by side: they meet every panel of inputs.
    static thread_local std::vector<Real> deltas;
    deltas.resize(static_cast<std::size_t>(tokens * part.rows));
    for (Index t = 0; t < tokens; ++t)
        std::copy_n(delta + t * d_out + part.row, part.rows, deltas.data() + t * part.rows);
    for (Index c = 0; c < part.columns; c += wide) {
        const Real* const panel = input + part.column + c;
        // Far apart as they are, the processor does not see that the next ones follow.
        for (Index t = 0; c + wide < part.columns && t < tokens; ++t)
            for (Index i = 0; i < wide; i += line) __builtin_prefetch(panel + t * d_in + wide + i, 0, 2);
        const Index columns = std::min(wide, part.columns - c);
        for (Index r = 0; r < part.rows; r += together) {
            const Index rows = std::min(together, part.rows - r);
            with_count<together>(rows, [&](auto count) {
                products::block_sums<wide, decltype(count)::value, false>(
                    panel, rows_of.input_width, deltas.data() + r, part.rows, 1, rows_of.count, sums);
            });
            for (Index i = 0; i < rows; ++i)
                std::copy_n(sums + i * wide, columns, out + (r + i) * part.columns + c);
        }
    }
}

/// The same of entries [first, last): the end of a row, whole rows, some at once, the beginning of one.
template <class Real>
void outer_slice(const typename JacobianFactors<Real>::OuterRows& rows_of, Index first, Index last,
                 Real* out) {
    constexpr Index together = 64;
    const Index d_in = rows_of.input_width;
    while (first < last) {
        const Index column = first % d_in, whole = column == 0 ? (last - first) / d_in : 0;
        const Part part{first / d_in, std::clamp(whole, Index{1}, together), column,
                        std::min(d_in - column, last - first)};
        outer_part<Real>(rows_of, part, out);
        first += part.rows * part.columns;
        out += part.rows * part.columns;
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
      memory_(kept.memory),
      factors_(factors_of(network.program())),
      outputs_(std::move(outputs)),
      sketch_(std::move(kept.sketch)) {
    token_offsets_.push_back(0);
    read_offsets_.push_back(0);
    for (const Index example : examples_) {
        const PassedRows passed = data.passed(example);
        token_offsets_.push_back(token_offsets_.back() + passed.tokens);
        read_offsets_.push_back(read_offsets_.back() + passed.reads);
    }
    if (const auto* const scored = std::get_if<operation::AnswerLikelihood>(&program_->operations().back())) {
        scored_ = *scored;
        vocabulary_table_ = network.matrix(scored->table);
        log_partitions_.resize(static_cast<std::size_t>(read_offsets_.back()));
    }
    make_room();
    if (memory_ != nullptr && memory_->device() == network.device()) make_room_there(kept.staying);
    logits_.resize(examples_.size() * static_cast<std::size_t>(outputs_.labels()));
    seeds_.resize(logits_.size() * static_cast<std::size_t>(backward_passes(data, outputs_)));

    // Blocks go through the network on all threads; of several errors the first example's counts.
    const Index count = std::ssize(examples_);
    const bool on_one_thread = network.tokens_per_block() > 0;
    const Index together = on_one_thread ? count : examples_per_block(data, *program_, sizeof(Real));
    const std::vector<Index> starts = block_starts(data, examples_, together, network.tokens_per_block());
    if (on_one_thread) {
        for (std::size_t block = 0; block + 1 < starts.size(); ++block) {
            pass_through(network, starts[block], starts[block + 1]);
            if (progress) progress(starts[block + 1], count);
        }
        forget_projections();
        return;
    }
    std::atomic<Index> done = 0;
    parallel_for(
        std::ssize(starts) - 1,
        [&] {
            std::optional<Network<Real>> twin;
            if (omp_get_thread_num() != 0) twin.emplace(network.twin());
            return twin;
        },
        [&](std::optional<Network<Real>>& twin, Index block) {
            const Index first = starts[static_cast<std::size_t>(block)],
                        last = starts[static_cast<std::size_t>(block) + 1];
            pass_through(twin ? *twin : network, first, last);
            const Index passed = done += last - first;
            if (progress && omp_get_thread_num() == 0 && passed < count) progress(passed, count);
        });
    forget_projections();
    if (progress && count > 0) progress(count, count);  // the first thread may have had no block
}

/// The random matrices are made again for other examples.
template <class Real>
void JacobianFactors<Real>::forget_projections() {
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
    const auto passes = static_cast<std::size_t>(backward_passes(*data_, outputs_));
    inputs_.resize(program_->values().size());
    for (std::size_t pass = 0; pass < passes; ++pass) deltas_.emplace_back(program_->values().size());
    vectors_.assign(static_cast<std::size_t>(outputs_.passes()),
                    std::vector<std::vector<Real>>(program_->parameters().size()));
    for (const ParameterId p : selected_)
        if (sketch_.holds(p)) add_sketch(p);
    for (const ParameterId p : selected_)
        for (const Factor& factor : factors_[p]) {
            const Kept kept = kept_of(factor.kind);
            if (kept.input && !projected_inputs_.contains(p)) make(inputs_[factor.input.id], factor.input);
            for (auto& of_pass : vectors_)
                if (kept.vector)
                    of_pass[p].assign(
                        examples_.size() * static_cast<std::size_t>(program_->parameters()[p].size()),
                        Real(0));
            for (auto& of_pass : deltas_)
                if (kept.delta && !projected_deltas_.contains(p))
                    make(of_pass[factor.delta.id], factor.delta);
        }
}

/// Room on the network's device for the rows that nobody reads here: for all of them or for none, as what is
/// sent there later would drive them out. Memory of this machine that nobody writes to is not taken.
template <class Real>
void JacobianFactors<Real>::make_room_there(const std::vector<ParameterId>& staying) {
    std::vector<bool> input_here(inputs_.size(), false), delta_here(inputs_.size(), false);
    for (const ParameterId p : selected_)
        for (const Factor& factor : factors_[p]) {
            const Kept kept = kept_of(factor.kind);
            if (kept.input && kept.delta && std::ranges::binary_search(staying, p)) continue;
            if (kept.input) input_here[factor.input.id] = true;
            if (kept.delta) delta_here[factor.delta.id] = true;
        }
    std::vector<Stored*> to_leave;
    for (std::size_t v = 0; v < inputs_.size(); ++v) {
        if (!input_here[v]) to_leave.push_back(&inputs_[v]);
        for (auto& of_pass : deltas_)
            if (!delta_here[v]) to_leave.push_back(&of_pass[v]);
    }
    std::erase_if(to_leave, [](const Stored* stored) { return stored->entries == nullptr; });
    if (examples_.empty() || to_leave.empty()) return;
    leaves_rows_ = true;
    try {
        for (Stored* const stored : to_leave) {
            const Index rows = (stored->rows == RowSet::tokens ? token_offsets_ : read_offsets_).back();
            stored->there = memory_->room_for(stored->entries.get(), rows, stored->width);
            leaves_rows_ = leaves_rows_ && stored->there.first != nullptr;
            if (!leaves_rows_) break;
        }
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::no_memory) throw;
        leaves_rows_ = false;
    }
    for (Stored* const stored : to_leave)
        if (!leaves_rows_ && stored->there.first != nullptr) {
            memory_->forget(stored->entries.get());
            stored->there = {};
        }
}

/// Room for the rows of all examples, not set but for what blocks may read behind them.
template <class Real>
typename JacobianFactors<Real>::Stored JacobianFactors<Real>::room_for(RowSet rows, Index width) const {
    const Index size = (rows == RowSet::tokens ? token_offsets_ : read_offsets_).back() * width;
    Stored stored{std::make_unique_for_overwrite<Real[]>(static_cast<std::size_t>(size + overhang)), rows,
                  width};
    std::fill_n(stored.entries.get() + size, overhang, Real(0));
    return stored;
}

/// Forward and backward passes of the examples [first, last) of the list; what they leave is stored and
/// checked.
template <class Real>
void JacobianFactors<Real>::pass_through(Network<Real>& network, Index first, Index last) {
    network.forward(
        token_block(*data_, std::span(examples_).subspan(static_cast<std::size_t>(first),
                                                         static_cast<std::size_t>(last - first))));
    take_outputs(network, first, last);
    for (Index pass = 0; pass < std::ssize(deltas_) && !selected_.empty(); ++pass) {
        network.backward(seeds_of(first, last, pass), selected_);
        // The head's own gradient takes them behind its cap; answers have none.
        const Index labels = scored_ ? 0 : outputs_.labels();
        for (Index i = first; i < last; ++i)
            std::copy_n(network.seeds().data() + (i - first) * labels, labels,
                        seeds_.data() + seeds_at(i, pass));
        keep_rows(network, first, last, pass);
        keep_vectors(network, first, last, pass);
    }
}

/// Logits, or answers' scores, of one block.
template <class Real>
void JacobianFactors<Real>::take_outputs(const Network<Real>& network, Index first, Index last) {
    const auto outputs = network.logits();
    std::size_t next = 0;
    for (Index i = first; i < last; ++i) {
        const Index own = scored_ ? data_->sequences(example_of(i)) : outputs_.labels(),
                    label = scored_ ? outputs_.first_label(task_of(i)) : 0;
        for (Index c = 0; c < own; ++c, ++next) {
            logits_[static_cast<std::size_t>(i * outputs_.labels() + label + c)] =
                static_cast<double>(outputs[next]);
            if (std::isfinite(outputs[next])) continue;
            const Index example = example_of(i);
            throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                        fmt::format("the model's output for example {} (source row {}) is not finite; "
                                    "try kernel.precision = \"double\" or look at this text",
                                    example, data_->rows[static_cast<std::size_t>(example)]));
        }
    }
    std::ranges::copy(
        network.log_partitions(),
        log_partitions_.begin() + (scored_ ? read_offsets_[static_cast<std::size_t>(first)] : 0));
}

/// What one backward pass differentiates, by label or by sequence of each example of a block.
template <class Real>
std::vector<Real> JacobianFactors<Real>::seeds_of(Index first, Index last, Index pass) {
    const auto labels = static_cast<std::size_t>(outputs_.labels());
    std::vector<Real> logits(labels), of_block;
    for (Index i = first; i < last; ++i) {
        const Index task = task_of(i), label = data_->labels[static_cast<std::size_t>(example_of(i))];
        for (std::size_t c = 0; c < labels; ++c)
            logits[c] = static_cast<Real>(logits_[static_cast<std::size_t>(i) * labels + c]);
        const std::span<Real> seeds(seeds_.data() + seeds_at(i, pass), labels);
        if (!scored_) {
            outputs_.seeds<Real>(task, pass, label, logits, seeds);
            of_block.insert(of_block.end(), seeds.begin(), seeds.end());
            continue;
        }
        outputs_.sequence_seeds<Real>(task, label, logits, seeds);
        const auto own = seeds.begin() + outputs_.first_label(task);
        of_block.insert(of_block.end(), own, own + data_->sequences(example_of(i)));
    }
    return of_block;
}

/// Rows of inputs and deltas, as they are or projected, of one pass's block.
template <class Real>
void JacobianFactors<Real>::keep_rows(Network<Real>& network, Index first, Index last, Index pass) {
    const auto first_row = [&](const Stored& stored, Index example) {
        return (stored.rows == RowSet::tokens ? token_offsets_
                                              : read_offsets_)[static_cast<std::size_t>(example)];
    };
    const auto count_of = [&](const Stored& stored) {
        return first_row(stored, last) - first_row(stored, first);
    };
    const auto place_of = [&](const Stored& stored) {
        return stored.entries.get() + first_row(stored, first) * stored.width;
    };
    const auto place_there = [&](const Stored& stored) {
        RowsThere<Real> to = stored.there;
        to.first += first_row(stored, first) * to.stride;
        return to;
    };
    struct Copied {
        const Real* from;
        Index count;
        Real* to;
    };
    std::vector<Copied> copied;
    const auto store = [&](const Stored& stored, const Real* values) {
        constexpr Index at_once = 1 << 18;  // parts enough for all threads, of some pages each
        const Index all = count_of(stored) * stored.width;
        for (Index i = 0; i < all; i += at_once)
            copied.push_back({values + i, std::min(at_once, all - i), place_of(stored) + i});
    };
    const auto project = [&](ProjectedSide& side, Index to, const Real* values) {
        Stored& stored = side.rows[static_cast<std::size_t>(to)];
        const Index d = program_->shape(side.value).width;
        project_rows<Real>(values, count_of(stored), {side.matrix.data(), d, stored.width, side.stride},
                           place_of(stored));
    };
    auto& deltas = deltas_[static_cast<std::size_t>(pass)];
    for (std::size_t v = 0; v < inputs_.size(); ++v) {
        if (pass == 0 && inputs_[v].there.first != nullptr)
            network.leave_value(Value{v}, place_there(inputs_[v]));
        else if (pass == 0 && inputs_[v].entries != nullptr)
            store(inputs_[v], network.value(Value{v}));
        if (deltas[v].there.first != nullptr)
            network.leave_gradient(Value{v}, place_there(deltas[v]));
        else if (deltas[v].entries != nullptr)
            store(deltas[v], network.gradient(Value{v}));
    }
    // Where one thread has all the passes, on all of them.
    parallel_for(std::ssize(copied), [&](Index i) {
        const auto& [from, entries, to] = copied[static_cast<std::size_t>(i)];
        std::copy_n(from, entries, to);
    });
    for (auto& [p, side] : projected_inputs_)
        if (pass == 0) project(side, 0, network.value(side.value));
    for (auto& [p, side] : projected_deltas_) project(side, pass, network.gradient(side.value));
}

/// Vectors of one pass's block; all that was kept is checked.
template <class Real>
void JacobianFactors<Real>::keep_vectors(Network<Real>& network, Index first, Index last, Index pass) {
    const bool left_are_finite = !leaves_rows_ || network.left_finite();
    if (!left_are_finite)  // to find the first that is not
        for (const Stored& stored : deltas_[static_cast<std::size_t>(pass)])
            if (stored.there.first != nullptr) memory_->bring_home(stored.entries.get());
    for (const ParameterId p : selected_)
        for (const Factor& factor : factors_[p]) {
            const Kept kept = kept_of(factor.kind);
            const Index size = program_->parameters()[p].size();
            Index sequence = 0;  // of the block
            for (Index i = first; i < last; ++i, sequence += data_->sequences(example_of(i - 1))) {
                const Index gradients = scored_ ? outputs_.shape(task_of(i)).passes() : 1;
                for (Index g = 0; kept.vector && g < gradients; ++g) {
                    const Index of = scored_ ? g : pass;
                    Real* const out = vectors_[static_cast<std::size_t>(of)][p].data() + i * size;
                    const RowRange own = sequences_of(*data_, outputs_, example_of(i), of);
                    for (Index s = own.first; s < own.last; ++s)
                        network.add_vector(factor, sequence + s, out);
                    for (const auto& [begin, end] : program_->parameters()[p].idle)
                        std::fill(out + begin, out + end, Real(0));
                    check_finite({out, static_cast<std::size_t>(size)}, i, p);
                }
            }
            if (!kept.delta) continue;
            const Stored& delta = delta_of(p, factor, static_cast<std::size_t>(pass));
            if (delta.there.first != nullptr && left_are_finite) continue;
            parallel_for(last - first, [&](Index i) {
                const StoredRows rows = rows_of(delta, first + i);
                check_finite({rows.first, static_cast<std::size_t>(rows.count * delta.width)}, first + i, p);
            });
        }
    if (!left_are_finite) throw std::logic_error("what a device found to be not finite is finite here");
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
        fmt::format("the gradient of {} for example {} (source row {}) is not finite; try kernel.precision = "
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
    const std::vector<Index>& offsets = stored.rows == RowSet::tokens ? token_offsets_ : read_offsets_;
    return {stored.entries.get() + offsets[e] * stored.width, offsets[e + 1] - offsets[e]};
}

template <class Real>
typename JacobianFactors<Real>::StoredRows JacobianFactors<Real>::rows_of(const Stored& stored, Index example,
                                                                          Index pass) const {
    StoredRows rows = rows_of(stored, example);
    if (!scored_) return rows;
    const RowRange own = sequences_of(*data_, outputs_, example_of(example), pass);
    const auto passed = [&](Index s) {
        const PassedRows of = data_->passed(example_of(example), s);
        return stored.rows == RowSet::tokens ? of.tokens : of.reads;
    };
    for (Index s = 0; s < own.first; ++s) rows.first += passed(s) * stored.width;
    rows.count = 0;
    for (Index s = own.first; s < own.last; ++s) rows.count += passed(s);
    return rows;
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
    } else if (kept.input || kept.delta) {
        std::fill(out, out + (last - first), Real(0));
        for_table_rows(parameter, example, pass, [&](Index id, const Real* row, Real coefficient) {
            add_row<Real>({row, static_cast<std::size_t>(width)}, id * width, coefficient, {first, last},
                          out);
        });
        if (factors.back().kind == Factor::Kind::vocabulary)
            add_vocabulary_rows(parameter, {first, last}, example, pass, out);
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
    const Stored &delta = delta_of(parameter, factor, stored_pass(pass)), &input = input_of(parameter);
    const StoredRows d = rows_of(delta, example, pass), x = rows_of(input, example, pass);
    return {d.first, x.first, delta.width, input.width, d.count};
}

template <class Real>
std::optional<typename JacobianFactors<Real>::OuterFactors> JacobianFactors<Real>::outer_factors(
    ParameterId parameter) const {
    const Factor& factor = factors_[parameter].front();
    if (const Kept kept = kept_of(factor.kind); !kept.input || !kept.delta) return std::nullopt;
    const auto all = [&](const Stored& stored) {
        const Index rows = (stored.rows == RowSet::tokens ? token_offsets_ : read_offsets_).back();
        return std::span<const Real>(stored.entries.get(), static_cast<std::size_t>(rows * stored.width));
    };
    const Stored& input = input_of(parameter);
    OuterFactors of{{}, all(input), delta_of(parameter, factor, 0).width, input.width};
    for (std::size_t pass = 0; pass < deltas_.size(); ++pass)
        of.deltas.push_back(all(delta_of(parameter, factor, pass)));
    return of;
}

template <class Real>
void JacobianFactors<Real>::bring_home(ParameterId parameter) const {
    if (!leaves_rows_ || !outer_factors(parameter)) return;
    const auto bring = [&](const Stored& stored) {
        if (stored.there.first != nullptr) memory_->bring_home(stored.entries.get());
    };
    const Factor& factor = factors_[parameter].front();
    bring(input_of(parameter));
    for (std::size_t pass = 0; pass < deltas_.size(); ++pass) bring(delta_of(parameter, factor, pass));
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
    const Index in_data = example_of(example);
    for (const Factor& factor : factors_[parameter]) {
        if (factor.kind == Factor::Kind::vocabulary) continue;
        if (kept_of(factor.kind).input) {
            const Real* const input = rows_of(inputs_[factor.input.id], example).first;
            const Real* const seeds = seeds_.data() + seeds_at(example, pass);
            for (std::size_t c = 0; c < label_ids_.size(); ++c)
                if (seeds[c] != Real(0)) visit(label_ids_[c], input, seeds[c]);
        } else {
            const Stored& delta = deltas_[stored_pass(pass)][factor.delta.id];
            const Real* row = rows_of(delta, example, pass).first;
            const RowRange own = sequences_of(*data_, outputs_, in_data, pass);
            for (Index s = own.first; s < own.last; ++s)
                for (Index t = 0; t < data_->passed(in_data, s).tokens; ++t, row += delta.width)
                    visit(table_row(factor, data_->token(in_data, s, t), t), row, Real(1));
        }
    }
}

template <class Real>
void JacobianFactors<Real>::add_predictions(ParameterId parameter, Index example, Index pass,
                                            TokenPredictions<Real>& to) const {
    const Index in_data = example_of(example);
    const Stored& input = inputs_[factors_[parameter].back().input.id];
    const StoredRows rows = rows_of(input, example, pass);
    to.features.insert(to.features.end(), rows.first, rows.first + rows.count * input.width);
    const RowRange own = sequences_of(*data_, outputs_, in_data, pass);
    const Index label = outputs_.first_label(task_of(example));
    Index read = read_offsets_[static_cast<std::size_t>(example)];
    for (Index s = 0; s < own.last; ++s) {
        const auto answer = data_->answer(in_data, s);
        const Index count = std::ssize(answer);
        if (s >= own.first) {
            const Real seed = seeds_[static_cast<std::size_t>(seeds_at(example, 0) + label + s)];
            to.tokens.insert(to.tokens.end(), answer.begin(), answer.end());
            to.scales.insert(to.scales.end(), answer.size(), answer_scale(*scored_, seed, count));
            to.log_partitions.insert(to.log_partitions.end(), log_partitions_.begin() + read,
                                     log_partitions_.begin() + read + count);
        }
        read += count;
    }
}

template <class Real>
void JacobianFactors<Real>::vocabulary_deltas(ParameterId parameter, const TokenPredictions<Real>& of,
                                              RowRange vocabulary, Real* out) const {
    const std::vector<Index>& shape = program_->parameters()[parameter].shape;
    TokenSoftmax<Real>(vocabulary_table_, shape[0], shape[1], scored_->cap.value_or(0))
        .slopes(of, vocabulary, out);
}

/// Adds entries `slice` of sum_t delta_t x_t^T over the rows read, t ascending.
template <class Real>
void JacobianFactors<Real>::add_vocabulary_rows(ParameterId parameter, RowRange slice, Index example,
                                                Index pass, Real* out) const {
    static thread_local TokenPredictions<Real> predictions;
    static thread_local std::vector<Real> deltas;
    predictions.clear();
    add_predictions(parameter, example, pass, predictions);
    const Index width = program_->parameters()[parameter].shape[1];
    const RowRange vocabulary{slice.first / width, (slice.last + width - 1) / width};
    deltas.resize(static_cast<std::size_t>(predictions.rows() * vocabulary.size()));
    vocabulary_deltas(parameter, predictions, vocabulary, deltas.data());
    for (Index t = 0; t < predictions.rows(); ++t)
        for (Index v = vocabulary.first; v < vocabulary.last; ++v)
            add_row<Real>(
                {predictions.features.data() + t * width, static_cast<std::size_t>(width)}, v * width,
                deltas[static_cast<std::size_t>(t * vocabulary.size() + v - vocabulary.first)], slice, out);
}

std::vector<Index> row_ids(const std::vector<Factor>& factors, const DataSet& data, Index example,
                           std::span<const std::int32_t> label_ids, const KernelOutputs& outputs) {
    std::vector<Index> ids;
    for (const Factor& factor : factors) {
        if (kept_of(factor.kind).input) {
            const Index task = data.task(example), label = outputs.first_label(task);
            for (Index c = label; c < label + outputs.labels(task); ++c)
                ids.push_back(label_ids[static_cast<std::size_t>(c)]);
        } else {
            for (Index s = 0; s < data.sequences(example); ++s)
                for (Index t = 0; t < data.passed(example, s).tokens; ++t)
                    ids.push_back(table_row(factor, data.token(example, s, t), t));
        }
    }
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
}

template class JacobianFactors<float>;
template class JacobianFactors<double>;

}  // namespace tangram
