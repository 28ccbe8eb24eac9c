#include "tangram/model/initial_weights.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "tangram/error.hpp"
#include "tangram/model/lora.hpp"
#include "tangram/random.hpp"

namespace tangram {

namespace {

/// @throws Error(input) naming file and tensor that is missing or of another shape
void check_shape(const Weights& weights, const TensorView* tensor, const Parameter& parameter) {
    if (tensor == nullptr)
        throw Error(ExitStatus::input, ErrorKind::missing,
                    fmt::format("{}: tensor {} is missing; the model's config.json asks for it",
                                weights.name(), parameter.name));
    std::vector<Index> stored = parameter.shape;
    if (parameter.transposed) std::reverse(stored.begin(), stored.end());
    if (tensor->shape != stored)
        throw Error(ExitStatus::input, ErrorKind::contradiction,
                    fmt::format("{}: tensor {} has shape [{}], config.json asks for [{}]", weights.name(),
                                tensor->name, fmt::join(tensor->shape, ", "), fmt::join(stored, ", ")));
}

/// Reads a tensor as `shape` has it; a file may hold it transposed.
template <class Real>
std::vector<Real> read(const Weights& weights, const TensorView& tensor, const Parameter& parameter) {
    std::vector<Real> values = weights.template read<Real>(tensor);
    if (!parameter.transposed) return values;
    const Index rows = parameter.shape[1], columns = parameter.shape[0];  // as stored
    std::vector<Real> turned(values.size());
    for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < columns; ++j)
            turned[static_cast<std::size_t>(j * rows + i)] =
                values[static_cast<std::size_t>(i * columns + j)];
    return turned;
}

/// Normal numbers of one tensor.
template <class Real>
std::vector<Real> draw(std::uint64_t seed, const Parameter& parameter, double deviation) {
    const std::uint64_t key = random::key_of(seed, parameter.name);
    std::vector<Real> values(static_cast<std::size_t>(parameter.size()));
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<Real>(deviation * random::normal(key, static_cast<Index>(i)));
    return values;
}

}  // namespace

const TensorView* InitialWeights::stored(const Parameter& parameter) const {
    if (given.contains(parameter.name)) return nullptr;
    const bool of_adapter = is_lora(parameter);
    const Weights* const from = of_adapter ? adapter : drawn(parameter) ? nullptr : file;
    if (from == nullptr) return nullptr;
    const TensorView* const tensor =
        of_adapter ? find_factor(*from, parameter.name) : find_tensor(*from, parameter.name);
    check_shape(*from, tensor, parameter);
    return tensor;
}

namespace {

/// The name of a LoRA factor of a weight.
std::string factor_name(const Parameter& weight, const char* factor) {
    return weight.name.substr(0, weight.name.rfind(".weight")) + factor;
}

/// Adds scale B A to the values of a weight [d_out, d_in], each sum over the rank in float64 and in order.
template <class Real>
void add_product(const InitialWeights& source, const Parameter& weight, std::vector<Real>& values) {
    const auto factor = [&](const char* name) {
        return source.adapter->read<double>(*find_factor(*source.adapter, factor_name(weight, name)));
    };
    const std::vector<double> A = factor(".lora_A.weight"), B = factor(".lora_B.weight");
    const auto d_out = static_cast<std::size_t>(weight.shape[0]),
               d_in = static_cast<std::size_t>(weight.shape[1]), rank = A.size() / d_in;
    std::vector<double> row(d_in);
    for (std::size_t i = 0; i < d_out; ++i) {
        std::ranges::fill(row, 0.0);
        for (std::size_t k = 0; k < rank; ++k)
            for (std::size_t j = 0; j < d_in; ++j) row[j] += B[i * rank + k] * A[k * d_in + j];
        for (std::size_t j = 0; j < d_in; ++j) {
            Real& value = values[i * d_in + j];
            value = static_cast<Real>(static_cast<double>(value) + source.merged_scale * row[j]);
        }
    }
}

}  // namespace

bool InitialWeights::is_adapted(const Parameter& parameter) const {
    return adapter != nullptr && merged_scale != 0 && !is_lora(parameter) && parameter.shape.size() == 2 &&
           find_factor(*adapter, factor_name(parameter, ".lora_A.weight")) != nullptr;
}

template <class Real>
std::vector<Real> InitialWeights::values(const Parameter& parameter) const {
    if (is_adapted(parameter)) {
        InitialWeights base = *this;
        base.adapter = nullptr;
        std::vector<Real> sum = base.values<Real>(parameter);
        add_product(*this, parameter, sum);
        return sum;
    }
    const auto size = static_cast<std::size_t>(parameter.size());
    if (const auto found = given.find(parameter.name); found != given.end())
        return {found->second.begin(), found->second.end()};
    if (const TensorView* const tensor = stored(parameter))
        return read<Real>(is_lora(parameter) ? *adapter : *file, *tensor, parameter);
    if (is_lora(parameter)) {
        if (is_lora_b(parameter)) return std::vector<Real>(size, Real(0));
        return draw<Real>(lora_seed, parameter, 1 / std::sqrt(static_cast<double>(parameter.shape[0])));
    }
    if (parameter.shape.size() > 1) return draw<Real>(seed, parameter, deviation);
    const bool scale = parameter.kind == ParameterKind::norm && parameter.name.ends_with("weight") &&
                       !parameter.drawn_as_zeros;
    return std::vector<Real>(size, scale ? Real(1) : Real(0));
}

template std::vector<float> InitialWeights::values(const Parameter&) const;
template std::vector<double> InitialWeights::values(const Parameter&) const;

const TensorView* InitialWeights::in_place(const Parameter& parameter) const {
    return is_lora(parameter) || is_adapted(parameter) ? nullptr : stored(parameter);
}

const TensorView* find_tensor(const Weights& weights, const std::string& name) {
    std::vector<std::string> names{name};
    if (const auto dot = name.find('.'); dot != std::string::npos) names.push_back(name.substr(dot + 1));
    for (const std::string& candidate : names)
        if (const TensorView* const tensor = weights.find(candidate)) return tensor;
    for (const auto& [now, once] :
         {std::pair{"LayerNorm.weight", "LayerNorm.gamma"}, std::pair{"LayerNorm.bias", "LayerNorm.beta"}})
        for (std::string candidate : names)
            if (candidate.ends_with(now)) {
                candidate.replace(candidate.size() - std::string_view(now).size(), std::string::npos, once);
                if (const TensorView* const tensor = weights.find(candidate)) return tensor;
            }
    return nullptr;
}

}  // namespace tangram
