#pragma once
#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "operations.hpp"
#include "tangram/model/program.hpp"

/// How one operation reaches activations and gradients: through the values that it declares, and no others.
/// What it forgets to declare, or to write, is a std::logic_error in the first pass.
namespace tangram {

/// Rows of activations or of their gradients, row-major. The buffer only ever grows.
template <class Real>
struct Rows {
    operations::Buffer<Real> buffer;
    Index width = 0, count = 0;

    void reserve(Index rows) {
        count = rows;
        buffer.reserve(rows * width);
    }
    Index entries() const { return count * width; }
    Real* row(Index r) { return buffer.data() + r * width; }
    const Real* row(Index r) const { return buffer.data() + r * width; }
    void set_zero() { std::fill_n(row(0), entries(), Real(0)); }
};

/// A value's gradient in a backward pass: whether anything takes it, and whether an operation has written it.
template <class Real>
struct Gradient {
    Rows<Real> rows;
    bool needed = false, written = false;
};

/// What inputs_of() and output_of() say of an operation.
struct DeclaredValues {
    std::vector<Value> inputs;
    std::optional<Value> output;
};

/// An operation's forward step.
template <class Real>
class ForwardStep {
  public:
    ForwardStep(const DeclaredValues& declared, std::vector<Rows<Real>>& values)
        : declared_(declared), values_(values) {}

    /// Rows of one of its inputs.
    const Rows<Real>& in(Value value) const { return values_[known(value)]; }
    /// Rows that it writes, each entry of them.
    Rows<Real>& out() const {
        if (!declared_.output) throw std::logic_error("an operation without an output writes one");
        return values_[declared_.output->id];
    }

  protected:
    std::size_t known(Value value) const {
        for (const Value input : declared_.inputs)
            if (input.id == value.id) return value.id;
        throw std::logic_error(
            fmt::format("an operation uses value {}, which inputs_of() leaves out", value.id));
    }

    const DeclaredValues& declared_;
    std::vector<Rows<Real>>& values_;
};

/// Where an operation writes the gradient of one of its inputs, and how.
template <class Real>
struct GradientRows {
    operations::Mode mode;
    Rows<Real>* rows;

    Real* row(Index r) const { return rows->row(r); }
    /// Entries of all rows = or += entry(i), by mode.
    template <class Entry>
    void put(Entry entry) const {
        operations::put(mode, rows->entries(), row(0), entry);
    }
};

/// An operation's backward step: reads the gradient of its output, writes those of its inputs.
template <class Real>
class BackwardStep {
  public:
    BackwardStep(const DeclaredValues& declared, std::vector<Rows<Real>>& values,
                 std::vector<Gradient<Real>>& gradients)
        : declared_(declared),
          forward_(declared, values),
          gradients_(gradients),
          taken_(declared.inputs.size(), false) {}

    /// Whether the gradient behind the operation is needed; zero if no operation has written it.
    bool reached() const {
        if (!declared_.output) return true;
        Gradient<Real>& out = gradients_[declared_.output->id];
        if (out.needed && !out.written) out.rows.set_zero();
        return out.needed;
    }
    /// Rows of one of its inputs.
    const Rows<Real>& in(Value value) const { return forward_.in(value); }
    /// The gradient of its output.
    const Rows<Real>& slope() const {
        if (!declared_.output) throw std::logic_error("an operation without an output reads its gradient");
        return gradients_[declared_.output->id].rows;
    }
    /// Of an input, once for each time that it is declared; the operation writes every entry.
    GradientRows<Real> gradient(Value value) {
        for (std::size_t i = 0; i < taken_.size(); ++i) {
            if (taken_[i] || declared_.inputs[i].id != value.id) continue;
            taken_[i] = true;
            Gradient<Real>& to = gradients_[value.id];
            const bool first = !std::exchange(to.written, to.written || to.needed);
            using operations::Mode;
            return {!to.needed ? Mode::skip : first ? Mode::assign : Mode::add, &to.rows};
        }
        throw std::logic_error(fmt::format(
            "an operation writes the gradient of value {} more often than inputs_of() says", value.id));
    }
    /// The same where the operation adds to some entries only: the others are set to zero first.
    GradientRows<Real> gradient_of_some(Value value) {
        GradientRows<Real> to = gradient(value);
        if (to.mode != operations::Mode::assign) return to;
        to.rows->set_zero();
        to.mode = operations::Mode::add;
        return to;
    }
    /// After the operation: it has written every gradient that is needed.
    void finish() const {
        for (std::size_t i = 0; i < taken_.size(); ++i)
            if (!taken_[i] && gradients_[declared_.inputs[i].id].needed)
                throw std::logic_error(fmt::format("an operation leaves out the gradient of its input {}",
                                                   declared_.inputs[i].id));
    }

  private:
    const DeclaredValues& declared_;
    ForwardStep<Real> forward_;
    std::vector<Gradient<Real>>& gradients_;
    std::vector<bool> taken_;  // by input
};

}  // namespace tangram
