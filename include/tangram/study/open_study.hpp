#pragma once
#include "tangram/study/job.hpp"
#include "tangram/study/model_loading.hpp"

namespace tangram {

struct OpenedStudy {
    LoadedModel model;
    GramJob job;
};

/// The model's body, the data that fit it, the head that fits the data, and the job that follows. No weight
/// is read. Collective. @throws as open_model, load_data, complete_model, gram_job
OpenedStudy open_study(const Study& study, const Session& session);

}  // namespace tangram
