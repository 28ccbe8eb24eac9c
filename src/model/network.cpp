#include "tangram/model/network.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace tangram {

RowRange TokenBlock::rows_of(RowSet set, Index example) const {
    const auto e = static_cast<std::size_t>(example);
    if (set == RowSet::tokens) return {offsets[e], offsets[e + 1]};
    if (predicted_offsets.empty()) return {example, example + 1};
    return {predicted_offsets[e], predicted_offsets[e + 1]};
}

Index TokenBlock::longest() const {
    Index longest = 0;
    for (std::size_t e = 0; e + 1 < offsets.size(); ++e)
        longest = std::max(longest, offsets[e + 1] - offsets[e]);
    return longest;
}

template <class Real>
Network<Real>::Network(Program program, const Weights& weights, std::vector<std::int32_t> label_ids)
    : Network(std::move(program), InitialWeights{.file = &weights}, std::move(label_ids)) {}

template <class Real>
Network<Real>::Network(Program program, const InitialWeights& weights, std::vector<std::int32_t> label_ids)
    : Network(std::make_shared<NetworkWeights<Real>>(std::move(program), weights, std::move(label_ids)),
              passes_on_processor<Real>) {}

template <class Real>
Network<Real>::Network(std::shared_ptr<NetworkWeights<Real>> weights, Executor<Real> executor)
    : weights_(std::move(weights)), executor_(std::move(executor)), passes_(executor_(weights_)) {}

template <class Real>
void Network<Real>::backward(std::span<const Real> seeds) {
    std::vector<ParameterId> all(program().parameters().size());
    std::iota(all.begin(), all.end(), ParameterId{0});
    backward(seeds, all);
}

template class Network<float>;
template class Network<double>;

}  // namespace tangram
