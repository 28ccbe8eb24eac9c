#include "tangram/parallel/stop_flag.hpp"

#include <csignal>

#include "tangram/parallel/communicator.hpp"

namespace tangram {

namespace {

volatile std::sig_atomic_t signalled = 0;

void note_signal(int) { signalled = 1; }

}  // namespace

StopFlag::StopFlag(std::optional<std::chrono::steady_clock::time_point> deadline) : deadline_(deadline) {
    signalled = 0;
    previous_usr1_ = std::signal(SIGUSR1, note_signal);
    previous_term_ = std::signal(SIGTERM, note_signal);
}

StopFlag::~StopFlag() {
    std::signal(SIGUSR1, previous_usr1_);
    std::signal(SIGTERM, previous_term_);
}

bool StopFlag::requested(MPI_Comm comm) const {
    const bool late = deadline_ && std::chrono::steady_clock::now() >= *deadline_;
    return any_rank(comm, late || signalled != 0);
}

}  // namespace tangram
