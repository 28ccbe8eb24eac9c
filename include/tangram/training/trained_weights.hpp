#pragma once
#include <vector>

#include "tangram/training/loss_gradient.hpp"
#include "tangram/training/optimizer.hpp"

namespace tangram {

/// A network's weights of some parameters, which become the network's own copy that may be changed. Local.
template <class Real>
std::vector<double> weights_of(Network<Real>& network, const ParameterVector& parameters);

/// Gives the network, and all twins of it, the weights that the optimizer has come to, rounded to the
/// network's precision: all, or the entries [first, last) of the vector of all. Local; while nothing runs
/// that uses them.
template <class Real>
void set_weights(Network<Real>& network, const ParameterVector& parameters, const Optimizer& optimizer);
template <class Real>
void set_weights(Network<Real>& network, const ParameterVector& parameters, const Optimizer& optimizer,
                 Index first, Index last);

}  // namespace tangram
