#pragma once
#include "tangram/model/network.hpp"
#include "tangram/study/job.hpp"
#include "tangram/study/model_loading.hpp"

namespace tangram {

/// The network with its initial weights. A classifier's head that is to begin from least squares is fitted to
/// the training examples' features here (minimum norm; targets one-hot, or -1/2 and 1/2 where the margin of
/// two labels is to be -1 and 1), the same on any number of ranks. Collective.
/// @throws Error on every rank, as InitialWeights
template <class Real>
Network<Real> initial_network(const LoadedModel& model, const Study& study, const GramJob& job,
                              MPI_Comm comm);

/// What fitting a head takes.
struct FittedHeadCost {
    double bytes = 0;           ///< on the first rank, beside the network
    double flops = 0;           ///< of least squares, on the first rank; float64
    double received_bytes = 0;  ///< by every rank
};

/// Local, from shapes alone.
FittedHeadCost fitted_head_cost(const Program& program, const GramJob& job);

}  // namespace tangram
