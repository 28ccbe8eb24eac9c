#include "tangram/model/factors.hpp"

namespace tangram {

namespace {

template <class... Functions>
struct Overloaded : Functions... {
    using Functions::operator()...;
};
template <class... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

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
                    if (op.bias) add(*op.bias, Kind::sum, op.out, op.in);
                },
                [&](const operation::RmsNorm& op) { add(op.weight, Kind::normalised, op.out, op.in); },
                [&](const operation::LabelLogits& op) {
                    add(op.table, Kind::label_rows, op.in, op.in);
                    if (op.bias) add(*op.bias, Kind::label_entries, op.in, op.in);
                },
                [&](const operation::AnswerLikelihood& op) { add(op.table, Kind::vocabulary, op.in, op.in); },
                // Without parameters; an operation that is not listed does not compile.
                [](const operation::Rotary&) {},
                [](const operation::Attention&) {},
                [](const operation::Columns&) {},
                [](const operation::Activate&) {},
                [](const operation::Multiply&) {},
                [](const operation::Add&) {},
                [](const operation::Scale&) {},
                [](const operation::AtReads&) {},
                [](const operation::TokenMean&) {},
            },
            program.operations()[o]);
    }
    return factors;
}

bool is_linear(const std::vector<Factor>& factors) {
    return factors.size() == 1 && factors.front().kind == Factor::Kind::outer;
}

bool is_vocabulary(const std::vector<Factor>& factors) {
    return factors.size() == 1 && factors.front().kind == Factor::Kind::vocabulary;
}

std::vector<bool> needed_gradients(const Program& program, const std::vector<std::vector<Factor>>& factors,
                                   std::span<const ParameterId> wanted) {
    std::vector<bool> needed(program.values().size(), false);
    for (const ParameterId p : wanted)
        for (const Factor& factor : factors[p])
            if (!factor.from_label()) needed[factor.delta.id] = true;
    for (const Operation& operation : program.operations())
        if (const std::optional<Value> out = output_of(operation))
            for (const Value in : inputs_of(operation))
                if (needed[in.id]) needed[out->id] = true;
    return needed;
}

}  // namespace tangram
