#include "tangram/model/network.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "operations.hpp"
#include "tangram/error.hpp"

namespace tangram {

namespace {

template <class... Functions>
struct Overloaded : Functions... {
    using Functions::operator()...;
};

/// A row-major buffer that only ever grows.
template <class Real>
struct Rows {
    operations::Buffer<Real> entries;
    Index width = 0;

    void reserve(Index rows) { entries.reserve(rows * width); }
    Real* row(Index r) { return entries.data() + r * width; }
    const Real* row(Index r) const { return entries.data() + r * width; }
};

}  // namespace

std::vector<std::vector<Factor>> factors_of(const Program& program) {
    std::vector<std::vector<Factor>> factors(program.parameters().size());
    using Kind = Factor::Kind;
    for (std::size_t o = 0; o < program.operations().size(); ++o) {
        const auto add = [&](ParameterId parameter, Kind kind, Value delta, Value input) {
            factors[parameter].push_back({kind, delta, input, o, 0});
        };
        std::visit(
            Overloaded{
                [&](const operation::Embedding& op) { add(op.table, Kind::token_rows, op.out, op.out); },
                [&](const operation::Positions& op) {
                    add(op.table, Kind::position_rows, op.out, op.in);
                    factors[op.table].back().offset = op.offset;
                },
                [&](const operation::TokenType& op) { add(op.table, Kind::first_row, op.out, op.in); },
                [&](const operation::Linear& op) {
                    add(op.weight, Kind::outer, op.out, op.in);
                    if (op.bias) add(*op.bias, Kind::sum, op.out, op.in);
                },
                [&](const operation::LayerNorm& op) {
                    add(op.weight, Kind::normalised, op.out, op.in);
                    add(op.bias, Kind::sum, op.out, op.in);
                },
                [&](const operation::RmsNorm& op) { add(op.weight, Kind::normalised, op.out, op.in); },
                [&](const operation::LabelLogits& op) {
                    add(op.table, Kind::label_rows, op.in, op.in);
                    if (op.bias) add(*op.bias, Kind::label_entries, op.in, op.in);
                },
                [](const auto&) {},
            },
            program.operations()[o]);
    }
    return factors;
}

/// A parameter's values: in the checkpoint's memory map, which ranks of a node share, or a copy.
template <class Real>
struct Stored {
    const Real* data;
    std::vector<Real> copy;
};

/// What networks share that run the same model.
template <class Real>
struct Network<Real>::Model {
    Program program;
    std::vector<std::int32_t> label_ids;
    std::vector<Stored<Real>> weights;  // by parameter
    std::shared_ptr<const void> maps;   // of the checkpoint, where some of them stand
    std::vector<std::vector<Factor>> factors;
};

template <class Real>
struct Network<Real>::State {
    using Mode = operations::Mode;

    std::shared_ptr<Model> model;
    const Program& program;
    const std::vector<std::int32_t>& label_ids;

    // Of the block that went through last.
    TokenBlock block;
    std::vector<Rows<Real>> values, gradients;                              // by value
    std::vector<char> needed, written;                                      // by value: its gradient
    std::vector<std::vector<operations::NormStatistics<Real>>> statistics;  // by operation: norms, per row
    std::vector<Rows<Real>> slopes;                                         // by operation: activations
    std::vector<Real> logits, seeds;                                        // examples x C
    std::vector<std::vector<Real>> cosines, sines;                          // by operation: rotary tables
    operations::Buffer<Real> scratch;
    operations::HeadScratch<Real> head_scratch;

    explicit State(std::shared_ptr<Model> shared)
        : model(std::move(shared)), program(model->program), label_ids(model->label_ids) {
        values.resize(program.values().size());
        for (std::size_t v = 0; v < values.size(); ++v) values[v].width = program.values()[v].width;
        gradients = values;
        const std::size_t operations = program.operations().size();
        statistics.resize(operations);
        slopes.resize(operations);
        cosines.resize(operations);
        sines.resize(operations);
    }

    Index row_count(RowSet set) const {
        return set == RowSet::tokens ? block.offsets.back() : block.examples();
    }
    RowRange rows_of(RowSet set, Index example) const {
        if (set == RowSet::reads) return {example, example + 1};
        const auto e = static_cast<std::size_t>(example);
        return {block.offsets[e], block.offsets[e + 1]};
    }
    /// Position in its example of each row of a row set; `visit(row, position)`.
    template <class Visit>
    void for_positions(RowSet set, Visit visit) const {
        for (Index e = 0; e < block.examples(); ++e) {
            const Index start = block.offsets[static_cast<std::size_t>(e)];
            if (set == RowSet::reads) {
                visit(e, block.reads[static_cast<std::size_t>(e)] - start);
            } else {
                const RowRange range = rows_of(set, e);
                for (Index row = range.first; row < range.last; ++row) visit(row, row - start);
            }
        }
    }
    Index width(Value value) const { return program.shape(value).width; }
    Index count(Value value) const { return row_count(program.shape(value).rows); }
    Index entries(Value value) const { return count(value) * width(value); }
    Real* row(Value value, Index r) { return values[value.id].row(r); }
    Real* slope(Value value, Index r) { return gradients[value.id].row(r); }
    const Real* weight(ParameterId parameter) const { return model->weights[parameter].data; }
    const Real* table_row(ParameterId table, Index r) const {
        return weight(table) + r * program.parameters()[table].shape[1];
    }
    const Real* label_row(ParameterId table, std::size_t c) const { return table_row(table, label_ids[c]); }

    /// visit(head, offset of queries, offset of keys, first query row, first key row) for each example and
    /// head.
    template <class Visit>
    void for_heads(const operation::Attention& op, Visit visit) {
        const RowSet query_rows = program.shape(op.query).rows;
        operations::Head<Real> head;
        head.size = op.head_size;
        head.query_stride = width(op.query);
        head.key_stride = width(op.key);
        head.scale = static_cast<Real>(op.scale);
        for (Index e = 0; e < block.examples(); ++e) {
            const RowRange tokens = rows_of(RowSet::tokens, e), queries = rows_of(query_rows, e);
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

    void prepare_rotary(std::size_t o, const operation::Rotary& op) {
        Index longest = 0;
        for (Index e = 0; e < block.examples(); ++e)
            longest = std::max(longest, rows_of(RowSet::tokens, e).size());
        const Index half = std::ssize(op.frequencies);
        if (std::ssize(cosines[o]) >= longest * half) return;
        cosines[o].resize(static_cast<std::size_t>(longest * half));
        sines[o].resize(cosines[o].size());
        for (Index position = 0; position < longest; ++position)
            for (Index i = 0; i < half; ++i) {
                const double angle =
                    static_cast<double>(position) * op.frequencies[static_cast<std::size_t>(i)];
                cosines[o][static_cast<std::size_t>(position * half + i)] =
                    static_cast<Real>(std::cos(angle));
                sines[o][static_cast<std::size_t>(position * half + i)] = static_cast<Real>(std::sin(angle));
            }
    }

    /// out = or += the rotation of in by `direction` (1 forward, -1 backward: its transpose) times the angle.
    template <bool add>
    void rotate(std::size_t o, const operation::Rotary& op, const Rows<Real>& in, Rows<Real>& out,
                Real direction) {
        const Index half = std::ssize(op.frequencies);
        const Index head_count = width(op.in) / op.head_size;
        for_positions(program.shape(op.in).rows, [&](Index r, Index position) {
            const Real* const c = cosines[o].data() + position * half;
            const Real* const s = sines[o].data() + position * half;
            for (Index h = 0; h < head_count; ++h) {
                const Real* const a = in.row(r) + h * op.head_size;
                Real* const b = out.row(r) + h * op.head_size;
                for (Index i = 0; i < half; ++i) {
                    const Real sine = direction * s[i];
                    const Real first = a[i] * c[i] - a[i + half] * sine;
                    const Real second = a[i + half] * c[i] + a[i] * sine;
                    b[i] = add ? b[i] + first : first;
                    b[i + half] = add ? b[i + half] + second : second;
                }
                for (Index i = 2 * half; i < op.head_size; ++i) b[i] = add ? b[i] + a[i] : a[i];
            }
        });
    }

    void forward(std::size_t, const operation::Embedding& op) {
        for (Index r = 0; r < count(op.out); ++r)
            std::copy_n(table_row(op.table, block.token_ids[static_cast<std::size_t>(r)]), width(op.out),
                        row(op.out, r));
    }
    void forward(std::size_t, const operation::Positions& op) {
        for_positions(program.shape(op.in).rows, [&](Index r, Index position) {
            const Real *const x = row(op.in, r), *const table = table_row(op.table, position + op.offset);
            operations::put(Mode::assign, width(op.in), row(op.out, r),
                            [=](Index i) { return x[i] + table[i]; });
        });
    }
    void forward(std::size_t, const operation::TokenType& op) {
        const Real* const type = table_row(op.table, 0);
        for (Index r = 0; r < count(op.out); ++r) {
            const Real* const x = row(op.in, r);
            operations::put(Mode::assign, width(op.in), row(op.out, r),
                            [=](Index i) { return x[i] + type[i]; });
        }
    }
    void forward(std::size_t, const operation::Columns& op) {
        for (Index r = 0; r < count(op.out); ++r)
            for (Index run = 0; run < op.runs; ++run)
                std::copy_n(row(op.in, r) + op.first + run * op.stride, op.width,
                            row(op.out, r) + run * op.width);
    }
    void forward(std::size_t, const operation::Linear& op) {
        const Index d_in = width(op.in), d_out = width(op.out);
        operations::linear(row(op.in, 0), count(op.out), weight(op.weight), d_out, d_in, d_in, Index{1},
                           {op.bias ? weight(*op.bias) : nullptr, 0}, row(op.out, 0), scratch);
    }
    void forward(std::size_t o, const operation::LayerNorm& op) {
        const Index n = width(op.in), rows = count(op.in);
        const Real *const w = weight(op.weight), *const b = weight(op.bias);
        statistics[o].resize(static_cast<std::size_t>(rows));
        for (Index r = 0; r < rows; ++r) {
            const Real* const x = row(op.in, r);
            const auto s = operations::layer_norm_statistics(x, n, op.epsilon, scratch);
            statistics[o][static_cast<std::size_t>(r)] = s;
            Real* const y = row(op.out, r);
            for (Index i = 0; i < n; ++i) y[i] = (x[i] - s.mean) * s.inverse * w[i] + b[i];
        }
    }
    void forward(std::size_t o, const operation::RmsNorm& op) {
        const Index n = width(op.in), rows = count(op.in);
        const Real* const w = weight(op.weight);
        statistics[o].resize(static_cast<std::size_t>(rows));
        for (Index r = 0; r < rows; ++r) {
            const Real* const x = row(op.in, r);
            const auto s = operations::rms_norm_statistics(x, n, op.epsilon);
            statistics[o][static_cast<std::size_t>(r)] = s;
            Real* const y = row(op.out, r);
            for (Index i = 0; i < n; ++i) y[i] = x[i] * s.inverse * w[i];
        }
    }
    void forward(std::size_t o, const operation::Rotary& op) {
        prepare_rotary(o, op);
        rotate<false>(o, op, values[op.in.id], values[op.out.id], Real(1));
    }
    void forward(std::size_t, const operation::Attention& op) {
        for_heads(op,
                  [&](const operations::Head<Real>& head, Index q, Index k, Index query_row, Index key_row) {
                      operations::attention_forward(head, row(op.query, query_row) + q,
                                                    row(op.key, key_row) + k, row(op.value, key_row) + k,
                                                    row(op.out, query_row) + q, head_scratch);
                  });
    }
    void forward(std::size_t o, const operation::Activate& op) {
        slopes[o].width = width(op.in);
        slopes[o].reserve(count(op.in));
        operations::activate(op.function, entries(op.in), row(op.in, 0), row(op.out, 0), slopes[o].row(0));
    }
    void forward(std::size_t, const operation::Multiply& op) {
        const Real *const a = row(op.a, 0), *const b = row(op.b, 0);
        Real* const y = row(op.out, 0);
        operations::put(Mode::assign, entries(op.out), y, [=](Index i) { return a[i] * b[i]; });
    }
    void forward(std::size_t, const operation::Add& op) {
        const Real *const a = row(op.a, 0), *const b = row(op.b, 0);
        Real* const y = row(op.out, 0);
        const Real factor = static_cast<Real>(op.factor);
        if (factor == Real(1))
            operations::put(Mode::assign, entries(op.out), y, [=](Index i) { return a[i] + b[i]; });
        else
            operations::put(Mode::assign, entries(op.out), y, [=](Index i) { return a[i] + factor * b[i]; });
    }
    void forward(std::size_t, const operation::AtReads& op) {
        for (Index e = 0; e < block.examples(); ++e)
            std::copy_n(row(op.in, block.reads[static_cast<std::size_t>(e)]), width(op.in), row(op.out, e));
    }
    void forward(std::size_t, const operation::LabelLogits& op) {
        logits.resize(static_cast<std::size_t>(block.examples()) * label_ids.size());
        for (Index e = 0; e < block.examples(); ++e)
            for (std::size_t c = 0; c < label_ids.size(); ++c)
                logits[static_cast<std::size_t>(e) * label_ids.size() + c] =
                    operations::dot(row(op.in, e), label_row(op.table, c), width(op.in)) +
                    (op.bias ? weight(*op.bias)[label_ids[c]] : Real(0));
    }

    /// Finds the values whose gradients the factors of the wanted parameters take, directly or through later
    /// values.
    void find_needed(const std::vector<char>& wanted) {
        needed.assign(values.size(), 0);
        written.assign(values.size(), 0);
        for (std::size_t p = 0; p < wanted.size(); ++p)
            if (wanted[p])
                for (const Factor& factor : model->factors[p])
                    if (!factor.from_label()) needed[factor.delta.id] = 1;
        const auto passes = [&](Value in, Value out) { needed[out.id] |= needed[in.id]; };
        for (const Operation& operation : program.operations())
            std::visit(Overloaded{
                           [](const operation::Embedding&) {},
                           [](const operation::LabelLogits&) {},
                           [&](const operation::Attention& op) {
                               for (const Value in : {op.query, op.key, op.value}) passes(in, op.out);
                           },
                           [&](const operation::Multiply& op) {
                               for (const Value in : {op.a, op.b}) passes(in, op.out);
                           },
                           [&](const operation::Add& op) {
                               for (const Value in : {op.a, op.b}) passes(in, op.out);
                           },
                           [&](const auto& op) { passes(op.in, op.out); },
                       },
                       operation);
    }
    /// How the next operation, in backward order, writes the gradient of a value.
    Mode mode(Value value) {
        if (!needed[value.id]) return Mode::skip;
        return std::exchange(written[value.id], char{1}) ? Mode::add : Mode::assign;
    }
    /// The same where the operation writes only some entries: the others are set to zero first.
    Mode mode_of_some_rows(Value value) {
        const Mode all = mode(value);
        if (all != Mode::assign) return all;
        std::fill_n(slope(value, 0), entries(value), Real(0));
        return Mode::add;
    }
    /// Whether the gradient behind an operation is needed; zero if no operation wrote it.
    bool reached(Value out) {
        if (needed[out.id] && !written[out.id]) std::fill_n(slope(out, 0), entries(out), Real(0));
        return needed[out.id];
    }

    void backward(std::size_t, const operation::Embedding& op) { reached(op.out); }
    void backward(std::size_t, const operation::Positions& op) {
        if (!reached(op.out)) return;
        const Real* const dy = slope(op.out, 0);
        operations::put(mode(op.in), entries(op.in), slope(op.in, 0), [=](Index i) { return dy[i]; });
    }
    void backward(std::size_t, const operation::TokenType& op) {
        if (!reached(op.out)) return;
        const Real* const dy = slope(op.out, 0);
        operations::put(mode(op.in), entries(op.in), slope(op.in, 0), [=](Index i) { return dy[i]; });
    }
    void backward(std::size_t, const operation::Columns& op) {
        if (!reached(op.out)) return;
        const Mode how = mode_of_some_rows(op.in);
        if (how == Mode::skip) return;
        for (Index r = 0; r < count(op.out); ++r)
            for (Index run = 0; run < op.runs; ++run) {
                const Real* const dy = slope(op.out, r) + run * op.width;
                operations::put(how, op.width, slope(op.in, r) + op.first + run * op.stride,
                                [=](Index i) { return dy[i]; });
            }
    }
    void backward(std::size_t, const operation::Linear& op) {
        if (!reached(op.out)) return;
        const Index d_in = width(op.in), d_out = width(op.out);
        const Mode how = mode(op.in);
        if (how == Mode::skip) return;
        Real* const dx = slope(op.in, 0);
        operations::linear(slope(op.out, 0), count(op.out), weight(op.weight), d_in, Index{1}, d_out, d_in,
                           {how == Mode::add ? dx : nullptr, d_in}, dx, scratch);
    }
    void norm_backward(std::size_t o, Value in, Value out, ParameterId w, bool centred) {
        if (!reached(out)) return;
        const Mode how = mode(in);
        if (how == Mode::skip) return;
        for (Index r = 0; r < count(in); ++r)
            operations::norm_backward(row(in, r), weight(w), slope(out, r),
                                      statistics[o][static_cast<std::size_t>(r)], centred, width(in), how,
                                      slope(in, r), scratch);
    }
    void backward(std::size_t o, const operation::LayerNorm& op) {
        norm_backward(o, op.in, op.out, op.weight, true);
    }
    void backward(std::size_t o, const operation::RmsNorm& op) {
        norm_backward(o, op.in, op.out, op.weight, false);
    }
    void backward(std::size_t o, const operation::Rotary& op) {
        if (!reached(op.out)) return;
        const Mode how = mode(op.in);
        if (how == Mode::assign) rotate<false>(o, op, gradients[op.out.id], gradients[op.in.id], Real(-1));
        if (how == Mode::add) rotate<true>(o, op, gradients[op.out.id], gradients[op.in.id], Real(-1));
    }
    void backward(std::size_t, const operation::Attention& op) {
        if (!reached(op.out)) return;
        const operations::AttentionModes modes{mode(op.query), mode(op.key), mode(op.value)};
        const Index sharing = op.heads / op.key_value_heads;
        for_heads(op, [&](const operations::Head<Real>& head, Index q, Index k, Index query_row,
                          Index key_row) {
            operations::AttentionModes how = modes;
            if (q / op.head_size % sharing > 0)  // an earlier head of the group has written keys and values
                for (Mode* const later : {&how.key, &how.value})
                    if (*later == Mode::assign) *later = Mode::add;
            operations::attention_backward(head, row(op.query, query_row) + q, row(op.key, key_row) + k,
                                           row(op.value, key_row) + k, slope(op.out, query_row) + q, how,
                                           slope(op.query, query_row) + q, slope(op.key, key_row) + k,
                                           slope(op.value, key_row) + k, head_scratch);
        });
    }
    void backward(std::size_t o, const operation::Activate& op) {
        if (!reached(op.out)) return;
        const Real *const dy = slope(op.out, 0), *const derivative = slopes[o].row(0);
        operations::put(mode(op.in), entries(op.in), slope(op.in, 0),
                        [=](Index i) { return dy[i] * derivative[i]; });
    }
    void backward(std::size_t, const operation::Multiply& op) {
        if (!reached(op.out)) return;
        const Real *const a = row(op.a, 0), *const b = row(op.b, 0), *const dy = slope(op.out, 0);
        operations::put(mode(op.a), entries(op.a), slope(op.a, 0), [=](Index i) { return dy[i] * b[i]; });
        operations::put(mode(op.b), entries(op.b), slope(op.b, 0), [=](Index i) { return dy[i] * a[i]; });
    }
    void backward(std::size_t, const operation::Add& op) {
        if (!reached(op.out)) return;
        const Real* const dy = slope(op.out, 0);
        operations::put(mode(op.a), entries(op.a), slope(op.a, 0), [=](Index i) { return dy[i]; });
        const Real factor = static_cast<Real>(op.factor);
        operations::put(mode(op.b), entries(op.b), slope(op.b, 0), [=](Index i) { return factor * dy[i]; });
    }
    void backward(std::size_t, const operation::AtReads& op) {
        if (!reached(op.out)) return;
        const Mode how = mode_of_some_rows(op.in);
        if (how == Mode::skip) return;
        for (Index e = 0; e < block.examples(); ++e) {
            const Real* const dy = slope(op.out, e);
            operations::put(how, width(op.in), slope(op.in, block.reads[static_cast<std::size_t>(e)]),
                            [=](Index i) { return dy[i]; });
        }
    }
    void backward(std::size_t, const operation::LabelLogits& op) {
        const Mode how = mode_of_some_rows(op.in);
        if (how == Mode::skip) return;
        for (Index e = 0; e < block.examples(); ++e)
            for (std::size_t c = 0; c < label_ids.size(); ++c)
                operations::add_scaled(width(op.in),
                                       seeds[static_cast<std::size_t>(e) * label_ids.size() + c],
                                       label_row(op.table, c), slope(op.in, e));
    }
};

template <class Real>
Network<Real>::Network(Program program, const Weights& weights, std::vector<std::int32_t> label_ids)
    : Network(std::move(program), InitialWeights{.file = &weights}, std::move(label_ids)) {}

template <class Real>
Network<Real>::Network(Program program, const InitialWeights& weights, std::vector<std::int32_t> label_ids) {
    Model model{std::move(program), std::move(label_ids), {}, {}, {}};
    model.factors = factors_of(model.program);
    if (weights.file != nullptr) model.maps = weights.file->maps();
    for (const Parameter& parameter : model.program.parameters()) {
        Stored<Real>& stored = model.weights.emplace_back(weights.template in_place<Real>(parameter));
        if (stored.data != nullptr) continue;
        stored.copy = weights.template values<Real>(parameter);
        stored.data = stored.copy.data();
    }
    for (const auto& [name, parameter] : model.program.copies()) {
        const Parameter& original = model.program.parameters()[parameter];
        if (weights.file == nullptr || weights.drawn(original)) continue;
        const TensorView* const copy = find_tensor(*weights.file, name);
        if (copy == nullptr) continue;
        const std::vector<Real> values = weights.file->template read<Real>(*copy);
        if (std::ssize(values) != original.size() ||
            !std::equal(values.begin(), values.end(), model.weights[parameter].data))
            throw Error(ExitStatus::input,
                        fmt::format("{}: tensor {} differs from {}, which config.json ties it to; set "
                                    "tie_word_embeddings to false or take it out of the file",
                                    weights.file->name(), name, original.name));
    }
    state_ = std::make_unique<State>(std::make_shared<Model>(std::move(model)));
}

template <class Real>
Network<Real>::Network(std::unique_ptr<State> state) : state_(std::move(state)) {}

template <class Real>
Network<Real> Network<Real>::twin() const {
    return Network(std::make_unique<State>(state_->model));
}

template <class Real>
Network<Real>::~Network() = default;
template <class Real>
Network<Real>::Network(Network&&) noexcept = default;

template <class Real>
const Program& Network<Real>::program() const {
    return state_->program;
}

template <class Real>
Index Network<Real>::labels() const {
    return std::ssize(state_->label_ids);
}

template <class Real>
std::span<const std::int32_t> Network<Real>::label_ids() const {
    return state_->label_ids;
}

template <class Real>
void Network<Real>::forward(const TokenBlock& block) {
    State& s = *state_;
    s.block = block;
    for (std::size_t v = 0; v < s.values.size(); ++v)
        s.values[v].reserve(s.row_count(s.program.values()[v].rows));
    for (std::size_t o = 0; o < s.program.operations().size(); ++o)
        std::visit([&](const auto& op) { s.forward(o, op); }, s.program.operations()[o]);
}

template <class Real>
std::span<const Real> Network<Real>::logits() const {
    return state_->logits;
}

template <class Real>
void Network<Real>::backward(std::span<const Real> seeds, std::span<const ParameterId> wanted) {
    State& s = *state_;
    s.seeds.assign(seeds.begin(), seeds.end());
    std::vector<char> is_wanted(s.program.parameters().size(), 0);
    for (const ParameterId p : wanted) is_wanted[p] = 1;
    s.find_needed(is_wanted);
    for (std::size_t v = 0; v < s.gradients.size(); ++v)
        if (s.needed[v]) s.gradients[v].reserve(s.row_count(s.program.values()[v].rows));
    for (std::size_t o = s.program.operations().size(); o-- > 0;)
        std::visit([&](const auto& op) { s.backward(o, op); }, s.program.operations()[o]);
}

template <class Real>
void Network<Real>::backward(std::span<const Real> seeds) {
    std::vector<ParameterId> all(program().parameters().size());
    std::iota(all.begin(), all.end(), ParameterId{0});
    backward(seeds, all);
}

template <class Real>
RowRange Network<Real>::rows(RowSet set, Index example) const {
    return state_->rows_of(set, example);
}

template <class Real>
const Real* Network<Real>::value(Value value) const {
    return state_->values[value.id].row(0);
}

template <class Real>
const Real* Network<Real>::gradient(Value value) const {
    return state_->gradients[value.id].row(0);
}

template <class Real>
void Network<Real>::add_vector(const Factor& factor, Index example, Real* out) const {
    const State& s = *state_;
    const Index n = s.width(factor.delta);
    const RowRange range = s.rows_of(s.program.shape(factor.delta).rows, example);
    for (Index r = range.first; r < range.last; ++r) {
        const Real* const delta = s.gradients[factor.delta.id].row(r);
        if (factor.kind == Factor::Kind::sum) {
            for (Index i = 0; i < n; ++i) out[i] += delta[i];
        } else {
            const Real* const x = s.values[factor.input.id].row(r);
            const auto statistics = s.statistics[factor.operation][static_cast<std::size_t>(r)];
            for (Index i = 0; i < n; ++i)
                out[i] += delta[i] * ((x[i] - statistics.mean) * statistics.inverse);
        }
    }
}

template <class Real>
std::span<Real> Network<Real>::weights(ParameterId parameter) {
    Stored<Real>& stored = state_->model->weights[parameter];
    const auto size = static_cast<std::size_t>(program().parameters()[parameter].size());
    if (stored.copy.empty()) {
        stored.copy.assign(stored.data, stored.data + size);
        stored.data = stored.copy.data();
    }
    return stored.copy;
}

template class Network<float>;
template class Network<double>;

}  // namespace tangram
