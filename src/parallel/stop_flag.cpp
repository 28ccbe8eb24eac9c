#include "tangram/parallel/stop_flag.hpp"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <string_view>

#include "tangram/error.hpp"
#include "tangram/parallel/communicator.hpp"

namespace tangram {

namespace {

std::atomic<int> signalled = 0;
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may take no lock");

void note_signal(int signal) { signalled = signal; }

/// Ctrl-C; the second one ends the process.
void note_interrupt(int signal) {
    constexpr std::string_view words = "tangram: stops as soon as it can; Ctrl-C again ends it at once\n";
    const int kept = errno;
    static_cast<void>(!write(STDERR_FILENO, words.data(), words.size()));
    errno = kept;
    std::signal(signal, SIG_DFL);
    signalled = signal;
}

}  // namespace

StopFlag::StopFlag() {
    signalled = 0;
    previous_usr1_ = std::signal(SIGUSR1, note_signal);
    previous_term_ = std::signal(SIGTERM, note_signal);
    previous_int_ = std::signal(SIGINT, note_interrupt);
    // A script's job in the background does not hear it.
    if (previous_int_ == SIG_IGN) std::signal(SIGINT, SIG_IGN);
}

StopFlag::~StopFlag() {
    std::signal(SIGUSR1, previous_usr1_);
    std::signal(SIGTERM, previous_term_);
    std::signal(SIGINT, previous_int_);
}

bool StopFlag::requested(MPI_Comm comm) const { return any_rank(comm, requested_here()); }

bool StopFlag::requested_here() const {
    return signalled != 0 || (deadline_ && std::chrono::steady_clock::now() >= *deadline_);
}

std::string StopFlag::reason() const {
    const int signal = signalled;
    return signal == SIGTERM  ? "SIGTERM"
           : signal == SIGINT ? "Ctrl-C"
           : signal != 0      ? "SIGUSR1"
           : requested_here() ? "the time limit"
                              : "";
}

LeaveOnStop::LeaveOnStop(const StopFlag& stop, std::function<void()> farewell)
    : watch_([&stop, farewell = std::move(farewell)](const std::stop_token& over) {
          std::mutex mutex;
          std::condition_variable_any wake;
          std::unique_lock lock(mutex);
          while (!stop.requested_here())
              if (wake.wait_for(lock, over, std::chrono::milliseconds(50),
                                [&] { return over.stop_requested(); }))
                  return;
          // mpirun ends the others when one has left.
          if (farewell)
              farewell();
          else
              std::this_thread::sleep_for(std::chrono::milliseconds(500));
          _exit(static_cast<int>(ExitStatus::stopped));
      }) {}

}  // namespace tangram
