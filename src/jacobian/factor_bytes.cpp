#include "tangram/jacobian/factor_bytes.hpp"

#include "tangram/jacobian/factor_kinds.hpp"

namespace tangram {

FactorBytes::FactorBytes(const Program& program, const Shape& shape, const Sketch& sketch)
    : program_(&program), shape_(shape), sketch_(sketch), factors_(factors_of(program)) {}

Index FactorBytes::whole_rows(std::size_t value) const {
    const ValueShape& of = program_->values()[value];
    return (of.rows == RowSet::tokens ? shape_.rows.tokens : shape_.rows.reads) * of.width;
}

/// Rows of k entries for a value's, and the random matrix that they come from.
Index FactorBytes::projected_side(Value value, Index k, Index times) const {
    const ValueShape& of = program_->shape(value);
    return of.width * padded_columns(k) +
           times * k * (of.rows == RowSet::tokens ? shape_.rows.tokens : shape_.rows.reads);
}

void FactorBytes::add(Held& held, ParameterId parameter) const {
    if (!held.parameters.insert(parameter).second) return;
    Index entries = 0;
    const auto add_input = [&](Value value) {
        if (held.inputs.insert(value.id).second) entries += whole_rows(value.id);
    };
    const auto add_delta = [&](Value value) {
        if (held.deltas.insert(value.id).second) entries += shape_.passes * whole_rows(value.id);
    };
    const std::vector<Index>& shape = program_->parameters()[parameter].shape;
    for (const Factor& factor : factors_[parameter]) {
        const Kept kept = kept_of(factor.kind);
        if (sketch_.holds(parameter)) {
            const SketchShape k = sketch_shape(shape[0], shape[1], sketch_.dimension);
            if (k.in < program_->shape(factor.input).width)
                entries += projected_side(factor.input, k.in, 1);
            else
                add_input(factor.input);
            if (k.out < program_->shape(factor.delta).width)
                entries += projected_side(factor.delta, k.out, shape_.passes);
            else
                add_delta(factor.delta);
            continue;
        }
        if (kept.input) add_input(factor.input);
        if (kept.delta) add_delta(factor.delta);
        if (kept.vector)
            entries += shape_.gradients * shape_.rows.examples * program_->parameters()[parameter].size();
    }
    held.bytes += entries * shape_.entry_bytes;
}

Index FactorBytes::of(const std::vector<ParameterId>& parameters) const {
    Held held;
    for (const ParameterId p : parameters) add(held, p);
    return held.bytes;
}

}  // namespace tangram
