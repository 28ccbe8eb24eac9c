#include "tangram/model/network_weights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tangram/error.hpp"

namespace tangram {

template <class Real>
NetworkWeights<Real>::NetworkWeights(Program program, const InitialWeights& source,
                                     std::vector<std::int32_t> label_ids)
    : program_(std::move(program)), label_ids_(std::move(label_ids)) {
    if (source.file != nullptr) held_ = source.file->maps();
    for (const Parameter& parameter : program_.parameters()) {
        Tensor& tensor = tensors_.emplace_back(source.template in_place<Real>(parameter));
        if (tensor.data != nullptr) continue;
        tensor.copy = source.template values<Real>(parameter);
        tensor.data = tensor.copy.data();
    }
    check_copies(source);
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
            throw Error(ExitStatus::input,
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
