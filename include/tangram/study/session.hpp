#pragma once
#include <string>
#include <vector>

#include "tangram/parallel/communicator.hpp"
#include "tangram/parallel/stop_flag.hpp"
#include "tangram/study/log.hpp"

namespace tangram {

/// What every stage has: the ranks, the voice, the stop flag, and when the program began.
struct Session {
    const Communicator& world;
    Log& log;
    const StopFlag& stop;
    std::string started;  ///< local time, ISO 8601
};

/// Collective. @throws Error(stopped) on every rank where a stop was requested, saying where that was
void check_stop(const Session& session, const std::string& where);

/// Local time, ISO 8601 with the offset from UTC.
std::string now_text();
/// Largest resident memory of this process so far, bytes (VmHWM).
Index peak_bytes();
/// This program's version with those of MPI, HDF5 and, where it tells, BLAS.
std::vector<std::string> library_versions();
/// The commit that this program was built from.
std::string git_revision();

/// Start-up self-test: says where the BLAS in use is slow for this processor or does not give a row the same bits
/// everywhere (arithmetic.hpp), so that results could depend on the order of examples. Local; rank 0 speaks.
template <class Real>
void check_products(const std::vector<std::pair<Index, Index>>& linear_shapes, Log& log);

}  // namespace tangram
