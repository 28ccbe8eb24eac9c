#pragma once
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// What a rank has done so far.
struct Work {
    double flops = 0, bytes_received = 0;
};

/// What the program tells a person: rank 0 speaks, the others are silent. Messages and progress go to
/// standard error, with a clock before them where no terminal shows it (of mpirun's, under mpirun); results
/// to standard output; --log-json repeats every message as one JSON object per line
/// {"seconds", "level": "info" | "warning" | "result", "text"}, results once more as numbers {"seconds",
/// "level": "result", "name", "value"}, what ended the program as {"seconds", "level": "error", "status",
/// "text"} and progress as {"seconds", "level":
/// "progress", "stage", "done", "units", "seconds_left", "resident_bytes", "flops_per_second",
/// "bytes_per_second"}; seconds are since the start.
class Log {
  public:
    /// @param speaks  rank 0
    /// @param json    empty: none. @throws Error(output) where it cannot be opened (on the speaking rank
    /// alone)
    Log(bool speaks, bool quiet, const std::filesystem::path& json);
    ~Log();
    Log(Log&&) noexcept;

    void say(const std::string& text);   ///< a stage begins or ends
    void warn(const std::string& text);  ///< said even where quiet
    /// What is warned of from here on belongs to this stage.
    void enter(const std::string& stage);
    struct Warning {
        std::string stage, text;
    };
    /// All so far; on the speaking rank.
    const std::vector<Warning>& warnings() const;
    /// A result, on standard output.
    void result(const std::string& text);
    /// A number that is part of such a text, in --log-json alone.
    void number(const std::string& name, double value);
    /// What ends the program, in --log-json alone. Never throws.
    void record_failure(int status, const char* message) noexcept;
    /// @throws Error(output) where standard output or --log-json did not take all (a full disk). A reader
    /// that has gone away has what it wanted. Local; at the end.
    void check_results() const;

    /// A stage of `units` equal steps begins; progress() shows a bar on a terminal, else a line every few
    /// seconds, with the time that is left at the speed so far, resident memory, and the rates of this rank's
    /// work since start().
    void start(const std::string& stage, Index units, Index done = 0, Work so_far = {});
    void progress(Index done, Work so_far = {});
    void finish();

    double seconds() const;  ///< since the log was made

    /// While it lives, a line every half minute says that a step without progress of its own still goes on: a
    /// solver, a file system that has stalled.
    class Waiting {
      public:
        Waiting(Log& log, std::string what);

      private:
        std::jthread voice_;
    };

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Text for standard output. @return what the system says where it was not taken, or 0; a reader that has
/// gone away (EPIPE, which the program makes of SIGPIPE) is 0. Local
int write_out(const std::string& text);

/// "1 h 02 min", "3 min 05 s", "4.2 s".
std::string duration_text(double seconds);
/// "3.2 GiB", "12 MiB".
std::string bytes_text(double bytes);

}  // namespace tangram
