#pragma once
#include <string>

#include "tangram/io/output.hpp"
#include "tangram/session/session.hpp"
#include "tangram/spectrum/eigenpairs.hpp"
#include "tangram/study/configuration.hpp"

namespace tangram {

/// While it lives, a stop request ends the program with status 75, as no solver can be left; nothing stays
/// behind, the lock included. Nothing may be open for writing. Collective.
/// @param stage  that is stopped
/// @param then   what becomes of it
LeaveOnStop leave_during(const Session& session, const OutputLock& lock, const std::string& stage,
                         const std::string& then = "the same command begins it again");

/// Eigenpairs of a matrix as the study asks for them. Collective.
/// @param name  where the matrix stands
/// @throws as eigenpairs()
Eigenpairs requested_eigenpairs(const DistributedMatrix& matrix, const MatrixName& name, const Study& study,
                                const Session& session);

}  // namespace tangram
