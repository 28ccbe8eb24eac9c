#include <fmt/format.h>

#include "forecast.hpp"
#include "open_study.hpp"
#include "study_state.hpp"
#include "tangram/study/initial_network.hpp"

namespace tangram {

template <class Real>
void StudyRun::State::plan(const LoadedModel& model, const GramJob& job, int ranks) {
    const Program& program = model.program;
    Network<Real> network = initial_network<Real>(model, study, job, comm);
    const double resident = max_over_ranks(comm, trial_memory(network, job, comm));
    const Calibration calibration = calibrated(network, job, model.sha256, session);
    const double limit = session.memory_per_rank;
    const Forecast planned = forecast<Real>(program, job, study, calibration, resident, limit, ranks);
    session.log.result(plan_text(program, job, planned, limit,
                                 fewest_ranks<Real>(program, job, study, resident, limit, false)));
    if (planned.bytes() > limit)
        throw Error(
            ExitStatus::study,
            fmt::format("the study does not fit: {} needed on the largest of {} rank{}, {} "
                        "allowed; use more ranks, fewer samples or --memory-per-rank",
                        bytes_text(planned.bytes()), ranks, ranks == 1 ? "" : "s", bytes_text(limit)));
}

void StudyRun::plan(std::optional<int> ranks) {
    State& s = *state_;
    const int on = ranks.value_or(s.session.world.size());
    const auto [model, job] = open_study(s.study, s.session);
    if (s.study.kernel.precision == "double")
        s.plan<double>(model, job, on);
    else
        s.plan<float>(model, job, on);
}

}  // namespace tangram
