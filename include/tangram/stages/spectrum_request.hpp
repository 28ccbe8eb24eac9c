#pragma once
#include "tangram/io/output.hpp"
#include "tangram/session/session.hpp"
#include "tangram/spectrum/eigenpairs.hpp"
#include "tangram/study/configuration.hpp"

namespace tangram {

/// Eigenpairs of a matrix as the study asks for them. A stop request ends the program here with status 75, as
/// no solver can be left; nothing stays behind, the lock included. Collective.
/// @param name  where the matrix stands
/// @throws as eigenpairs()
Eigenpairs requested_eigenpairs(const DistributedMatrix& matrix, const MatrixName& name, const Study& study,
                                const Session& session, const OutputLock& lock);

}  // namespace tangram
