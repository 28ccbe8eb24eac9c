#include "tangram/stages/spectrum_request.hpp"

namespace tangram {

Eigenpairs requested_eigenpairs(const DistributedMatrix& matrix, const MatrixName& name, const Study& study,
                                const Session& session, const OutputLock& lock) {
    const Log::Waiting waiting(session.log, "spectrum");
    const LeaveOnStop leave = leave_on_stop(session, " during the spectrum; the same command begins it again",
                                            [&lock] { lock.remove_file(); });
    return eigenpairs(matrix, solver_by_name(study.spectrum.solver), study.spectrum.vectors,
                      {study.spectrum.block}, name, study.spectrum.count);
}

}  // namespace tangram
