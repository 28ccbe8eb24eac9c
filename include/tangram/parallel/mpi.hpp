#pragma once
#include <mpi.h>

#include "tangram/error.hpp"
#include "tangram/index.hpp"

namespace tangram {

/// Throws Error(numerical) with MPI's own text where an MPI call did not return MPI_SUCCESS. Local.
/// @param call  the call as written, for the message
void check_mpi(int code, const char* call);

/// The one place where an Index becomes the int of MPI, BLACS or BLAS. Local.
/// @throws Error(study) that says `what` was too large, where value does not fit.
int narrow(Index value, const char* what);

}  // namespace tangram

#define TANGRAM_MPI(call) ::tangram::check_mpi((call), #call)
