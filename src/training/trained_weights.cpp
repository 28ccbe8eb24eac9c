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
    std::size_t i = 0;
    for (const ParameterId p : parameters.parameters)
        for (Real& weight : network.weights(p)) weight = static_cast<Real>(optimizer.weight(i++));
}

template std::vector<double> weights_of(Network<float>&, const ParameterVector&);
template std::vector<double> weights_of(Network<double>&, const ParameterVector&);
template void set_weights(Network<float>&, const ParameterVector&, const Optimizer&);
template void set_weights(Network<double>&, const ParameterVector&, const Optimizer&);

}  // namespace tangram
