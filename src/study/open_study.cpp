#include "tangram/study/open_study.hpp"

namespace tangram {

OpenedStudy open_study(const Study& study, const Session& session) {
    OpenedModel opened = open_model(study, session);
    const Program& body = opened.program;
    StudyData data = load_data(study,
                               {body.vocabulary_size, body.maximum_length, body.reading, body.padding_id,
                                opened.passed_over, opened.label_names},
                               session, opened.files);
    LoadedModel model = complete_model(std::move(opened), study, data.labels(), session);
    GramJob job = gram_job(study, model, std::move(data), session.world.get());
    return {std::move(model), std::move(job)};
}

}  // namespace tangram
