#include "tangram/model/network_weights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

#include "tangram/error.hpp"
#include "tangram/random.hpp"

namespace tangram {

template <class Real>
NetworkWeights<Real>::NetworkWeights(Program program, const InitialWeights& source,
                                     std::vector<std::int32_t> label_ids)
    : program_(std::move(program)), label_ids_(std::move(label_ids)) {
    if (source.placeholder) {
        make_placeholder(source.deviation);
        return;
    }
    if (source.file != nullptr) held_ = source.file->maps();
    for (const Parameter& parameter : program_.parameters()) {
        Tensor& tensor = tensors_.emplace_back(Tensor{source.template in_place<Real>(parameter), {}});
        if (tensor.data != nullptr) continue;
        tensor.copy = source.template values<Real>(parameter);
        tensor.data = tensor.copy.data();
    }
    check_copies(source);
}

template <class Real>
void NetworkWeights<Real>::make_placeholder(double deviation) {
    // Only what layers multiply is filled; behind it tables stand in pages of zeros that nothing has touched.
    Index multiplied = 0, largest = 0;
    for (const Parameter& parameter : program_.parameters())
        if (parameter.shape.size() > 1) largest = std::max(largest, parameter.size());
    for (const Operation& operation : program_.operations())
        if (const auto* const linear = std::get_if<operation::Linear>(&operation))
            multiplied = std::max(multiplied, program_.parameters()[linear->weight].size());
    const std::shared_ptr<Real> shared(
        static_cast<Real*>(std::calloc(static_cast<std::size_t>(std::max(largest, Index{1})), sizeof(Real))),
        std::free);
    if (shared == nullptr) throw std::bad_alloc();
    constexpr Index period = 4099;  // prime: rows of a matrix differ
    for (Index i = 0; i < std::min(period, multiplied); ++i)
        shared.get()[i] = static_cast<Real>(deviation * random::normal(1, i));
    for (Index i = period; i < multiplied; i += period)
        std::copy_n(shared.get(), std::min(period, multiplied - i), shared.get() + i);
    for (const Parameter& parameter : program_.parameters()) {
        Tensor& tensor = tensors_.emplace_back(Tensor{shared.get(), {}});
        if (parameter.shape.size() > 1) continue;
        tensor.copy = InitialWeights{}.template values<Real>(parameter);
        tensor.data = tensor.copy.data();
    }
    held_ = shared;
}

template <class Real>
void NetworkWeights<Real>::check_copies(const InitialWeights& source) const {
    for (const auto& [name, parameter] : program_.copies()) {
        const Parameter& original = program_.parameters()[parameter];
        if (source.file == nullptr || source.drawn(original)) continue;
        const TensorView* const copy = find_tensor(*source.file, name);
        if (copy == nullptr) continue;
        const std::vector<Real> values = source.file->template read<Real>(*copy);
        if (std::ssize(values) != original.size() ||
            !std::equal(values.begin(), values.end(), tensors_[parameter].data))
            throw Error(ExitStatus::input, ErrorKind::contradiction,
                        fmt::format("{}: tensor {} differs from {}, which config.json ties it to; set "
                                    "tie_word_embeddings to false or take it out of the file",
                                    source.file->name(), name, original.name));
    }
}

template <class Real>
std::span<Real> NetworkWeights<Real>::changeable(ParameterId parameter) {
    Tensor& tensor = tensors_[parameter];
    const auto size = static_cast<std::size_t>(program_.parameters()[parameter].size());
    if (tensor.copy.empty()) {
        tensor.copy.assign(tensor.data, tensor.data + size);
        tensor.data = tensor.copy.data();
    }
    return tensor.copy;
}

template class NetworkWeights<float>;
template class NetworkWeights<double>;

}  // namespace tangram
