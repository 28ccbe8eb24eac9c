#include "tangram/training/trained_weights.hpp"

#include <algorithm>

namespace tangram {

template <class Real>
std::vector<double> weights_of(Network<Real>& network, const ParameterVector& parameters) {
    std::vector<double> weights;
    weights.reserve(static_cast<std::size_t>(parameters.size()));
    for (const ParameterId p : parameters.parameters)
        std::ranges::copy(network.weights(p), std::back_inserter(weights));
    return weights;
}

template <class Real>
void set_weights(Network<Real>& network, const ParameterVector& parameters, const Optimizer& optimizer) {
    set_weights(network, parameters, optimizer, 0, parameters.size());
}

template <class Real>
void set_weights(Network<Real>& network, const ParameterVector& parameters, const Optimizer& optimizer,
                 Index first, Index last) {
    const std::vector<Index>& offsets = parameters.offsets;
    for (std::size_t p = 0; p < parameters.parameters.size(); ++p) {
        const Index from = std::max(first, offsets[p]), to = std::min(last, offsets[p + 1]);
        if (from >= to) continue;
        const std::span<Real> weights = network.weights(parameters.parameters[p]);
        for (Index i = from; i < to; ++i)
            weights[static_cast<std::size_t>(i - offsets[p])] =
                static_cast<Real>(optimizer.weight(static_cast<std::size_t>(i)));
    }
}

template std::vector<double> weights_of(Network<float>&, const ParameterVector&);
template std::vector<double> weights_of(Network<double>&, const ParameterVector&);
template void set_weights(Network<float>&, const ParameterVector&, const Optimizer&);
template void set_weights(Network<double>&, const ParameterVector&, const Optimizer&);
template void set_weights(Network<float>&, const ParameterVector&, const Optimizer&, Index, Index);
template void set_weights(Network<double>&, const ParameterVector&, const Optimizer&, Index, Index);

}  // namespace tangram
