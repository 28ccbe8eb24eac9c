#include "tangram/model/program.hpp"

#include <numeric>
#include <utility>

namespace tangram {

std::string name(ParameterKind kind) {
    switch (kind) {
        case ParameterKind::attention:
            return "attention";
        case ParameterKind::mlp:
            return "mlp";
        case ParameterKind::norm:
            return "norm";
        case ParameterKind::embedding:
            return "embedding";
        case ParameterKind::head:
            return "head";
    }
    return "";
}

Index Parameter::size() const {
    return std::accumulate(shape.begin(), shape.end(), Index{1}, std::multiplies<>());
}

ParameterId Program::parameter(std::string name, std::vector<Index> shape, ParameterKind kind) {
    parameters_.push_back({std::move(name), std::move(shape), kind});
    return parameters_.size() - 1;
}

ParameterId Program::transposed_parameter(std::string name, std::vector<Index> shape, ParameterKind kind) {
    const ParameterId id = parameter(std::move(name), std::move(shape), kind);
    parameters_[id].transposed = true;
    return id;
}

void Program::idle(ParameterId parameter, Index first, Index last) {
    if (first < last) parameters_[parameter].idle.emplace_back(first, last);
}

void Program::copy_of(std::string name, ParameterId parameter) {
    copies_.emplace_back(std::move(name), parameter);
}

Value Program::new_value(RowSet rows, Index width) {
    values_.push_back({rows, width});
    return {values_.size() - 1};
}

Value Program::append(Operation operation, Value out) {
    operations_.push_back(operation);
    return out;
}

Value Program::embedding(ParameterId table) {
    const Value out = new_value(RowSet::tokens, parameters_[table].shape[1]);
    return append(operation::Embedding{table, out}, out);
}

Value Program::positions(Value in, ParameterId table, Index offset) {
    const Value out = new_value(shape(in).rows, shape(in).width);
    return append(operation::Positions{in, table, offset, out}, out);
}

Value Program::token_type(Value in, ParameterId table) {
    const Value out = new_value(shape(in).rows, shape(in).width);
    return append(operation::TokenType{in, table, out}, out);
}

Value Program::linear(Value in, ParameterId weight, std::optional<ParameterId> bias) {
    const Value out = new_value(shape(in).rows, parameters_[weight].shape[0]);
    return append(operation::Linear{in, weight, bias, out}, out);
}

Value Program::layer_norm(Value in, ParameterId weight, ParameterId bias, double epsilon) {
    const Value out = new_value(shape(in).rows, shape(in).width);
    return append(operation::LayerNorm{in, weight, bias, epsilon, out}, out);
}

Value Program::rms_norm(Value in, ParameterId weight, double epsilon) {
    const Value out = new_value(shape(in).rows, shape(in).width);
    return append(operation::RmsNorm{in, weight, epsilon, out}, out);
}

Value Program::rotary(Value in, Index head_size, std::vector<double> frequencies) {
    const Value out = new_value(shape(in).rows, shape(in).width);
    return append(operation::Rotary{in, head_size, std::move(frequencies), out}, out);
}

Value Program::columns(Value in, Index first, Index width, Index stride, Index runs) {
    const Value out = new_value(shape(in).rows, width * runs);
    return append(operation::Columns{in, first, width, stride, runs, out}, out);
}

Value Program::attention(operation::Attention attention) {
    attention.out = new_value(shape(attention.query).rows, shape(attention.query).width);
    return append(attention, attention.out);
}

Value Program::activate(Value in, Activation function) {
    const Value out = new_value(shape(in).rows, shape(in).width);
    return append(operation::Activate{in, function, out}, out);
}

Value Program::multiply(Value a, Value b) {
    const Value out = new_value(shape(a).rows, shape(a).width);
    return append(operation::Multiply{a, b, out}, out);
}

Value Program::add(Value a, Value b, double factor) {
    const Value out = new_value(shape(a).rows, shape(a).width);
    return append(operation::Add{a, b, factor, out}, out);
}

Program Program::without_operations() const {
    Program copy = *this;
    copy.operations_.clear();
    return copy;
}

Value Program::at_reads(Value in) {
    const Value out = new_value(RowSet::reads, shape(in).width);
    return append(operation::AtReads{in, out}, out);
}

void Program::label_logits(Value in, ParameterId table, std::optional<ParameterId> bias) {
    operations_.push_back(operation::LabelLogits{in, table, bias});
}

}  // namespace tangram
