#include "tangram/model/pass_back_end.hpp"

#include <algorithm>
#include <type_traits>

#include "tangram/arithmetic.hpp"

namespace tangram {

namespace {

constexpr double padding = 256;  ///< bytes, of each part of a buffer
/// Of a row among its block: where it stands (five numbers), and as an example's (four and six).
constexpr double row_bytes = 2 * (5 + 10 + 4) * sizeof(Index);

/// Entries that one row, or one token, adds beside the values and their gradients.
template <class Real>
double beside_values(const Program& program, const Operation& operation) {
    return std::visit(
        [&]<class AnOperation>(const AnOperation& op) {
            if constexpr (std::is_same_v<AnOperation, operation::Activate>)
                return static_cast<double>(program.shape(op.in).width);
            else if constexpr (std::is_same_v<AnOperation, operation::LayerNorm>)
                return 2.0;
            else if constexpr (std::is_same_v<AnOperation, operation::RmsNorm>)
                return 2.0 * static_cast<double>(program.shape(op.in).width) /
                       static_cast<double>(program.parameters()[op.weight].size());
            else
                return 0.0;
        },
        operation);
}

/// Entries that do not grow with the tokens of a block, but for the longest example's.
double fixed_entries(const Operation& operation, double longest, double& scratch) {
    return std::visit(
        [&]<class AnOperation>(const AnOperation& op) {
            if constexpr (std::is_same_v<AnOperation, operation::Rotary>) {
                return 2 * longest *
                       static_cast<double>(op.angles.frequencies.size() + op.angles.long_frequencies.size());
            } else {
                if constexpr (std::is_same_v<AnOperation, operation::Attention>)
                    scratch =
                        std::max(scratch, 3 * std::max(static_cast<double>(PassSizes().attention_entries),
                                                       static_cast<double>(op.heads) * longest * longest));
                if constexpr (std::is_same_v<AnOperation, operation::AnswerLikelihood>)
                    scratch = std::max(scratch, static_cast<double>(PassSizes().vocabulary_rows *
                                                                    arithmetic::vocabulary_block));
                return 0.0;
            }
        },
        operation);
}

/// Entries of a row of all values and gradients that the parameters' factors take.
double copied_entries(const Program& program, std::span<const ParameterId> wanted) {
    const std::vector<std::vector<Factor>> factors = factors_of(program);
    std::vector<bool> inputs(program.values().size(), false), deltas = inputs;
    for (const ParameterId p : wanted)
        for (const Factor& factor : factors[p]) {
            if (factor.kind == Factor::Kind::sum || factor.kind == Factor::Kind::normalised) continue;
            if (factor.from_label() || factor.kind == Factor::Kind::outer) inputs[factor.input.id] = true;
            if (!factor.from_label()) deltas[factor.delta.id] = true;
        }
    double entries = 0;
    for (std::size_t v = 0; v < inputs.size(); ++v)
        entries +=
            static_cast<double>(program.values()[v].width) * ((inputs[v] ? 1 : 0) + (deltas[v] ? 1 : 0));
    return entries;
}

}  // namespace

double PassNeeds::bytes(Index longest) const {
    return weights + fixed + token * static_cast<double>(std::max(tokens, longest));
}

double PassNeeds::least(Index longest) const {
    return weights + fixed + token * static_cast<double>(longest);
}

template <class Real>
double weights_in_passes(const Program& program, const InitialWeights& source) {
    double bytes = 0;
    for (const Parameter& parameter : program.parameters()) {
        const TensorView* const stored = parameter.shape.size() > 1 ? source.in_place(parameter) : nullptr;
        const Index entry =
            stored != nullptr && stays_stored(stored->dtype) ? bytes_of(stored->dtype) : Index{sizeof(Real)};
        bytes += static_cast<double>(entry * parameter.size()) + padding;
    }
    return bytes;
}

template <class Real>
PassNeeds pass_needs(const Program& program, Index longest, Index labels, std::span<const ParameterId> wanted,
                     double memory, double weights) {
    constexpr double entry = sizeof(Real);
    constexpr Index most_tokens = Index{1} << 16;  // blocks of a small model that keep a GPU busy
    PassNeeds needs;
    double widest = 0, scratch = 0, rotary = 0, wide = 0;
    needs.weights = weights;
    for (const std::vector<Factor>& factors : factors_of(program))
        for (const Factor& factor : factors)
            if (factor.kind == Factor::Kind::sum || factor.kind == Factor::Kind::normalised)
                widest = std::max(widest, static_cast<double>(program.shape(factor.delta).width));
    for (const ValueShape& value : program.values()) wide += 2 * static_cast<double>(value.width);
    for (const Operation& operation : program.operations()) {
        wide += beside_values<Real>(program, operation);
        rotary += fixed_entries(operation, static_cast<double>(longest), scratch);
    }
    const auto parts = static_cast<double>(2 * program.values().size() + 4 * program.operations().size());
    needs.fixed = entry * (rotary + scratch) + padding * (parts + 64);
    // Of a token as if it were an example too: logits, seeds, three numbers over a vocabulary, a vector's
    // sum.
    needs.token = entry * (wide + 2 * static_cast<double>(labels) + 2 * widest) + row_bytes + 64;
    const double left = std::min(pass_block_bytes, memory - needs.weights - needs.fixed);
    needs.copies = entry * copied_entries(program, wanted);
    needs.tokens = std::clamp(static_cast<Index>(std::max(0.0, left / needs.token)), Index{1}, most_tokens);
    return needs;
}

template double weights_in_passes<float>(const Program&, const InitialWeights&);
template double weights_in_passes<double>(const Program&, const InitialWeights&);
template PassNeeds pass_needs<float>(const Program&, Index, Index, std::span<const ParameterId>, double,
                                     double);
template PassNeeds pass_needs<double>(const Program&, Index, Index, std::span<const ParameterId>, double,
                                      double);

}  // namespace tangram
