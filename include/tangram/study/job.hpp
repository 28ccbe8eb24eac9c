#pragma once
#include <mpi.h>

#include <string>
#include <vector>

#include "tangram/jacobian/contraction.hpp"
#include "tangram/jacobian/output.hpp"
#include "tangram/jacobian/selection.hpp"
#include "tangram/study/configuration.hpp"
#include "tangram/study/data_loading.hpp"
#include "tangram/study/model_loading.hpp"

namespace tangram {

/// What a study asks of the Gram stage, equal on every rank.
struct GramJob {
    StudyData data;
    KernelOutputs outputs;
    std::vector<std::string> output_names;  ///< of each task
    std::vector<ParameterId> parameters;
    std::vector<KernelFormula> formulas;
    ParameterGroups groups;
    Index train_rows = 0, test_rows = 0;
    Index parameter_count = 0;
    double idle_bytes = 0;  ///< resident on the largest rank with program and data, before the network
};

/// Collective over comm. @throws Error(study) for keys that do not fit model or data
GramJob gram_job(const Study& study, const LoadedModel& model, StudyData data, MPI_Comm comm);

}  // namespace tangram
