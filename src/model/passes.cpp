#include <algorithm>
#include <type_traits>
#include <utility>

#include "pass_state.hpp"

namespace tangram {

namespace {

/// A network's passes on the thread that calls them.
template <class Real>
class ProcessorPasses final : public NetworkPasses<Real> {
  public:
    explicit ProcessorPasses(std::shared_ptr<const NetworkWeights<Real>> weights)
        : state_(std::move(weights)), factors_(factors_of(state_.program)) {}

    void forward(const TokenBlock& block) override {
        state_.block = block;
        run_forward(state_);
    }
    const TokenBlock& block() const override { return state_.block; }
    std::span<const Real> logits() const override { return state_.logits; }
    std::span<const double> log_partitions() const override { return state_.log_partitions; }
    void backward(std::span<const Real> seeds, std::span<const ParameterId> wanted) override {
        state_.seeds.assign(seeds.begin(), seeds.end());
        const auto* const head = std::get_if<operation::LabelLogits>(&state_.program.operations().back());
        if (head != nullptr && head->cap)
            for (std::size_t i = 0; i < seeds.size(); ++i)
                state_.seeds[i] *= operations::cap_slope(state_.logits[i], static_cast<Real>(*head->cap));
        run_backward(state_, factors_, wanted);
    }
    std::span<const Real> seeds() const override { return state_.seeds; }
    const Real* value(Value value) const override { return state_.values[value.id].row(0); }
    const Real* gradient(Value value) const override { return state_.gradients[value.id].rows.row(0); }
    void add_vector(const Factor& factor, Index example, Real* out) const override;
    Index bytes() const override;

  private:
    PassState<Real> state_;
    std::vector<std::vector<Factor>> factors_;
};

template <class Real>
void ProcessorPasses<Real>::add_vector(const Factor& factor, Index example, Real* out) const {
    const Rows<Real>& deltas = state_.gradients[factor.delta.id].rows;
    const RowRange range = state_.block.rows_of(state_.row_set(factor.delta), example);
    if (factor.kind == Factor::Kind::sum) {
        for (Index r = range.first; r < range.last; ++r) {
            const Real* const delta = deltas.row(r);
            for (Index i = 0; i < deltas.width; ++i) out[i] += delta[i];
        }
        return;
    }
    // Norms over heads have several statistics for each row.
    const auto& statistics = state_.statistics[factor.operation];
    const Index n = deltas.entries() / std::ssize(statistics), heads = deltas.width / n;
    const Real* const x = state_.values[factor.input.id].row(0);
    for (Index r = range.first * heads; r < range.last * heads; ++r) {
        const auto of_row = statistics[static_cast<std::size_t>(r)];
        for (Index i = r * n; i < (r + 1) * n; ++i)
            out[i - r * n] += deltas.row(0)[i] * operations::normalised(x[i], of_row);
    }
}

template <class Entries>
Index bytes_of(const Entries& entries) {
    return static_cast<Index>(entries.capacity() * sizeof(entries[0]));
}

template <class Real>
Index ProcessorPasses<Real>::bytes() const {
    const PassState<Real>& s = state_;
    Index bytes = bytes_of(s.block.token_ids) + bytes_of(s.block.offsets) + bytes_of(s.block.reads) +
                  bytes_of(s.logits) + bytes_of(s.seeds) + bytes_of(s.scratch.entries) +
                  bytes_of(s.shifted.entries) + bytes_of(s.block.predicted) +
                  bytes_of(s.block.predicted_offsets) + bytes_of(s.log_partitions);
    for (const auto* const all : {&s.values, &s.slopes})
        for (const Rows<Real>& rows : *all) bytes += bytes_of(rows.buffer.entries);
    for (const Gradient<Real>& gradient : s.gradients) bytes += bytes_of(gradient.rows.buffer.entries);
    for (const auto& of_norm : s.statistics) bytes += bytes_of(of_norm);
    for (const auto* const tables : {&s.cosines, &s.sines})
        for (const auto& table : *tables) bytes += bytes_of(table);
    const auto& head = s.head_scratch;
    for (const auto* const buffer :
         {&head.transposed, &head.packed, &head.weights, &head.slopes, &head.cap_slopes})
        bytes += bytes_of(buffer->entries);
    return bytes;
}

}  // namespace

namespace {

/// Entries of scratch that the operations of a program ask for.
template <class Real>
class Scratch {
  public:
    Scratch(const Program& program, const TokenBlock& block) : program_(program), block_(block) {}

    void operator()(const operation::Linear&) {
        common_ = std::max(common_, operations::panel_depth * operations::panel_width<Real>);
    }
    void row(Value of_width) { common_ = std::max(common_, program_.shape(of_width).width); }
    void operator()(const operation::LayerNorm& op, bool backward) {
        norm(program_.shape(op.in).width, true, backward);
    }
    void operator()(const operation::RmsNorm& op, bool backward) {
        const Index width = program_.parameters()[op.weight].size();
        norm(width, false, backward);
        if (op.shift != 0) shifted_ = std::max(shifted_, width);
    }
    /// @param needed  by value, whether its gradient is
    void operator()(const operation::Attention& op, const std::vector<bool>& needed) {
        const bool scores = needed[op.query.id] || needed[op.key.id];
        const bool backward = scores || needed[op.value.id];
        for (Index e = 0; e < block_.examples(); ++e) {
            operations::Head<Real> head;
            head.size = op.head_size;
            head.queries = block_.rows_of(program_.shape(op.query).rows, e).size();
            head.keys = block_.rows_of(RowSet::tokens, e).size();
            transposed_ = std::max(transposed_, head.size * head.row_width());
            packed_ =
                std::max(packed_, std::max(head.keys, backward ? head.queries : 0) * head.packed_size());
            weights_ = std::max(weights_, head.keys * head.row_width());
            if (scores) slopes_ = std::max(slopes_, head.keys * head.row_width());
            if (op.cap) cap_slopes_ = std::max(cap_slopes_, head.keys * head.row_width());
        }
    }
    Index entries() const {
        return common_ + shifted_ + transposed_ + packed_ + weights_ + slopes_ + cap_slopes_;
    }

  private:
    void norm(Index width, bool centred, bool backward) {
        common_ = std::max(common_, backward ? 2 * width : centred ? width : 0);
    }

    const Program& program_;
    const TokenBlock& block_;
    Index common_ = 0, shifted_ = 0, transposed_ = 0, packed_ = 0, weights_ = 0, slopes_ = 0, cap_slopes_ = 0;
};

}  // namespace

template <class Real>
Index planned_pass_bytes(const Program& program, const TokenBlock& block, Index labels,
                         std::span<const ParameterId> wanted) {
    const std::vector<bool> needed = needed_gradients(program, factors_of(program), wanted);
    const auto any = [&](const std::vector<Value>& values) {
        return std::ranges::any_of(values, [&](Value value) { return needed[value.id]; });
    };
    const auto entries = [&](Value value) {
        return block.rows(program.shape(value).rows) * program.shape(value).width;
    };
    Scratch<Real> scratch(program, block);
    Index reals = 2 * block.examples() * labels, statistics = 0, log_partitions = 0;
    for (const Operation& operation : program.operations()) {
        if (const std::optional<Value> out = output_of(operation))
            reals += (needed[out->id] ? 2 : 1) * entries(*out);
        const bool backward = any(inputs_of(operation));
        std::visit(
            [&]<class AnOperation>(const AnOperation& op) {
                using namespace operation;
                if constexpr (std::is_same_v<AnOperation, LayerNorm>) {
                    statistics += block.rows(program.shape(op.in).rows);
                    scratch(op, backward);
                } else if constexpr (std::is_same_v<AnOperation, RmsNorm>) {
                    statistics += entries(op.in) / program.parameters()[op.weight].size();
                    scratch(op, backward);
                } else if constexpr (std::is_same_v<AnOperation, Attention>) {
                    scratch(op, needed);
                } else if constexpr (std::is_same_v<AnOperation, Linear>) {
                    scratch(op);
                } else if constexpr (std::is_same_v<AnOperation, Positions> ||
                                     std::is_same_v<AnOperation, TokenType> ||
                                     std::is_same_v<AnOperation, LabelLogits>) {
                    scratch.row(op.in);
                } else if constexpr (std::is_same_v<AnOperation, Rotary>) {
                    reals += 2 * block.longest() * std::ssize(op.angles.frequencies) *
                             operations::rotary_tables(op.angles);
                } else if constexpr (std::is_same_v<AnOperation, Activate>) {
                    reals += entries(op.in);
                } else if constexpr (std::is_same_v<AnOperation, AnswerLikelihood>) {
                    log_partitions = block.rows(RowSet::reads);
                }
            },
            operation);
    }
    const auto bytes = [](Index count, std::size_t size) { return count * static_cast<Index>(size); };
    return bytes(reals + scratch.entries(), sizeof(Real)) +
           bytes(statistics, sizeof(operations::NormStatistics<Real>)) +
           bytes(block.offsets.back() + std::ssize(block.predicted), sizeof(std::int32_t)) +
           bytes(2 * block.examples() + 1 + std::ssize(block.predicted_offsets), sizeof(Index)) +
           bytes(log_partitions, sizeof(double));
}

template Index planned_pass_bytes<float>(const Program&, const TokenBlock&, Index,
                                         std::span<const ParameterId>);
template Index planned_pass_bytes<double>(const Program&, const TokenBlock&, Index,
                                          std::span<const ParameterId>);

template <class Real>
std::unique_ptr<NetworkPasses<Real>> passes_on_processor(
    std::shared_ptr<const NetworkWeights<Real>> weights) {
    return std::make_unique<ProcessorPasses<Real>>(std::move(weights));
}

template std::unique_ptr<NetworkPasses<float>> passes_on_processor(
    std::shared_ptr<const NetworkWeights<float>>);
template std::unique_ptr<NetworkPasses<double>> passes_on_processor(
    std::shared_ptr<const NetworkWeights<double>>);

}  // namespace tangram
