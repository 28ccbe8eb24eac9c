#include "tangram/stages/spectrum_request.hpp"

#include <fmt/core.h>

namespace tangram {

LeaveOnStop leave_during(const Session& session, const OutputLock& lock, const std::string& stage,
                         const std::string& then) {
    return leave_on_stop(session, fmt::format(" during the {}; {}", stage, then),
                         [&lock] { lock.remove_file(); });
}

Eigenpairs requested_eigenpairs(const DistributedMatrix& matrix, const MatrixName& name, const Study& study,
                                const Session& session) {
    const Log::Waiting waiting(session.log, "spectrum");
    return eigenpairs(matrix, solver_by_name(study.spectrum.solver), study.spectrum.vectors,
                      {study.spectrum.block}, name, study.spectrum.count);
}

}  // namespace tangram
