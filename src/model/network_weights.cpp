#include "tangram/model/network_weights.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

#include "tangram/error.hpp"
#include "tangram/random.hpp"

namespace tangram {

namespace {

/// Rows of entries one behind the other; a vector is one row.
StoredMatrix matrix_at(const void* first, DType type, const std::vector<Index>& shape) {
    return {static_cast<const std::byte*>(first), type, shape.back(), 1};
}

/// Whether two tensors hold the same numbers, of whatever types.
bool equal(const TensorView& a, const TensorView& b) {
    if (a.shape != b.shape) return false;
    bool same = true;
    with_entries<double>(a.dtype, [&](auto of_a) {
        with_entries<double>(b.dtype, [&](auto of_b) {
            for (Index i = 0; i < a.size() && same; ++i)
                same = of_a(a.bytes.data(), i) == of_b(b.bytes.data(), i);
        });
    });
    return same;
}

}  // namespace

template <class Real>
NetworkWeights<Real>::NetworkWeights(Program program, const InitialWeights& source,
                                     std::vector<std::int32_t> label_ids)
    : program_(std::move(program)), label_ids_(std::move(label_ids)) {
    if (source.placeholder) {
        make_placeholder(source.deviation);
        return;
    }
    if (source.file != nullptr) held_.push_back(source.file->maps());
    held_.push_back(source.memory);
    for (const Parameter& parameter : program_.parameters()) {
        Tensor& tensor = tensors_.emplace_back();
        if (const auto found = source.shared.find(parameter.name); found != source.shared.end()) {
            tensor.matrix = matrix_at(found->second.first, found->second.type, parameter.shape);
            continue;
        }
        const TensorView* const stored =
            parameter.shape.size() > 1 ? source.in_place(parameter) : nullptr;  // vectors are small
        if (stored == nullptr) {
            hold(tensor, parameter, source.template values<Real>(parameter));
            continue;
        }
        source.file->template check_finite<Real>(*stored);
        tensor.matrix = matrix_at(stored->bytes.data(), stored->dtype, stored->shape);
        if (parameter.transposed) tensor.matrix = tensor.matrix.transposed();
    }
    check_copies(source);
}

template <class Real>
void NetworkWeights<Real>::hold(Tensor& tensor, const Parameter& parameter, std::vector<Real> values) {
    tensor.copy = std::move(values);
    tensor.matrix = matrix_at(tensor.copy.data(), dtype_of<Real>, parameter.shape);
}

template <class Real>
const Real* NetworkWeights<Real>::values(ParameterId parameter) const {
    const Tensor& tensor = tensors_[parameter];
    if (tensor.copy.empty())
        throw std::logic_error("a matrix that stands in a file has no values of its own");
    return tensor.copy.data();
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
        Tensor& tensor = tensors_.emplace_back();
        tensor.matrix = matrix_at(shared.get(), dtype_of<Real>, parameter.shape);
        if (parameter.shape.size() == 1)
            hold(tensor, parameter, InitialWeights{}.template values<Real>(parameter));
    }
    held_.push_back(shared);
}

template <class Real>
void NetworkWeights<Real>::check_copies(const InitialWeights& source) const {
    for (const auto& [name, parameter] : program_.copies()) {
        const Parameter& original = program_.parameters()[parameter];
        if (source.file == nullptr || source.drawn(original)) continue;
        const TensorView* const copy = find_tensor(*source.file, name);
        const TensorView* const stored = source.stored(original);
        if (copy != nullptr && stored != nullptr && !equal(*copy, *stored))
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
    if (!tensor.copy.empty()) return tensor.copy;
    std::vector<Real> copy(size);
    const Index d_in = program_.parameters()[parameter].shape.back();
    with_entries<Real>(tensor.matrix.type, [&](auto entry) {
        for (Index i = 0; i < std::ssize(copy); ++i)
            copy[static_cast<std::size_t>(i)] = entry(tensor.matrix.at(i / d_in, i % d_in), 0);
    });
    hold(tensor, program_.parameters()[parameter], std::move(copy));
    return tensor.copy;
}

template class NetworkWeights<float>;
template class NetworkWeights<double>;

}  // namespace tangram
