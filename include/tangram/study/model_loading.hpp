#pragma once
#include <optional>
#include <string>
#include <vector>

#include "tangram/jacobian/output.hpp"
#include "tangram/model/network.hpp"
#include "tangram/session/session.hpp"
#include "tangram/study/data_loading.hpp"

namespace tangram {

/// The study's model with its head and LoRA factors, and the parameters that the kernel is about. Equal on
/// every rank.
struct LoadedModel {
    Program program;
    std::vector<ParameterId> parameters;  ///< kernel.parameters, or their LoRA factors
    std::optional<Weights> weights;       ///< nothing where all are drawn
    std::optional<Weights> adapter;
    double deviation = 0.02;  ///< initializer_range
    std::string sha256;       ///< of the files; empty: there is none

    InitialWeights initial(const Study& study) const;
};

/// Opens the folder, reads the examples (a classifier has as many labels as they have) and composes the
/// program; warns of tensors that nothing uses. Collective.
/// @throws Error on every rank: input for files, study for keys that do not fit the model
std::pair<LoadedModel, StudyData> load_model(const Study& study, const Session& session);

/// The network with its initial weights. A classifier's head that is to begin from least squares is fitted to
/// the training examples' features here (minimum norm; targets one-hot, or -1/2 and 1/2 where the margin of
/// two labels is to be -1 and 1), the same on any number of ranks. Collective.
/// @param fit  false: a head that would be fitted is drawn (for a plan)
template <class Real>
Network<Real> make_network(const LoadedModel& model, const Study& study, const StudyData& data,
                           const KernelOutputs& outputs, MPI_Comm comm, bool fit);

}  // namespace tangram
