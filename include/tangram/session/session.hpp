#pragma once
#include <limits>
#include <string>
#include <vector>

#include "tangram/parallel/communicator.hpp"
#include "tangram/parallel/stop_flag.hpp"
#include "tangram/session/log.hpp"

namespace tangram {

/// What every stage has: the ranks, the voice, the stop flag, and when the program began.
struct Session {
    const Communicator& world;
    Log& log;
    const StopFlag& stop;
    std::string started;  ///< local time, ISO 8601
    /// Bytes of resident memory that a rank may take.
    double memory_per_rank = std::numeric_limits<double>::infinity();
};

/// Collective. @throws Error(stopped) on every rank where a stop was requested, saying where that was
void check_stop(const Session& session, const std::string& where);

/// While it lives, a stop request ends the program at once with status 75 and one message: for what no rank
/// can leave and what leaves nothing behind. Collective over the world.
/// @param what   behind "stopped on request": where that was, and what follows
/// @param first  called before it on the rank that speaks
LeaveOnStop leave_on_stop(const Session& session, std::string what, std::function<void()> first = {});

/// Local time, ISO 8601 with the offset from UTC.
std::string now_text();
/// This program's version with those of MPI, HDF5 and, where it tells, BLAS.
std::vector<std::string> library_versions();
/// The commit that this program was built from.
std::string git_revision();

/// Says what runs: version, commit, start, ranks, threads, hosts, BLAS kernels, device, memory, and where the
/// result goes. Collective.
/// @param device  what multiplies and solves, in words
void say_header(const Session& session, const std::string& device, const std::string& output);

/// Says once where the BLAS in use is slow for this processor. Local; rank 0 speaks.
void check_blas(Log& log);

}  // namespace tangram
