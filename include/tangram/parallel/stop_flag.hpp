#pragma once
#include <chrono>
#include <optional>

#include "tangram/parallel/mpi.hpp"

namespace tangram {

/// While it lives, SIGUSR1 and SIGTERM ask the program to stop at the next unit boundary instead of ending
/// it, as does the deadline. Ranks get signals at different moments, or not at all: requested() is how they
/// agree. One at a time.
class StopFlag {
  public:
    explicit StopFlag(std::optional<std::chrono::steady_clock::time_point> deadline = std::nullopt);
    ~StopFlag();
    StopFlag(const StopFlag&) = delete;
    StopFlag& operator=(const StopFlag&) = delete;

    /// True on every rank if a signal reached any rank or the deadline has passed on any. Collective over
    /// comm.
    bool requested(MPI_Comm comm) const;

  private:
    std::optional<std::chrono::steady_clock::time_point> deadline_;
    void (*previous_usr1_)(int);
    void (*previous_term_)(int);
};

}  // namespace tangram
