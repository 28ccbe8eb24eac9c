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
    void backward(std::span<const Real> seeds, std::span<const ParameterId> wanted) override {
        state_.seeds.assign(seeds.begin(), seeds.end());
        run_backward(state_, factors_, wanted);
    }
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
    const Index n = deltas.width;
    const RowRange range = state_.block.rows_of(state_.row_set(factor.delta), example);
    for (Index r = range.first; r < range.last; ++r) {
        const Real* const delta = deltas.row(r);
        if (factor.kind == Factor::Kind::sum) {
            for (Index i = 0; i < n; ++i) out[i] += delta[i];
        } else {
            const Real* const x = state_.values[factor.input.id].row(r);
            const auto statistics = state_.statistics[factor.operation][static_cast<std::size_t>(r)];
            for (Index i = 0; i < n; ++i)
                out[i] += delta[i] * ((x[i] - statistics.mean) * statistics.inverse);
        }
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
                  bytes_of(s.logits) + bytes_of(s.seeds) + bytes_of(s.scratch.entries);
    for (const auto* const all : {&s.values, &s.slopes})
        for (const Rows<Real>& rows : *all) bytes += bytes_of(rows.buffer.entries);
    for (const Gradient<Real>& gradient : s.gradients) bytes += bytes_of(gradient.rows.buffer.entries);
    for (const auto& of_norm : s.statistics) bytes += bytes_of(of_norm);
    for (const auto* const tables : {&s.cosines, &s.sines})
        for (const auto& table : *tables) bytes += bytes_of(table);
    const auto& head = s.head_scratch;
    for (const auto* const buffer : {&head.transposed, &head.packed, &head.weights, &head.slopes})
        bytes += bytes_of(buffer->entries);
    return bytes;
}

}  // namespace

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
