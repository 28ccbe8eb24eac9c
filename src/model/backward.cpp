#include "pass_state.hpp"

namespace tangram {

namespace {

using operations::Mode;

/// The operations' backward steps.
template <class Real>
class Backward {
  public:
    using Step = BackwardStep<Real>;

    explicit Backward(PassState<Real>& state) : s(state) {}

    void operator()(std::size_t, Step&, const operation::Embedding&) {}
    void operator()(std::size_t, Step& step, const operation::Positions& op) { pass_on(step, op.in); }
    void operator()(std::size_t, Step& step, const operation::TokenType& op) { pass_on(step, op.in); }
    void operator()(std::size_t, Step& step, const operation::Columns& op) {
        const GradientRows<Real> dx = step.gradient_of_some(op.in);
        if (dx.mode == Mode::skip) return;
        const Rows<Real>& dout = step.slope();
        for (Index r = 0; r < dout.count; ++r)
            for (Index run = 0; run < op.runs; ++run) {
                const Real* const dy = dout.row(r) + run * op.width;
                operations::put(dx.mode, op.width, dx.row(r) + op.first + run * op.stride,
                                [=](Index i) { return dy[i]; });
            }
    }
    void operator()(std::size_t, Step& step, const operation::Linear& op) {
        const GradientRows<Real> dx = step.gradient(op.in);
        if (dx.mode == Mode::skip) return;
        const Rows<Real>& dy = step.slope();
        const Index d_in = dx.rows->width, d_out = dy.width;
        operations::linear(dy.row(0), dy.count, s.weights->matrix(op.weight).transposed(), d_in, d_out,
                           {dx.mode == Mode::add ? dx.row(0) : nullptr, d_in}, dx.row(0), s.scratch);
    }
    void operator()(std::size_t o, Step& step, const operation::LayerNorm& op) {
        norm(o, step, op.in, s.weight(op.weight), s.program.shape(op.in).width, true);
    }
    void operator()(std::size_t o, Step& step, const operation::RmsNorm& op) {
        norm(o, step, op.in, s.norm_weight(op), s.program.parameters()[op.weight].size(), false);
    }
    void operator()(std::size_t o, Step& step, const operation::Rotary& op) {
        const GradientRows<Real> dx = step.gradient(op.in);
        if (dx.mode == Mode::assign) s.template rotate<false>(o, op, step.slope(), *dx.rows, Real(-1));
        if (dx.mode == Mode::add) s.template rotate<true>(o, op, step.slope(), *dx.rows, Real(-1));
    }
    void operator()(std::size_t, Step& step, const operation::Attention& op) {
        const Rows<Real>&query = step.in(op.query), &key = step.in(op.key), &value = step.in(op.value);
        const GradientRows<Real> dq = step.gradient(op.query), dk = step.gradient(op.key),
                                 dv = step.gradient(op.value);
        const Rows<Real>& dout = step.slope();
        const Index sharing = op.heads / op.key_value_heads;
        s.for_heads(op, [&](const operations::Head<Real>& head, Index q, Index k, Index query_row,
                            Index key_row) {
            operations::AttentionModes how{dq.mode, dk.mode, dv.mode};
            if (q / op.head_size % sharing > 0)  // an earlier head of the group has written keys and values
                for (Mode* const later : {&how.key, &how.value})
                    if (*later == Mode::assign) *later = Mode::add;
            operations::attention_backward(head, query.row(query_row) + q, key.row(key_row) + k,
                                           value.row(key_row) + k, dout.row(query_row) + q, how,
                                           dq.row(query_row) + q, dk.row(key_row) + k, dv.row(key_row) + k,
                                           s.head_scratch);
        });
    }
    void operator()(std::size_t o, Step& step, const operation::Activate& op) {
        const Real *const dy = step.slope().row(0), *const derivative = s.slopes[o].row(0);
        step.gradient(op.in).put([=](Index i) { return dy[i] * derivative[i]; });
    }
    void operator()(std::size_t, Step& step, const operation::Multiply& op) {
        const Real *const a = step.in(op.a).row(0), *const b = step.in(op.b).row(0),
                          *const dy = step.slope().row(0);
        step.gradient(op.a).put([=](Index i) { return dy[i] * b[i]; });
        step.gradient(op.b).put([=](Index i) { return dy[i] * a[i]; });
    }
    void operator()(std::size_t, Step& step, const operation::Add& op) {
        pass_on(step, op.a);
        const Real* const dy = step.slope().row(0);
        const Real factor = static_cast<Real>(op.factor);
        step.gradient(op.b).put([=](Index i) { return factor * dy[i]; });
    }
    void operator()(std::size_t, Step& step, const operation::Scale& op) {
        const Real* const dy = step.slope().row(0);
        const Real factor = static_cast<Real>(op.factor);
        step.gradient(op.in).put([=](Index i) { return factor * dy[i]; });
    }
    void operator()(std::size_t, Step& step, const operation::AtReads& op) {
        const GradientRows<Real> dx = step.gradient_of_some(op.in);
        if (dx.mode == Mode::skip) return;
        const Rows<Real>& dout = step.slope();
        for (Index e = 0; e < s.block.examples(); ++e) {
            const RowRange rows = s.block.rows_of(RowSet::reads, e);
            const Real* const dy = dout.row(rows.first);
            operations::put(dx.mode, rows.size() * dout.width,
                            dx.row(s.block.reads[static_cast<std::size_t>(e)]),
                            [=](Index i) { return dy[i]; });
        }
    }
    void operator()(std::size_t, Step& step, const operation::TokenMean& op) {
        const GradientRows<Real> dx = step.gradient(op.in);
        if (dx.mode == Mode::skip) return;
        const Rows<Real>& dout = step.slope();
        for (Index e = 0; e < s.block.examples(); ++e) {
            const RowRange tokens = s.block.rows_of(RowSet::tokens, e);
            const Real* const dy = dout.row(e);
            const Real share = Real(1) / static_cast<Real>(tokens.size());
            for (Index r = tokens.first; r < tokens.last; ++r)
                operations::put(dx.mode, dout.width, dx.row(r), [=](Index i) { return share * dy[i]; });
        }
    }
    void operator()(std::size_t, Step& step, const operation::LabelLogits& op) {
        const GradientRows<Real> dx = step.gradient_of_some(op.in);
        if (dx.mode == Mode::skip) return;
        const std::size_t labels = s.weights->label_ids().size();
        for (Index e = 0; e < s.block.examples(); ++e)
            for (std::size_t c = 0; c < labels; ++c)
                operations::add_scaled(dx.rows->width, s.seeds[static_cast<std::size_t>(e) * labels + c],
                                       s.label_row(op.table, c), dx.row(e));
    }

    void operator()(std::size_t, Step& step, const operation::AnswerLikelihood& op) {
        const GradientRows<Real> dx = step.gradient(op.in);
        if (dx.mode == Mode::skip) return;
        const std::vector<Real> scales = answer_scales<Real>(op, s.block, s.seeds);
        s.softmax(op).feature_slopes(step.in(op.in).row(0), s.block.predicted, scales,
                                     s.log_partitions.data(), dx.mode == Mode::add, dx.row(0));
    }

  private:
    /// The gradient goes through unchanged.
    void pass_on(Step& step, Value in) {
        const Real* const dy = step.slope().row(0);
        step.gradient(in).put([=](Index i) { return dy[i]; });
    }
    /// Over rows of n entries each.
    void norm(std::size_t o, Step& step, Value in, const Real* weight, Index n, bool centred) {
        const GradientRows<Real> dx = step.gradient(in);
        if (dx.mode == Mode::skip) return;
        const Real *const x = step.in(in).row(0), *const dy = step.slope().row(0);
        for (Index r = 0; r < step.in(in).entries() / n; ++r)
            operations::norm_backward(x + r * n, weight, dy + r * n,
                                      s.statistics[o][static_cast<std::size_t>(r)], centred, n, dx.mode,
                                      dx.row(0) + r * n, s.scratch);
    }

    PassState<Real>& s;
};

}  // namespace

template <class Real>
void run_backward(PassState<Real>& state, const std::vector<std::vector<Factor>>& factors,
                  std::span<const ParameterId> wanted) {
    const std::vector<bool> needed = needed_gradients(state.program, factors, wanted);
    for (std::size_t v = 0; v < needed.size(); ++v) {
        Gradient<Real>& gradient = state.gradients[v];
        gradient.needed = needed[v];
        gradient.written = false;
        if (needed[v]) gradient.rows.reserve(state.values[v].count);
    }
    Backward<Real> backward(state);
    for (std::size_t o = state.declared.size(); o-- > 0;) {
        BackwardStep<Real> step(state.declared[o], state.values, state.gradients);
        if (!step.reached()) continue;
        std::visit([&](const auto& op) { backward(o, step, op); }, state.program.operations()[o]);
        step.finish();
    }
}

template void run_backward(PassState<float>&, const std::vector<std::vector<Factor>>&,
                           std::span<const ParameterId>);
template void run_backward(PassState<double>&, const std::vector<std::vector<Factor>>&,
                           std::span<const ParameterId>);

}  // namespace tangram
