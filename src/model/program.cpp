#include "tangram/model/program.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <type_traits>
#include <utility>

#include "tangram/error.hpp"

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

namespace {

/// Compares the shapes that an operation finds with those that it expects.
class Shapes {
  public:
    Shapes(const Program& program, const char* operation) : program_(program), operation_(operation) {}

    /// @param expected  any_size where all sizes will do
    void tensor(ParameterId parameter, const std::vector<Index>& expected) const {
        if (parameter >= program_.parameters().size())
            refuse(fmt::format("asks for parameter {} of {}", parameter, program_.parameters().size()));
        const Parameter& found = program_.parameters()[parameter];
        if (std::ranges::equal(found.shape, expected,
                               [](Index is, Index asked) { return asked == any_size || is == asked; }))
            return;
        std::vector<std::string> sizes;
        for (const Index size : expected) sizes.push_back(size == any_size ? "any" : std::to_string(size));
        refuse(fmt::format("expects {} of shape [{}], found [{}]", found.name, fmt::join(sizes, ", "),
                           fmt::join(found.shape, ", ")));
    }
    /// A table of at least so many rows.
    void table(ParameterId parameter, Index rows, Index width) const {
        tensor(parameter, {any_size, width});
        const Parameter& found = program_.parameters()[parameter];
        if (found.shape[0] < rows)
            refuse(fmt::format("expects {} of at least {} rows, found {}", found.name, rows, found.shape[0]));
    }
    ValueShape of(Value value, const char* role) const {
        if (value.id >= program_.values().size())
            refuse(
                fmt::format("asks for value {} of {} as its {}", value.id, program_.values().size(), role));
        return program_.shape(value);
    }
    void value(Value value, const char* role, ValueShape expected) const {
        const ValueShape found = of(value, role);
        const auto name = [](RowSet rows) { return rows == RowSet::tokens ? "tokens" : "reads"; };
        holds(found.rows == expected.rows && found.width == expected.width,
              fmt::format("expects an {} of {} columns and the rows of {}, found {} and {}", role,
                          expected.width, name(expected.rows), found.width, name(found.rows)));
    }
    void holds(bool so, const std::string& problem) const {
        if (!so) refuse(problem);
    }

    static constexpr Index any_size = -1;

  private:
    [[noreturn]] void refuse(const std::string& problem) const {
        throw Error(ExitStatus::input, ErrorKind::contradiction,
                    fmt::format("operation {}: {}", operation_, problem));
    }

    const Program& program_;
    const char* operation_;
};

// The shape of what each operation writes, once those of what it reads are checked.

ValueShape output_shape(const Program& program, const operation::Embedding& op) {
    const Shapes shapes(program, "embedding");
    shapes.table(op.table, program.vocabulary_size, Shapes::any_size);
    return {RowSet::tokens, program.parameters()[op.table].shape[1]};
}
ValueShape output_shape(const Program& program, const operation::Positions& op) {
    const Shapes shapes(program, "positions");
    const ValueShape in = shapes.of(op.in, "input");
    shapes.holds(op.offset >= 0, fmt::format("expects an offset of at least 0, found {}", op.offset));
    shapes.table(op.table, program.maximum_length + op.offset, in.width);
    return in;
}
ValueShape output_shape(const Program& program, const operation::TokenType& op) {
    const Shapes shapes(program, "token type");
    const ValueShape in = shapes.of(op.in, "input");
    shapes.table(op.table, 1, in.width);
    return in;
}
ValueShape output_shape(const Program& program, const operation::Linear& op) {
    const Shapes shapes(program, "linear");
    const ValueShape in = shapes.of(op.in, "input");
    shapes.tensor(op.weight, {Shapes::any_size, in.width});
    const Index width = program.parameters()[op.weight].shape[0];
    if (op.bias) shapes.tensor(*op.bias, {width});
    return {in.rows, width};
}
ValueShape output_shape(const Program& program, const operation::LayerNorm& op) {
    const Shapes shapes(program, "layer norm");
    const ValueShape in = shapes.of(op.in, "input");
    shapes.tensor(op.weight, {in.width});
    if (op.bias) shapes.tensor(*op.bias, {in.width});
    return in;
}
ValueShape output_shape(const Program& program, const operation::RmsNorm& op) {
    const Shapes shapes(program, "RMS norm");
    const ValueShape in = shapes.of(op.in, "input");
    shapes.tensor(op.weight, {Shapes::any_size});
    if (const Index width = program.parameters()[op.weight].shape[0]; in.width % width != 0)
        shapes.tensor(op.weight, {in.width});
    return in;
}
ValueShape output_shape(const Program& program, const operation::Rotary& op) {
    const Shapes shapes(program, "rotary positions");
    const ValueShape in = shapes.of(op.in, "input");
    shapes.holds(
        op.head_size > 0 && in.width % op.head_size == 0,
        fmt::format("expects an input of whole heads of {} columns, found {}", op.head_size, in.width));
    const RotaryAngles& angles = op.angles;
    shapes.holds(2 * std::ssize(angles.frequencies) <= op.head_size,
                 fmt::format("expects at most {} frequencies for a head of {} columns, found {}",
                             op.head_size / 2, op.head_size, angles.frequencies.size()));
    shapes.holds(
        angles.long_frequencies.empty() || angles.long_frequencies.size() == angles.frequencies.size(),
        fmt::format("expects {} frequencies for long texts, found {}", angles.frequencies.size(),
                    angles.long_frequencies.size()));
    return in;
}
ValueShape output_shape(const Program& program, const operation::Columns& op) {
    const Shapes shapes(program, "columns");
    const ValueShape in = shapes.of(op.in, "input");
    shapes.holds(op.first >= 0 && op.width > 0 && op.stride >= 0 && op.runs > 0,
                 fmt::format("expects runs of columns, found {} of {} columns from {} on in steps of {}",
                             op.runs, op.width, op.first, op.stride));
    const Index last = op.first + (op.runs - 1) * op.stride + op.width;
    shapes.holds(last <= in.width,
                 fmt::format("expects an input of at least {} columns, found {}", last, in.width));
    return {in.rows, op.runs * op.width};
}
ValueShape output_shape(const Program& program, const operation::Attention& op) {
    const Shapes shapes(program, "attention");
    shapes.holds(
        op.heads > 0 && op.key_value_heads > 0 && op.head_size > 0 && op.heads % op.key_value_heads == 0,
        fmt::format("expects a multiple of its key and value heads as heads, found {} heads for {}", op.heads,
                    op.key_value_heads));
    shapes.holds(!op.window || *op.window > 0,
                 fmt::format("expects a window of at least 1, found {}", op.window.value_or(0)));
    shapes.holds(!op.cap || *op.cap > 0, fmt::format("expects a positive cap, found {}", op.cap.value_or(0)));
    const ValueShape query{shapes.of(op.query, "query").rows, op.heads * op.head_size};
    const ValueShape key{RowSet::tokens, op.key_value_heads * op.head_size};
    shapes.value(op.query, "input (query)", query);
    shapes.value(op.key, "input (key)", key);
    shapes.value(op.value, "input (value)", key);
    return query;
}
ValueShape output_shape(const Program& program, const operation::Activate& op) {
    return Shapes(program, "activation").of(op.in, "input");
}
ValueShape output_shape(const Program& program, const operation::Multiply& op) {
    const Shapes shapes(program, "multiply");
    shapes.value(op.b, "input", shapes.of(op.a, "input"));
    return program.shape(op.a);
}
ValueShape output_shape(const Program& program, const operation::Add& op) {
    const Shapes shapes(program, "add");
    shapes.value(op.b, "input", shapes.of(op.a, "input"));
    return program.shape(op.a);
}
ValueShape output_shape(const Program& program, const operation::Scale& op) {
    return Shapes(program, "scale").of(op.in, "input");
}
ValueShape output_shape(const Program& program, const operation::AtReads& op) {
    const Shapes shapes(program, "rows that are read");
    const Index width = shapes.of(op.in, "input").width;
    shapes.value(op.in, "input", {RowSet::tokens, width});
    return {RowSet::reads, width};
}
ValueShape output_shape(const Program& program, const operation::TokenMean& op) {
    const Shapes shapes(program, "mean over tokens");
    const Index width = shapes.of(op.in, "input").width;
    shapes.value(op.in, "input", {RowSet::tokens, width});
    return {RowSet::reads, width};
}
void check(const Program& program, const operation::LabelLogits& op) {
    const Shapes shapes(program, "label logits");
    const Index width = shapes.of(op.in, "input").width;
    shapes.value(op.in, "input", {RowSet::reads, width});
    shapes.table(op.table, 1, width);
    if (op.bias) shapes.tensor(*op.bias, {program.parameters()[op.table].shape[0]});
    shapes.holds(!op.cap || *op.cap > 0, fmt::format("expects a positive cap, found {}", op.cap.value_or(0)));
}

void check(const Program& program, const operation::AnswerLikelihood& op) {
    const Shapes shapes(program, "answer likelihood");
    const Index width = shapes.of(op.in, "input").width;
    shapes.value(op.in, "input", {RowSet::reads, width});
    shapes.table(op.table, program.vocabulary_size, width);
    shapes.holds(!op.cap || *op.cap > 0, fmt::format("expects a positive cap, found {}", op.cap.value_or(0)));
}

/// Whether an operation makes the outputs: the last one.
template <class AnOperation>
constexpr bool makes_outputs = std::is_same_v<AnOperation, operation::LabelLogits> ||
                               std::is_same_v<AnOperation, operation::AnswerLikelihood>;

// Inputs of each operation; there is no rule for others, so that one that is not listed does not compile.

using Inputs = std::vector<Value*>;
Inputs inputs(operation::Embedding&) { return {}; }
Inputs inputs(operation::Positions& op) { return {&op.in}; }
Inputs inputs(operation::TokenType& op) { return {&op.in}; }
Inputs inputs(operation::Linear& op) { return {&op.in}; }
Inputs inputs(operation::LayerNorm& op) { return {&op.in}; }
Inputs inputs(operation::RmsNorm& op) { return {&op.in}; }
Inputs inputs(operation::Rotary& op) { return {&op.in}; }
Inputs inputs(operation::Columns& op) { return {&op.in}; }
Inputs inputs(operation::Attention& op) { return {&op.query, &op.key, &op.value}; }
Inputs inputs(operation::Activate& op) { return {&op.in}; }
Inputs inputs(operation::Multiply& op) { return {&op.a, &op.b}; }
Inputs inputs(operation::Add& op) { return {&op.a, &op.b}; }
Inputs inputs(operation::Scale& op) { return {&op.in}; }
Inputs inputs(operation::AtReads& op) { return {&op.in}; }
Inputs inputs(operation::TokenMean& op) { return {&op.in}; }
Inputs inputs(operation::LabelLogits& op) { return {&op.in}; }
Inputs inputs(operation::AnswerLikelihood& op) { return {&op.in}; }

}  // namespace

std::vector<Value*> inputs_of(Operation& operation) {
    return std::visit([](auto& op) { return inputs(op); }, operation);
}

std::vector<Value> inputs_of(const Operation& operation) {
    Operation copy = operation;
    std::vector<Value> values;
    for (const Value* const value : inputs_of(copy)) values.push_back(*value);
    return values;
}

std::optional<Value> output_of(const Operation& operation) {
    return std::visit(
        []<class AnOperation>(const AnOperation& op) -> std::optional<Value> {
            if constexpr (makes_outputs<AnOperation>)
                return std::nullopt;
            else
                return op.out;
        },
        operation);
}

template <class AnOperation>
Value Program::append_with_output(AnOperation operation) {
    values_.push_back(output_shape(*this, operation));
    operation.out = {values_.size() - 1};
    operations_.push_back(operation);
    return operation.out;
}

void Program::append(Operation operation) {
    std::visit(
        [&]<class AnOperation>(const AnOperation& op) {
            if constexpr (makes_outputs<AnOperation>)
                check(*this, op);
            else
                Shapes(*this, "appended").value(op.out, "output", output_shape(*this, op));
        },
        operation);
    operations_.push_back(std::move(operation));
}

Value Program::embedding(ParameterId table) { return append_with_output(operation::Embedding{table, {}}); }

Value Program::positions(Value in, ParameterId table, Index offset) {
    return append_with_output(operation::Positions{in, table, offset, {}});
}

Value Program::token_type(Value in, ParameterId table) {
    return append_with_output(operation::TokenType{in, table, {}});
}

Value Program::linear(Value in, ParameterId weight, std::optional<ParameterId> bias) {
    return append_with_output(operation::Linear{in, weight, bias, {}});
}

Value Program::layer_norm(Value in, ParameterId weight, std::optional<ParameterId> bias, double epsilon) {
    return append_with_output(operation::LayerNorm{in, weight, bias, epsilon, {}});
}

Value Program::rms_norm(Value in, ParameterId weight, double epsilon, double shift) {
    return append_with_output(operation::RmsNorm{in, weight, epsilon, shift, {}});
}

Value Program::rotary(Value in, Index head_size, RotaryAngles angles) {
    return append_with_output(operation::Rotary{in, head_size, std::move(angles), {}});
}

Value Program::columns(Value in, Index first, Index width, Index stride, Index runs) {
    return append_with_output(operation::Columns{in, first, width, stride, runs, {}});
}

Value Program::attention(operation::Attention attention) { return append_with_output(attention); }

Value Program::activate(Value in, Activation function) {
    return append_with_output(operation::Activate{in, function, {}});
}

Value Program::multiply(Value a, Value b) { return append_with_output(operation::Multiply{a, b, {}}); }

Value Program::add(Value a, Value b, double factor) {
    return append_with_output(operation::Add{a, b, factor, {}});
}

Value Program::scale(Value in, double factor) { return append_with_output(operation::Scale{in, factor, {}}); }

Value Program::at_reads(Value in) { return append_with_output(operation::AtReads{in, {}}); }

Value Program::token_mean(Value in) { return append_with_output(operation::TokenMean{in, {}}); }

void Program::label_logits(Value in, ParameterId table, std::optional<ParameterId> bias,
                           std::optional<double> cap) {
    append(operation::LabelLogits{in, table, bias, cap});
}

void Program::set_labels(Index labels) {
    const auto& head = std::get<operation::LabelLogits>(operations_.back());
    parameters_[head.table].shape.front() = labels;
    if (head.bias) parameters_[*head.bias].shape.front() = labels;
}

void Program::score_answers(bool mean) {
    const auto head = std::get<operation::LabelLogits>(operations_.back());
    if (reading != Reading::last_token || head.bias)
        throw Error(
            ExitStatus::study, ErrorKind::unsupported,
            "data.score: log-likelihoods are those of causal language models whose head has no bias; use "
            "\"logit\" with this model");
    operations_.pop_back();
    append(operation::AnswerLikelihood{head.in, head.table, mean, head.cap});
}

Program Program::without_operations() const {
    Program copy = *this;
    copy.operations_.clear();
    return copy;
}

}  // namespace tangram
