#include "tangram/model/first_layers.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "tangram/error.hpp"
#include "tangram/model/factors.hpp"

namespace tangram {

namespace {

/// The number between two dots of a tensor's name; nothing where there is none.
std::optional<Index> layer_of(const std::string& name) {
    for (std::size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
        const std::size_t end = name.find('.', dot + 1);
        const std::string part = name.substr(dot + 1, end == std::string::npos ? end : end - dot - 1);
        if (end != std::string::npos && !part.empty() && part.size() < 9 &&
            part.find_first_not_of("0123456789") == std::string::npos)
            return std::stoll(part);
    }
    return std::nullopt;
}

/// By operation, the value that alone is read by it or later ones among those made before it; nothing where
/// they are several, or none.
std::vector<std::optional<Value>> waists(const Program& program) {
    const auto count = program.operations().size();
    std::vector<std::size_t> last_read(program.values().size(), 0);
    for (std::size_t o = 0; o < count; ++o)
        for (const Value in : inputs_of(program.operations()[o])) last_read[in.id] = o;
    std::vector<std::optional<Value>> result;
    std::vector<Value> alive;
    for (std::size_t o = 0; o < count; ++o) {
        std::erase_if(alive, [&](Value value) { return last_read[value.id] < o; });
        result.push_back(alive.size() == 1 ? std::optional(alive.front()) : std::nullopt);
        if (const auto out = output_of(program.operations()[o])) alive.push_back(*out);
    }
    return result;
}

}  // namespace

Program first_layers(const Program& program, Index layers) {
    const auto& operations = program.operations();
    const auto factors = factors_of(program);
    std::size_t first_left_out = operations.size(), last_of_all = 0;
    for (ParameterId p = 0; p < factors.size(); ++p)
        if (const auto layer = layer_of(program.parameters()[p].name))
            for (const Factor& factor : factors[p]) {
                if (*layer >= layers) first_left_out = std::min(first_left_out, factor.operation);
                last_of_all = std::max(last_of_all, factor.operation);
            }
    const std::vector<std::optional<Value>> alone = waists(program);
    std::size_t begin = first_left_out, end = last_of_all + 1;
    while (begin > 0 && begin < operations.size() && !alone[begin]) --begin;
    while (end < operations.size() && !alone[end]) ++end;
    if (begin == 0 || begin >= end || end >= operations.size())
        throw Error(ExitStatus::input, ErrorKind::out_of_range,
                    fmt::format("the model has no {} layers and one more", layers));

    Program piece = program.without_operations();
    for (std::size_t o = 0; o < begin; ++o) piece.append(operations[o]);
    Value now = *alone[begin];
    if (program.shape(now).rows != program.shape(*alone[end]).rows) now = piece.at_reads(now);
    for (std::size_t o = end; o < operations.size(); ++o) {
        Operation operation = operations[o];
        for (Value* const value : inputs_of(operation))
            if (value->id == alone[end]->id) *value = now;
        piece.append(operation);
    }
    return piece;
}

}  // namespace tangram
