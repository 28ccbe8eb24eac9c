#include "pass_state.hpp"

namespace tangram {

namespace {

using operations::Mode;

/// The operations' forward steps.
template <class Real>
class Forward {
  public:
    using Step = ForwardStep<Real>;

    explicit Forward(PassState<Real>& state) : s(state) {}

    void operator()(std::size_t, const Step& step, const operation::Embedding& op) {
        Rows<Real>& out = step.out();
        for (Index r = 0; r < out.count; ++r)
            s.read_row(op.table, s.block.token_ids[static_cast<std::size_t>(r)], out.row(r));
    }
    void operator()(std::size_t, const Step& step, const operation::Positions& op) {
        const Rows<Real>& in = step.in(op.in);
        Rows<Real>& out = step.out();
        s.for_positions(s.row_set(op.in), [&](Index r, Index position, Index) {
            const Real *const x = in.row(r), *const table = s.table_row(op.table, position + op.offset);
            operations::put(Mode::assign, in.width, out.row(r), [=](Index i) { return x[i] + table[i]; });
        });
    }
    void operator()(std::size_t, const Step& step, const operation::TokenType& op) {
        const Rows<Real>& in = step.in(op.in);
        const Real* const type = s.table_row(op.table, 0);
        for (Index r = 0; r < in.count; ++r) {
            const Real* const x = in.row(r);
            operations::put(Mode::assign, in.width, step.out().row(r),
                            [=](Index i) { return x[i] + type[i]; });
        }
    }
    void operator()(std::size_t, const Step& step, const operation::Columns& op) {
        const Rows<Real>& in = step.in(op.in);
        Rows<Real>& out = step.out();
        for (Index r = 0; r < out.count; ++r)
            for (Index run = 0; run < op.runs; ++run)
                std::copy_n(in.row(r) + op.first + run * op.stride, op.width, out.row(r) + run * op.width);
    }
    void operator()(std::size_t, const Step& step, const operation::Linear& op) {
        const Rows<Real>& in = step.in(op.in);
        Rows<Real>& out = step.out();
        operations::linear(in.row(0), in.count, s.weights->matrix(op.weight), out.width, in.width,
                           {op.bias ? s.weight(*op.bias) : nullptr, 0}, out.row(0), s.scratch);
    }
    void operator()(std::size_t o, const Step& step, const operation::LayerNorm& op) {
        const Rows<Real>& in = step.in(op.in);
        const Index n = in.width;
        const Real *const w = s.weight(op.weight), *const b = op.bias ? s.weight(*op.bias) : nullptr;
        s.statistics[o].resize(static_cast<std::size_t>(in.count));
        for (Index r = 0; r < in.count; ++r) {
            const Real* const x = in.row(r);
            const auto of_row = operations::layer_norm_statistics(x, n, op.epsilon, s.scratch);
            s.statistics[o][static_cast<std::size_t>(r)] = of_row;
            Real* const y = step.out().row(r);
            if (b != nullptr)
                for (Index i = 0; i < n; ++i) y[i] = operations::normalised(x[i], of_row) * w[i] + b[i];
            else
                for (Index i = 0; i < n; ++i) y[i] = operations::normalised(x[i], of_row) * w[i];
        }
    }
    void operator()(std::size_t o, const Step& step, const operation::RmsNorm& op) {
        const Rows<Real>& in = step.in(op.in);
        const Index n = s.program.parameters()[op.weight].size(), count = in.entries() / n;
        const Real* const w = s.norm_weight(op);
        s.statistics[o].resize(static_cast<std::size_t>(count));
        for (Index r = 0; r < count; ++r) {
            const Real* const x = in.row(0) + r * n;
            const auto of_row = operations::rms_norm_statistics(x, n, op.epsilon);
            s.statistics[o][static_cast<std::size_t>(r)] = of_row;
            Real* const y = step.out().row(0) + r * n;
            for (Index i = 0; i < n; ++i) y[i] = x[i] * of_row.inverse * w[i];
        }
    }
    void operator()(std::size_t o, const Step& step, const operation::Rotary& op) {
        operations::fill_rotary_tables(op.angles, s.block.longest(), s.cosines[o], s.sines[o]);
        s.template rotate<false>(o, op, step.in(op.in), step.out(), Real(1));
    }
    void operator()(std::size_t, const Step& step, const operation::Attention& op) {
        const Rows<Real>&query = step.in(op.query), &key = step.in(op.key), &value = step.in(op.value);
        Rows<Real>& out = step.out();
        s.for_heads(
            op, [&](const operations::Head<Real>& head, Index q, Index k, Index query_row, Index key_row) {
                operations::attention_forward(head, query.row(query_row) + q, key.row(key_row) + k,
                                              value.row(key_row) + k, out.row(query_row) + q, s.head_scratch);
            });
    }
    void operator()(std::size_t o, const Step& step, const operation::Activate& op) {
        const Rows<Real>& in = step.in(op.in);
        s.slopes[o].width = in.width;
        s.slopes[o].reserve(in.count);
        operations::activate(op.function, in.entries(), in.row(0), step.out().row(0), s.slopes[o].row(0));
    }
    void operator()(std::size_t, const Step& step, const operation::Multiply& op) {
        const Real *const a = step.in(op.a).row(0), *const b = step.in(op.b).row(0);
        Rows<Real>& out = step.out();
        operations::put(Mode::assign, out.entries(), out.row(0), [=](Index i) { return a[i] * b[i]; });
    }
    void operator()(std::size_t, const Step& step, const operation::Add& op) {
        const Real *const a = step.in(op.a).row(0), *const b = step.in(op.b).row(0);
        Rows<Real>& out = step.out();
        const Real factor = static_cast<Real>(op.factor);
        if (factor == Real(1))
            operations::put(Mode::assign, out.entries(), out.row(0), [=](Index i) { return a[i] + b[i]; });
        else
            operations::put(Mode::assign, out.entries(), out.row(0),
                            [=](Index i) { return a[i] + factor * b[i]; });
    }
    void operator()(std::size_t, const Step& step, const operation::Scale& op) {
        const Real* const x = step.in(op.in).row(0);
        Rows<Real>& out = step.out();
        const Real factor = static_cast<Real>(op.factor);
        operations::put(Mode::assign, out.entries(), out.row(0), [=](Index i) { return factor * x[i]; });
    }
    void operator()(std::size_t, const Step& step, const operation::AtReads& op) {
        const Rows<Real>& in = step.in(op.in);
        for (Index e = 0; e < s.block.examples(); ++e) {
            const RowRange rows = s.block.rows_of(RowSet::reads, e);
            std::copy_n(in.row(s.block.reads[static_cast<std::size_t>(e)]), rows.size() * in.width,
                        step.out().row(rows.first));
        }
    }
    void operator()(std::size_t, const Step& step, const operation::TokenMean& op) {
        const Rows<Real>& in = step.in(op.in);
        for (Index e = 0; e < s.block.examples(); ++e) {
            const RowRange tokens = s.block.rows_of(RowSet::tokens, e);
            Real* const y = step.out().row(e);
            std::copy_n(in.row(tokens.first), in.width, y);
            for (Index r = tokens.first + 1; r < tokens.last; ++r) {
                const Real* const x = in.row(r);
                operations::put(Mode::add, in.width, y, [=](Index i) { return x[i]; });
            }
            const Real share = Real(1) / static_cast<Real>(tokens.size());
            for (Index i = 0; i < in.width; ++i) y[i] *= share;
        }
    }
    void operator()(std::size_t, const Step& step, const operation::LabelLogits& op) {
        const Rows<Real>& in = step.in(op.in);
        const auto& label_ids = s.weights->label_ids();
        s.logits.resize(static_cast<std::size_t>(s.block.examples()) * label_ids.size());
        for (Index e = 0; e < s.block.examples(); ++e)
            for (std::size_t c = 0; c < label_ids.size(); ++c)
                s.logits[static_cast<std::size_t>(e) * label_ids.size() + c] =
                    operations::dot(in.row(e), s.label_row(op.table, c), in.width) +
                    (op.bias ? s.weight(*op.bias)[label_ids[c]] : Real(0));
        if (!op.cap) return;
        const Real cap = static_cast<Real>(*op.cap);
        for (Real& logit : s.logits) logit = operations::capped(logit, cap);
    }

    void operator()(std::size_t, const Step& step, const operation::AnswerLikelihood& op) {
        const Rows<Real>& in = step.in(op.in);
        s.log_partitions.resize(static_cast<std::size_t>(in.count));
        std::vector<double> terms(s.log_partitions.size());
        s.softmax(op).log_probabilities(in.row(0), s.block.predicted, terms.data(), s.log_partitions.data());
        s.logits = answer_scores<Real>(op, s.block, terms);
    }

  private:
    PassState<Real>& s;
};

}  // namespace

template <class Real>
void run_forward(PassState<Real>& state) {
    Forward<Real> forward(state);
    for (std::size_t o = 0; o < state.declared.size(); ++o) {
        const DeclaredValues& declared = state.declared[o];
        if (declared.output)
            state.values[declared.output->id].reserve(state.block.rows(state.row_set(*declared.output)));
        const ForwardStep<Real> step(declared, state.values);
        std::visit([&](const auto& op) { forward(o, step, op); }, state.program.operations()[o]);
    }
}

template void run_forward(PassState<float>&);
template void run_forward(PassState<double>&);

}  // namespace tangram
