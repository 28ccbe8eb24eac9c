#include "device_passes.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include "pass_buffers.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/error.hpp"
#include "tangram/model/token_softmax.hpp"
#include "tangram/products.hpp"

namespace tangram::device {

namespace {

/// A runtime that passes share, and whether it has failed them.
struct Device {
    std::unique_ptr<Runtime> runtime;
    PassSizes sizes;
    bool failed = false;
};

/// What forward and backward passes on a device share.
template <class Real>
struct State {
    State(Runtime& of, std::shared_ptr<const NetworkWeights<Real>> shared,
          std::shared_ptr<const WeightsOnDevice<Real>> weights_there, PassSizes together)
        : runtime(of),
          sizes(together),
          host_weights(std::move(shared)),
          weights(std::move(weights_there)),
          program(host_weights->program()),
          on_device(of),
          rotary(of),
          values(of, program.values().size()),
          gradients(of, program.values().size()),
          needed(program.values().size(), false),
          written(needed),
          statistics_at(program.operations().size()),
          slopes_at(program.operations().size()) {}

    Runtime& runtime;
    PassSizes sizes;
    std::shared_ptr<const NetworkWeights<Real>> host_weights;
    std::shared_ptr<const WeightsOnDevice<Real>> weights;
    const Program& program;

    TokenBlock block;
    BlockOnDevice on_device;
    RotaryOnDevice<Real> rotary;
    RowsOnDevice<Real> values, gradients;
    std::vector<bool> needed, written;                  // gradients, by value
    std::vector<std::size_t> statistics_at, slopes_at;  // behind the values, by operation
    std::size_t outputs_at = 0, seeds_at = 0, partitions_at = 0, terms_at = 0, sums_at = 0;
    std::vector<Real> logits, seeds;
    std::vector<double> log_partitions;
    Buffer scratch{runtime, Memory::device}, staged{runtime, Memory::pinned};

    Index rows(Value value) const { return block.rows(program.shape(value).rows); }
    Index width(Value value) const { return program.shape(value).width; }
    Index entries(Value value) const { return rows(value) * width(value); }
    Index labels() const { return std::ssize(host_weights->label_ids()); }
    template <class Entry>
    Entry* beside_values(std::size_t at) const {
        return reinterpret_cast<Entry*>(values.further() + at);
    }
    NormStatistics<Real>* statistics(std::size_t o) const {
        return beside_values<NormStatistics<Real>>(statistics_at[o]);
    }

    template <class Kernel>
    void launch(const Kernel& kernel) {
        if (kernel.blocks() > 0) runtime.launch(NetworkKernel<Real>(kernel));
    }
    template <class Entry>
    void for_entries(Index count, const Entry& entry) {
        launch(ForEntries<Entry>{count, entry});
    }
    /// y_t = start_t + W x_t: rows x d_in to rows x d_out.
    void linear(const Real* x, Index row_count, StoredMatrix W, Index d_out, Index d_in, const Real* start,
                Index start_row, Real* y) {
        with_entries_at<Real>(W, [&]<class Entry>(const Entry* first) {
            using Product = WholeProduct<Real, Entry>;
            const ProductOperands<Real, Entry> of{row_count,  d_out,      x,     d_in,      1, first,
                                                  W.k_stride, W.o_stride, start, start_row, y, d_out};
            launch(TiledProducts<Real, Product>{Product{of, d_in, tiles_of(d_out, Product::tile_columns)}});
        });
    }
    /// Copies `count` entries to this machine behind all that was asked for, and waits.
    template <class Entry>
    std::vector<Entry> here(const Entry* from, Index count) {
        std::vector<Entry> entries(static_cast<std::size_t>(count));
        const std::size_t bytes = entries.size() * sizeof(Entry);
        if (bytes == 0) return entries;
        runtime.copy(staged.reserve(bytes), reinterpret_cast<const std::byte*>(from), bytes,
                     Stream::products);
        runtime.wait(Stream::products);
        std::memcpy(entries.data(), staged.data(), bytes);
        return entries;
    }
    /// The other way; nothing else may be under way from `staged`.
    void there(const std::vector<Real>& entries, Real* to) {
        const std::size_t bytes = entries.size() * sizeof(Real);
        if (bytes == 0) return;
        std::memcpy(staged.reserve(bytes), entries.data(), bytes);
        runtime.copy(reinterpret_cast<std::byte*>(to), staged.data(), bytes, Stream::products);
    }
    /// Calls visit(of, weights, slopes, cap_slopes) for some examples' heads at a time; the three are room
    /// for their keys x queries.
    void for_heads(const operation::Attention& op,
                   const std::function<void(const Heads&, Real*, Real*, Real*)>& visit);
    /// Calls visit(first row, rows, vocabulary, z, table) for some rows at a time and, of each, parts of the
    /// vocabulary in order; z is room for rows x vocabulary, the table that of the part.
    void for_vocabulary(const operation::AnswerLikelihood& op,
                        const std::function<void(RowRange, RowRange, Real*, StoredMatrix)>& visit);
};

template <class Real>
void State<Real>::for_heads(const operation::Attention& op,
                            const std::function<void(const Heads&, Real*, Real*, Real*)>& visit) {
    const RowSet set = program.shape(op.query).rows;
    const std::vector<AttentionExample>& examples = on_device.attention_here(set);
    Heads of{};
    of.heads = op.heads;
    of.key_value_heads = op.key_value_heads;
    of.size = op.head_size;
    of.query_stride = width(op.query);
    of.key_stride = width(op.key);
    of.window = op.window.value_or(0);
    of.causal = op.causal;
    of.lanes = products::Vector<Real>::lanes;
    of.together = products::block_columns;
    for (std::size_t first = 0; first < examples.size();) {
        Index together = 0;
        of.most_queries = of.most_keys = 0;
        std::size_t last = first;
        for (; last < examples.size(); ++last) {
            const Index more = op.heads * examples[last].keys * examples[last].queries;
            if (last > first && together + more > sizes.attention_entries) break;
            together += more;
            of.most_queries = std::max(of.most_queries, examples[last].queries);
            of.most_keys = std::max(of.most_keys, examples[last].keys);
        }
        of.examples = on_device.attention(set) + first;
        of.count = static_cast<Index>(last - first);
        auto* const weights_at =
            reinterpret_cast<Real*>(scratch.reserve(3 * static_cast<std::size_t>(together) * sizeof(Real)));
        visit(of, weights_at, weights_at + together, weights_at + 2 * together);
        first = last;
    }
}

template <class Real>
void State<Real>::for_vocabulary(const operation::AnswerLikelihood& op,
                                 const std::function<void(RowRange, RowRange, Real*, StoredMatrix)>& visit) {
    const Index vocabulary = program.parameters()[op.table].shape[0], count = rows(op.in),
                most = std::min(vocabulary, arithmetic::vocabulary_block);
    const StoredMatrix table = weights->matrix(op.table);
    auto* const z = reinterpret_cast<Real*>(scratch.reserve(
        static_cast<std::size_t>(std::min(count, sizes.vocabulary_rows) * most) * sizeof(Real)));
    for (Index first = 0; first < count; first += sizes.vocabulary_rows)
        for (Index v = 0; v < vocabulary; v += arithmetic::vocabulary_block)
            visit({first, std::min(count, first + sizes.vocabulary_rows)},
                  {v, std::min(vocabulary, v + arithmetic::vocabulary_block)}, z,
                  {table.at(v, 0), table.type, table.o_stride, table.k_stride});
}

/// Rows of a value as a table of them.
template <class Real>
StoredMatrix stored_rows(const Real* rows, Index width) {
    return {reinterpret_cast<const std::byte*>(rows), dtype_of<Real>, width, 1};
}

/// Tiles of the products of each head.
HeadTiles head_tiles(const Heads& of, Index heads, Index rows, Index columns) {
    return {of.count, heads, tiles_of(rows, HeadTiles::side), tiles_of(columns, HeadTiles::side)};
}

template <class Real>
void products_of_keys(State<Real>& s, const Heads& of, const Real* keys, const Real* queries, Real* out) {
    s.launch(TiledProducts<Real, KeyProducts<Real>>{
        {of, head_tiles(of, of.heads, of.most_keys, of.most_queries), keys, queries, out}});
}
template <Over over, class Real>
void head_sums(State<Real>& s, const Heads& of, Mode mode, const Real* coefficients, const Real* rows,
               Real* out) {
    const HeadTiles tiles = over == Over::keys ? head_tiles(of, of.heads, of.most_queries, of.size)
                                               : head_tiles(of, of.key_value_heads, of.most_keys, of.size);
    s.launch(TiledProducts<Real, HeadSums<Real, over>>{{of, tiles, mode, coefficients, rows, out}});
}
/// softmax(scale q k^T) of some heads, and of a cap its derivatives.
template <class Real>
void attention_weights(State<Real>& s, const operation::Attention& op, const Heads& of, Real* to,
                       Real* cap_slopes) {
    products_of_keys<Real>(s, of, s.values.rows(op.key), s.values.rows(op.query), to);
    s.for_entries(of.count * of.heads * of.most_queries,
                  AttentionWeights<Real>{of, static_cast<Real>(op.scale),
                                         static_cast<Real>(op.cap.value_or(0)), to, cap_slopes});
}

ColumnRuns column_runs(const Program& program, const operation::Columns& op) {
    return {program.shape(op.in).width, program.shape(op.out).width, op.first, op.width, op.stride, op.runs};
}

/// Rows of a norm, as wide as its weight.
template <class Real, class Norm>
Index norm_rows(const State<Real>& s, const Norm& op) {
    return s.entries(op.in) / s.program.parameters()[op.weight].size();
}

/// The operations' forward kernels.
template <class Real>
class Forward {
  public:
    explicit Forward(State<Real>& state) : s(state) {}

    void operator()(std::size_t, const operation::Embedding& op) {
        gather(nullptr, op.table, &places(op.out)->token, 0, op.out);
    }
    void operator()(std::size_t, const operation::Positions& op) {
        gather(s.values.rows(op.in), op.table, &places(op.out)->position, op.offset, op.out);
    }
    void operator()(std::size_t, const operation::TokenType& op) {
        gather(s.values.rows(op.in), op.table, nullptr, 0, op.out);
    }
    void operator()(std::size_t, const operation::Columns& op) {
        s.for_entries(s.entries(op.out), CopiedColumns<Real>{column_runs(s.program, op), s.values.rows(op.in),
                                                             s.values.rows(op.out)});
    }
    void operator()(std::size_t, const operation::Linear& op) {
        s.linear(s.values.rows(op.in), s.rows(op.in), s.weights->matrix(op.weight), s.width(op.out),
                 s.width(op.in), op.bias ? s.weights->values(*op.bias) : nullptr, 0, s.values.rows(op.out));
    }
    void operator()(std::size_t o, const operation::LayerNorm& op) {
        s.launch(Norms<Real>{s.rows(op.in), s.width(op.in), true, op.epsilon, s.values.rows(op.in),
                             s.weights->values(op.weight), op.bias ? s.weights->values(*op.bias) : nullptr,
                             Real(0), s.statistics(o), s.values.rows(op.out)});
    }
    void operator()(std::size_t o, const operation::RmsNorm& op) {
        s.launch(Norms<Real>{norm_rows(s, op), s.program.parameters()[op.weight].size(), false, op.epsilon,
                             s.values.rows(op.in), s.weights->values(op.weight), nullptr,
                             static_cast<Real>(op.shift), s.statistics(o), s.values.rows(op.out)});
    }
    void operator()(std::size_t, const operation::Rotary& op) {
        rotate(s, op, Mode::assign, Real(1), s.values.rows(op.in), s.values.rows(op.out));
    }
    void operator()(std::size_t, const operation::Attention& op) {
        s.for_heads(op, [&](const Heads& of, Real* weights, Real*, Real* cap_slopes) {
            attention_weights(s, op, of, weights, cap_slopes);
            head_sums<Over::keys, Real>(s, of, Mode::assign, weights, s.values.rows(op.value),
                                        s.values.rows(op.out));
        });
    }
    void operator()(std::size_t o, const operation::Activate& op) {
        s.for_entries(s.entries(op.in),
                      Activations<Real>{op.function, s.values.rows(op.in), s.values.rows(op.out),
                                        s.template beside_values<Real>(s.slopes_at[o])});
    }
    void operator()(std::size_t, const operation::Multiply& op) {
        s.for_entries(s.entries(op.out), Products<Real>{Mode::assign, s.values.rows(op.out),
                                                        s.values.rows(op.a), s.values.rows(op.b)});
    }
    void operator()(std::size_t, const operation::Add& op) {
        s.for_entries(s.entries(op.out),
                      WeightedSums<Real>{s.values.rows(op.out), s.values.rows(op.a), s.values.rows(op.b),
                                         static_cast<Real>(op.factor)});
    }
    void operator()(std::size_t, const operation::Scale& op) {
        s.for_entries(s.entries(op.out), Multiples<Real>{Mode::assign, s.values.rows(op.out),
                                                         s.values.rows(op.in), static_cast<Real>(op.factor)});
    }
    void operator()(std::size_t, const operation::AtReads& op) {
        const Index width = s.width(op.in);
        s.for_entries(s.entries(op.out),
                      TableRows<Real>{width, nullptr, stored_rows(s.values.rows(op.in), width),
                                      &places(op.out)->row, place_step, 0, s.values.rows(op.out)});
    }
    void operator()(std::size_t, const operation::TokenMean& op) {
        s.for_entries(s.entries(op.out), TokenMeans<Real>{s.width(op.in), s.on_device.examples(),
                                                          s.values.rows(op.in), s.values.rows(op.out)});
    }
    void operator()(std::size_t, const operation::LabelLogits& op) {
        const Index count = s.block.examples() * s.labels();
        Real* const logits = s.template beside_values<Real>(s.outputs_at);
        s.launch(LabelProducts<Real>{s.block.examples(), s.labels(), s.width(op.in), s.values.rows(op.in),
                                     s.weights->matrix(op.table),
                                     op.bias ? s.weights->values(*op.bias) : nullptr, s.weights->label_ids(),
                                     static_cast<Real>(op.cap.value_or(0)), logits});
        s.logits = s.here(logits, count);
    }
    void operator()(std::size_t, const operation::AnswerLikelihood& op) {
        const Index width = s.width(op.in), count = s.rows(op.in);
        auto* const sums = s.template beside_values<TokenSums<Real>>(s.sums_at);
        s.for_vocabulary(op, [&](RowRange rows, RowRange vocabulary, Real* z, StoredMatrix table) {
            s.linear(s.values.rows(op.in) + rows.first * width, rows.size(), table, vocabulary.size(), width,
                     nullptr, 0, z);
            s.launch(VocabularySums<Real>{rows.size(), vocabulary.size(), vocabulary.first,
                                          s.on_device.predicted() + rows.first,
                                          static_cast<Real>(op.cap.value_or(0)), z, sums + rows.first});
        });
        auto *const partitions = s.template beside_values<double>(s.partitions_at),
                    *const terms = s.template beside_values<double>(s.terms_at);
        s.for_entries(count, TokenProbabilities<Real>{sums, partitions, terms});
        s.log_partitions = s.here(partitions, count);
        s.logits = answer_scores<Real>(op, s.block, s.here(terms, count));
    }

    static constexpr Index place_step = sizeof(RowPlace) / sizeof(Index);
    /// The rotation by `direction` times the angle, of rows or of their gradients.
    static void rotate(State<Real>& s, const operation::Rotary& op, Mode mode, Real direction, const Real* in,
                       Real* out) {
        const auto tables = s.rotary.tables(op.angles);
        const Rotations<Real> rotations{mode,
                                        s.width(op.in),
                                        op.head_size,
                                        std::ssize(op.angles.frequencies),
                                        operations::rotary_tables(op.angles),
                                        op.angles.longest,
                                        s.on_device.places(s.program.shape(op.in).rows),
                                        tables.cosines,
                                        tables.sines,
                                        direction,
                                        in,
                                        out};
        s.for_entries(s.rows(op.in) * rotations.per_row(), rotations);
    }

  private:
    const RowPlace* places(Value of) const { return s.on_device.places(s.program.shape(of).rows); }
    void gather(const Real* in, ParameterId table, const Index* ids, Index offset, Value out) {
        s.for_entries(s.entries(out), TableRows<Real>{s.width(out), in, s.weights->matrix(table), ids,
                                                      place_step, offset, s.values.rows(out)});
    }

    State<Real>& s;
};

/// Where an operation writes the gradient of one of its inputs, and how.
template <class Real>
struct GradientOnDevice {
    Mode mode;
    Real* rows;
};

/// The operations' backward kernels. Those that add to some entries only write zeros elsewhere.
template <class Real>
class Backward {
  public:
    explicit Backward(State<Real>& state) : s(state) {}

    void operator()(std::size_t, const operation::Embedding&) {}
    void operator()(std::size_t, const operation::Positions& op) { pass_on(op.in, op.out, Real(1)); }
    void operator()(std::size_t, const operation::TokenType& op) { pass_on(op.in, op.out, Real(1)); }
    void operator()(std::size_t, const operation::Columns& op) {
        const auto dx = gradient(op.in);
        if (dx.mode != Mode::skip)
            s.for_entries(s.entries(op.in), ColumnGradients<Real>{column_runs(s.program, op), dx.mode,
                                                                  s.gradients.rows(op.out), dx.rows});
    }
    void operator()(std::size_t, const operation::Linear& op) {
        const auto dx = gradient(op.in);
        if (dx.mode != Mode::skip)
            s.linear(s.gradients.rows(op.out), s.rows(op.in), s.weights->matrix(op.weight).transposed(),
                     s.width(op.in), s.width(op.out), dx.mode == Mode::add ? dx.rows : nullptr,
                     s.width(op.in), dx.rows);
    }
    void operator()(std::size_t o, const operation::LayerNorm& op) { norm(o, op, true, Real(0)); }
    void operator()(std::size_t o, const operation::RmsNorm& op) {
        norm(o, op, false, static_cast<Real>(op.shift));
    }
    void operator()(std::size_t, const operation::Rotary& op) {
        const auto dx = gradient(op.in);
        if (dx.mode != Mode::skip)
            Forward<Real>::rotate(s, op, dx.mode, Real(-1), s.gradients.rows(op.out), dx.rows);
    }
    void operator()(std::size_t, const operation::Attention& op) {
        const auto dq = gradient(op.query), dk = gradient(op.key), dv = gradient(op.value);
        const Real *const dout = s.gradients.rows(op.out), *const q = s.values.rows(op.query),
                          *const k = s.values.rows(op.key), *const v = s.values.rows(op.value);
        s.for_heads(op, [&](const Heads& of, Real* weights, Real* slopes, Real* cap_slopes) {
            attention_weights(s, op, of, weights, cap_slopes);
            if (dv.mode != Mode::skip) head_sums<Over::queries, Real>(s, of, dv.mode, weights, dout, dv.rows);
            if (dq.mode == Mode::skip && dk.mode == Mode::skip) return;
            products_of_keys<Real>(s, of, v, dout, slopes);
            s.for_entries(of.count * of.heads * of.most_queries,
                          ScoreGradients<Real>{of, static_cast<Real>(op.scale), weights,
                                               op.cap ? cap_slopes : nullptr, slopes});
            if (dq.mode != Mode::skip) head_sums<Over::keys, Real>(s, of, dq.mode, slopes, k, dq.rows);
            if (dk.mode != Mode::skip) head_sums<Over::queries, Real>(s, of, dk.mode, slopes, q, dk.rows);
        });
    }
    void operator()(std::size_t o, const operation::Activate& op) {
        multiply(op.in, op.out, s.template beside_values<Real>(s.slopes_at[o]));
    }
    void operator()(std::size_t, const operation::Multiply& op) {
        multiply(op.a, op.out, s.values.rows(op.b));
        multiply(op.b, op.out, s.values.rows(op.a));
    }
    void operator()(std::size_t, const operation::Add& op) {
        pass_on(op.a, op.out, Real(1));
        pass_on(op.b, op.out, static_cast<Real>(op.factor));
    }
    void operator()(std::size_t, const operation::Scale& op) {
        pass_on(op.in, op.out, static_cast<Real>(op.factor));
    }
    void operator()(std::size_t, const operation::AtReads& op) {
        const auto dx = gradient(op.in);
        if (dx.mode != Mode::skip)
            s.for_entries(s.entries(op.in),
                          ReadGradients<Real>{dx.mode, s.width(op.in), s.on_device.read_of(),
                                              s.gradients.rows(op.out), dx.rows});
    }
    void operator()(std::size_t, const operation::TokenMean& op) {
        const auto dx = gradient(op.in);
        if (dx.mode != Mode::skip)
            s.for_entries(s.entries(op.in),
                          MeanGradients<Real>{dx.mode, s.width(op.in), s.on_device.places(RowSet::tokens),
                                              s.gradients.rows(op.out), dx.rows});
    }
    void operator()(std::size_t, const operation::LabelLogits& op) {
        const auto dx = gradient(op.in);
        if (dx.mode == Mode::skip) return;
        Real* const seeds = s.template beside_values<Real>(s.seeds_at);
        s.there(s.seeds, seeds);
        s.for_entries(s.entries(op.in),
                      LabelGradients<Real>{dx.mode, s.width(op.in), s.labels(), s.weights->label_ids(),
                                           s.weights->matrix(op.table), seeds, dx.rows});
    }
    void operator()(std::size_t, const operation::AnswerLikelihood& op) {
        const auto dx = gradient(op.in);
        if (dx.mode == Mode::skip) return;
        Real* const scales = s.template beside_values<Real>(s.seeds_at);
        s.there(answer_scales<Real>(op, s.block, s.seeds), scales);
        const auto* const partitions = s.template beside_values<double>(s.partitions_at);
        const Index width = s.width(op.in);
        s.for_vocabulary(op, [&](RowRange rows, RowRange vocabulary, Real* z, StoredMatrix table) {
            s.linear(s.values.rows(op.in) + rows.first * width, rows.size(), table, vocabulary.size(), width,
                     nullptr, 0, z);
            s.for_entries(
                rows.size() * vocabulary.size(),
                TokenSlopes<Real>{vocabulary.size(), vocabulary.first, s.on_device.predicted() + rows.first,
                                  scales + rows.first, partitions + rows.first,
                                  static_cast<Real>(op.cap.value_or(0)), z});
            Real* const to = dx.rows + rows.first * width;
            s.linear(z, rows.size(), table.transposed(), width, vocabulary.size(),
                     dx.mode == Mode::add || vocabulary.first > 0 ? to : nullptr, width, to);
        });
    }

  private:
    /// Of an input, once for each time that it is read.
    GradientOnDevice<Real> gradient(Value value) {
        if (!s.needed[value.id]) return {Mode::skip, nullptr};
        const Mode mode = s.written[value.id] ? Mode::add : Mode::assign;
        s.written[value.id] = true;
        return {mode, s.gradients.rows(value)};
    }
    void pass_on(Value in, Value out, Real factor) {
        const auto dx = gradient(in);
        if (dx.mode != Mode::skip)
            s.for_entries(s.entries(in), Multiples<Real>{dx.mode, dx.rows, s.gradients.rows(out), factor});
    }
    void multiply(Value in, Value out, const Real* by) {
        const auto dx = gradient(in);
        if (dx.mode != Mode::skip)
            s.for_entries(s.entries(in), Products<Real>{dx.mode, dx.rows, s.gradients.rows(out), by});
    }
    template <class Norm>
    void norm(std::size_t o, const Norm& op, bool centred, Real shift) {
        const auto dx = gradient(op.in);
        if (dx.mode != Mode::skip)
            s.launch(NormGradients<Real>{norm_rows(s, op), s.program.parameters()[op.weight].size(), centred,
                                         dx.mode, s.values.rows(op.in), s.weights->values(op.weight),
                                         s.gradients.rows(op.out), shift, s.statistics(o), dx.rows});
    }

    State<Real>& s;
};

template <class Real>
class DevicePasses final : public NetworkPasses<Real> {
  public:
    DevicePasses(std::shared_ptr<Device> device, std::shared_ptr<const NetworkWeights<Real>> weights,
                 std::shared_ptr<const WeightsOnDevice<Real>> on_device, Index tokens)
        : device_(std::move(device)),
          state_(*device_->runtime, std::move(weights), std::move(on_device), device_->sizes),
          factors_(factors_of(state_.program)),
          tokens_(tokens) {}

    void forward(const TokenBlock& block) override {
        guarded([&] {
            begin(block);
            Forward<Real> forward(state_);
            const auto& operations = state_.program.operations();
            for (std::size_t o = 0; o < operations.size(); ++o)
                std::visit([&](const auto& op) { forward(o, op); }, operations[o]);
        });
    }
    const TokenBlock& block() const override { return state_.block; }
    std::span<const Real> logits() const override { return state_.logits; }
    std::span<const double> log_partitions() const override { return state_.log_partitions; }
    void backward(std::span<const Real> seeds, std::span<const ParameterId> wanted) override {
        take_seeds(seeds);
        guarded([&] {
            state_.runtime.wait(Stream::products);
            make_gradients(wanted);
            Backward<Real> backward(state_);
            const auto& operations = state_.program.operations();
            for (std::size_t o = operations.size(); o-- > 0;)
                if (reached(operations[o]))
                    std::visit([&](const auto& op) { backward(o, op); }, operations[o]);
        });
    }
    std::span<const Real> seeds() const override { return state_.seeds; }
    const Real* value(Value value) const override {
        return guarded([&] { return state_.values.here(value); });
    }
    const Real* gradient(Value value) const override {
        return guarded([&] { return state_.gradients.here(value); });
    }
    void add_vector(const Factor& factor, Index example, Real* out) const override;
    Index bytes() const override {
        return static_cast<Index>(state_.values.bytes() + state_.gradients.bytes() + state_.rotary.bytes() +
                                  state_.on_device.bytes() + state_.scratch.bytes() + state_.staged.bytes() +
                                  sums_.bytes());
    }
    Index tokens_per_block() const override { return tokens_; }
    std::string device() const override { return state_.runtime.name(); }
    void leave_value(Value value, RowsThere<Real> to) override {
        leave(value, state_.values.rows(value), to, nullptr);
    }
    void leave_gradient(Value value, RowsThere<Real> to) override {
        leave(value, state_.gradients.rows(value), to, not_finite());
    }
    bool left_finite() override {
        return guarded([&] { return state_.here(not_finite(), 1).front() == Real(0); });
    }

  private:
    Real* not_finite() const { return reinterpret_cast<Real*>(state_.gradients.further()); }
    void leave(Value value, const Real* rows, RowsThere<Real> to, Real* flag) {
        guarded([&] {
            state_.for_entries(state_.rows(value) * to.stride,
                               LeftRows<Real>{rows, to.width, to.stride, to.first, flag});
        });
    }
    template <class Work>
    auto guarded(Work work) const {
        try {
            return work();
        } catch (const Error&) {
            device_->failed = true;
            throw;
        }
    }
    void begin(const TokenBlock& block);
    void take_seeds(std::span<const Real> seeds);
    void make_gradients(std::span<const ParameterId> wanted);
    bool reached(const Operation& operation);
    /// Entries of a factor's vector: those of a norm over heads are fewer than its rows'.
    Index vector_width(const Factor& factor) const;
    /// Of examples from `first` on: start (nullptr: +0) plus the factor's sums, on the device.
    void vector_sums(const Factor& factor, Index first, Index examples, const Real* start, Real* out) const;

    std::shared_ptr<Device> device_;
    mutable State<Real> state_;
    std::vector<std::vector<Factor>> factors_;
    Index tokens_;
    /// The sums of all examples of the factor that was asked for last.
    struct Summed {
        std::size_t operation;
        Factor::Kind kind;
        bool operator==(const Summed&) const = default;
    };
    mutable std::optional<Summed> summed_;
    mutable std::vector<Real> all_sums_;
    mutable Buffer sums_{state_.runtime, Memory::device};
};

/// Room for a block, and what the kernels are told of it. All that was asked for before is done.
template <class Real>
void DevicePasses<Real>::begin(const TokenBlock& block) {
    State<Real>& s = state_;
    s.runtime.wait(Stream::products);
    summed_.reset();
    s.block = block;
    s.on_device.send(s.block);
    s.rotary.prepare(s.program, s.block.longest());
    std::vector<Index> entries;
    for (std::size_t v = 0; v < s.program.values().size(); ++v) entries.push_back(s.entries(Value{v}));
    Layout beside;
    for (std::size_t o = 0; o < s.program.operations().size(); ++o) {
        const Operation& operation = s.program.operations()[o];
        if (const auto* const layer = std::get_if<operation::LayerNorm>(&operation))
            s.statistics_at[o] = beside.add<NormStatistics<Real>>(norm_rows(s, *layer));
        if (const auto* const rms = std::get_if<operation::RmsNorm>(&operation))
            s.statistics_at[o] = beside.add<NormStatistics<Real>>(norm_rows(s, *rms));
        if (const auto* const activate = std::get_if<operation::Activate>(&operation))
            s.slopes_at[o] = beside.add<Real>(s.entries(activate->in));
    }
    const bool answers = !s.block.predicted_offsets.empty();
    const Index reads = s.block.rows(RowSet::reads),
                outputs = answers ? reads : s.block.examples() * s.labels();
    s.outputs_at = beside.add<Real>(outputs);
    s.seeds_at = beside.add<Real>(outputs);
    s.partitions_at = beside.add<double>(answers ? reads : 0);
    s.terms_at = beside.add<double>(answers ? reads : 0);
    s.sums_at = beside.add<TokenSums<Real>>(answers ? reads : 0);
    s.values.make_room(entries, beside.bytes());
}

/// As passes_on_processor() has them, behind a cap of the logits.
template <class Real>
void DevicePasses<Real>::take_seeds(std::span<const Real> seeds) {
    State<Real>& s = state_;
    s.seeds.assign(seeds.begin(), seeds.end());
    const auto* const head = std::get_if<operation::LabelLogits>(&s.program.operations().back());
    if (head != nullptr && head->cap)
        for (std::size_t i = 0; i < seeds.size(); ++i)
            s.seeds[i] *= operations::cap_slope(s.logits[i], static_cast<Real>(*head->cap));
}

template <class Real>
void DevicePasses<Real>::make_gradients(std::span<const ParameterId> wanted) {
    State<Real>& s = state_;
    summed_.reset();
    s.needed = needed_gradients(s.program, factors_, wanted);
    s.written.assign(s.needed.size(), false);
    std::vector<Index> entries;
    for (std::size_t v = 0; v < s.needed.size(); ++v)
        entries.push_back(s.needed[v] ? s.entries(Value{v}) : 0);
    s.gradients.make_room(entries, sizeof(Real));
    s.for_entries(1, Zeros<Real>{not_finite()});
}

/// Whether the gradient behind the operation is needed; zero if no operation has written it.
template <class Real>
bool DevicePasses<Real>::reached(const Operation& operation) {
    State<Real>& s = state_;
    const std::optional<Value> out = output_of(operation);
    if (!out) return true;
    if (!s.needed[out->id]) return false;
    if (!s.written[out->id]) s.for_entries(s.entries(*out), Zeros<Real>{s.gradients.rows(*out)});
    return true;
}

template <class Real>
Index DevicePasses<Real>::vector_width(const Factor& factor) const {
    const State<Real>& s = state_;
    const auto* const rms = std::get_if<operation::RmsNorm>(&s.program.operations()[factor.operation]);
    return rms != nullptr ? s.program.parameters()[rms->weight].size() : s.width(factor.delta);
}

template <class Real>
void DevicePasses<Real>::vector_sums(const Factor& factor, Index first, Index examples, const Real* start,
                                     Real* out) const {
    State<Real>& s = state_;
    const Index n = vector_width(factor);
    const bool normalised = factor.kind == Factor::Kind::normalised;
    s.for_entries(examples * n,
                  VectorSums<Real>{n, s.width(factor.delta) / n, s.program.shape(factor.delta).rows,
                                   s.on_device.examples() + first, s.gradients.rows(factor.delta),
                                   s.values.rows(factor.input),
                                   normalised ? s.statistics(factor.operation) : nullptr, start, out});
}

/// Where `out` holds zeros, from the sums of all examples, which are made at once; else the rows are added to
/// it on the device.
template <class Real>
void DevicePasses<Real>::add_vector(const Factor& factor, Index example, Real* out) const {
    State<Real>& s = state_;
    const Index n = vector_width(factor);
    const Summed asked{factor.operation, factor.kind};
    guarded([&] {
        const bool begins = std::all_of(out, out + n, [](Real x) { return x == 0 && !std::signbit(x); });
        if (!begins) {
            auto* const at =
                reinterpret_cast<Real*>(sums_.reserve(static_cast<std::size_t>(n) * sizeof(Real)));
            s.runtime.wait(Stream::products);
            s.there({out, out + n}, at);
            vector_sums(factor, example, 1, at, at);
            std::ranges::copy(s.here(at, n), out);
            return;
        }
        if (summed_ != asked) {
            const Index all = s.block.examples() * n;
            auto* const at =
                reinterpret_cast<Real*>(sums_.reserve(static_cast<std::size_t>(all) * sizeof(Real)));
            vector_sums(factor, 0, s.block.examples(), nullptr, at);
            all_sums_ = s.here(at, all);
            summed_ = asked;
        }
        std::copy_n(all_sums_.begin() + example * n, n, out);
    });
}

class DevicePassBackEnd final : public PassBackEnd {
  public:
    DevicePassBackEnd(std::unique_ptr<Runtime> runtime, double memory, PassSizes sizes)
        : device_(std::make_shared<Device>(Device{std::move(runtime), sizes})), memory_(memory) {}

    std::string name() const override { return device_->runtime->name(); }
    double memory() const override { return memory_; }
    std::unique_ptr<NetworkPasses<float>> passes(std::shared_ptr<const NetworkWeights<float>> weights,
                                                 Index tokens) override {
        return passes_over(std::move(weights), tokens, of_float_);
    }
    std::unique_ptr<NetworkPasses<double>> passes(std::shared_ptr<const NetworkWeights<double>> weights,
                                                  Index tokens) override {
        return passes_over(std::move(weights), tokens, of_double_);
    }
    bool failed() const override { return device_->failed; }

  private:
    /// The weights that passes were made over last, while there are any.
    template <class Real>
    struct Held {
        std::weak_ptr<const NetworkWeights<Real>> of;
        std::weak_ptr<const WeightsOnDevice<Real>> on_device;
    };
    template <class Real>
    std::unique_ptr<NetworkPasses<Real>> passes_over(std::shared_ptr<const NetworkWeights<Real>> weights,
                                                     Index tokens, Held<Real>& held) {
        auto on_device = held.of.lock() == weights ? held.on_device.lock() : nullptr;
        if (on_device == nullptr) {
            try {
                on_device = std::make_shared<WeightsOnDevice<Real>>(*device_->runtime, *weights);
            } catch (const Error&) {
                device_->failed = true;
                throw;
            }
            held = {weights, on_device};
        }
        return std::make_unique<DevicePasses<Real>>(device_, std::move(weights), std::move(on_device),
                                                    tokens);
    }

    std::shared_ptr<Device> device_;
    double memory_;
    Held<float> of_float_;
    Held<double> of_double_;
};

}  // namespace

std::unique_ptr<PassBackEnd> device_passes(std::unique_ptr<Runtime> runtime, double memory, PassSizes sizes) {
    return std::make_unique<DevicePassBackEnd>(std::move(runtime), memory, sizes);
}

}  // namespace tangram::device
