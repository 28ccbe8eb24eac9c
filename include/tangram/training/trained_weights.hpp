#pragma once
#include <vector>

#include "tangram/training/loss_gradient.hpp"
#include "tangram/training/optimizer.hpp"

namespace tangram {

/// A network's weights of some parameters, which become the network's own copy that may be changed. Local.
template <class Real>
std::vector<double> weights_of(Network<Real>& network, const ParameterVector& parameters);

/// Gives the network, and all twins of it, the weights that the optimizer has come to, rounded to the
/// network's precision. Local; while nothing runs.
template <class Real>
void set_weights(Network<Real>& network, const ParameterVector& parameters, const Optimizer& optimizer);

}  // namespace tangram
