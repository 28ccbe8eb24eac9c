#pragma once
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "tangram/parallel/mpi.hpp"

namespace tangram {

/// While it lives, SIGUSR1, SIGTERM and one SIGINT ask the program to stop at the next unit boundary instead
/// of ending it, as does the deadline. Ranks get signals at different moments, or not at all: requested() is
/// how they agree. One at a time.
class StopFlag {
  public:
    StopFlag();
    ~StopFlag();
    StopFlag(const StopFlag&) = delete;
    StopFlag& operator=(const StopFlag&) = delete;

    /// True on every rank if a signal reached any rank or the deadline has passed on any. Collective over
    /// comm.
    bool requested(MPI_Comm comm) const;
    /// Whether a signal reached this rank or the deadline has passed here. Local.
    bool requested_here() const;
    /// What asked for the stop here: "SIGUSR1", "SIGTERM", "Ctrl-C", "the time limit"; empty where nothing
    /// did. Local.
    std::string reason() const;
    /// Sets the deadline. Local; before the first question.
    void stop_at(std::chrono::steady_clock::time_point deadline) { deadline_ = deadline; }

  private:
    std::optional<std::chrono::steady_clock::time_point> deadline_;
    void (*previous_usr1_)(int);
    void (*previous_term_)(int);
    void (*previous_int_)(int);
};

/// While it lives, a stop request ends the process at once with status 75: for a long step that no rank can
/// leave (a solver) and that leaves nothing behind. Local; nothing may be open for writing.
class LeaveOnStop {
  public:
    /// @param farewell  called before the end on the rank that speaks, from another thread: what remains to
    ///                  be said and removed; the other ranks give none and wait a moment for it
    LeaveOnStop(const StopFlag& stop, std::function<void()> farewell);

  private:
    std::jthread watch_;
};

}  // namespace tangram
