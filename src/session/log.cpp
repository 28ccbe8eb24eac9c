#include "tangram/session/log.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "tangram/error.hpp"
#include "tangram/session/resources.hpp"

namespace tangram {

using Clock = std::chrono::steady_clock;

struct Log::State {
    bool speaks, quiet, terminal;
    Clock::time_point begin = Clock::now();
    std::shared_ptr<spdlog::logger> logger;
    std::filesystem::path json_file;
    std::ofstream json;
    int json_lost = 0;           // why it did not take a line
    std::recursive_mutex mutex;  // Waiting speaks from a thread of its own

    std::string entered;  // the stage that warnings belong to
    std::vector<Warning> warnings;

    int results_lost = 0;  // why standard output did not take them
    std::string stage;
    Index units = 0, first = 0;
    Work before;
    Clock::time_point stage_begin, last_line;
    bool bar_open = false;

    double since(Clock::time_point start) const {
        return std::chrono::duration<double>(Clock::now() - start).count();
    }
    void close_bar() {
        if (bar_open) std::fputs("\n", stderr);
        bar_open = false;
    }
    void write_json(nlohmann::json object) {
        if (!json.is_open()) return;
        errno = 0;
        object["seconds"] = since(begin);
        json << object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n' << std::flush;
        if (json) return;
        json_lost = errno != 0 ? errno : EIO;
        json.clear();
    }
};

namespace {

/// Whether a person reads standard error as it is written. Under mpirun it is a pipe to the process that
/// started this one, whose own standard error counts.
bool is_read_on_a_terminal() {
    if (isatty(STDERR_FILENO) != 0) return true;
    const std::string parent = fmt::format("/proc/{}", getppid());
    std::ifstream name_of_parent(parent + "/comm");
    std::string name;
    if (!std::getline(name_of_parent, name) || (name != "mpirun" && name != "mpiexec" && name != "prterun"))
        return false;
    std::error_code code;
    const std::string stream = std::filesystem::read_symlink(parent + "/fd/2", code).string();
    return !code && (stream.starts_with("/dev/pts/") || stream.starts_with("/dev/tty"));
}

/// Whether a file is a log already, or is none yet: anything else that is there stays as it is.
bool takes_lines(const std::filesystem::path& file) {
    std::error_code code;
    if (!std::filesystem::is_regular_file(file, code)) return true;
    // /dev/stderr, where that is a file.
    for (const int stream : {STDOUT_FILENO, STDERR_FILENO})
        if (std::filesystem::equivalent(file, fmt::format("/dev/fd/{}", stream), code)) return true;
    constexpr std::size_t longest = 1 << 20;
    std::string begin(longest, '\0');
    std::ifstream in(file, std::ios::binary);
    in.read(begin.data(), static_cast<std::streamsize>(longest));
    begin.resize(static_cast<std::size_t>(in.gcount()));
    if (begin.empty()) return true;
    const auto line = nlohmann::json::parse(begin.substr(0, begin.find('\n')), nullptr, false);
    return line.is_object() && line.contains("level") && line.contains("seconds");
}

}  // namespace

Log::Log(bool speaks, bool quiet, const std::filesystem::path& json) : state_(std::make_unique<State>()) {
    state_->speaks = speaks;
    state_->quiet = quiet;
    state_->terminal = is_read_on_a_terminal();
    state_->logger =
        std::make_shared<spdlog::logger>("tangram", std::make_shared<spdlog::sinks::stderr_color_sink_st>());
    // A file is read later: when was that?
    state_->logger->set_pattern(state_->terminal ? "%^tangram: %v%$" : "%^%Y-%m-%d %H:%M:%S tangram: %v%$");
    if (speaks && !json.empty()) {
        if (!takes_lines(json))
            throw Error(ExitStatus::output, ErrorKind::contradiction,
                        fmt::format("--log-json {}: holds something else than a log; name another file",
                                    json.string()));
        const int made =
            ::open(json.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0664);  // never for all to write
        if (made >= 0) ::close(made);
        state_->json_file = json;
        state_->json.open(json, std::ios::app);  // a job that goes on loses nothing
        if (!state_->json)
            throw Error(ExitStatus::output, ErrorKind::no_access,
                        fmt::format("--log-json {}: cannot be written; check the folder and the umask",
                                    json.string()));
    }
}

Log::~Log() = default;
Log::Log(Log&&) noexcept = default;

void Log::say(const std::string& text) {
    if (!state_->speaks) return;
    const std::lock_guard lock(state_->mutex);
    state_->close_bar();
    if (!state_->quiet) state_->logger->info(text);
    state_->write_json({{"level", "info"}, {"text", text}});
}

void Log::warn(const std::string& text) {
    if (!state_->speaks) return;
    const std::lock_guard lock(state_->mutex);
    state_->close_bar();
    state_->logger->warn("warning: {}", text);
    state_->warnings.push_back({state_->entered, text});
    state_->write_json({{"level", "warning"}, {"text", text}});
}

void Log::enter(const std::string& stage) { state_->entered = stage; }

const std::vector<Log::Warning>& Log::warnings() const { return state_->warnings; }

void Log::result(const std::string& text) {
    if (!state_->speaks) return;
    const std::lock_guard lock(state_->mutex);
    state_->close_bar();
    if (!state_->quiet)
        if (const int refused = write_out(text + "\n")) state_->results_lost = refused;
    state_->write_json({{"level", "result"}, {"text", text}});
}

void Log::number(const std::string& name, double value) {
    if (!state_->speaks) return;
    const std::lock_guard lock(state_->mutex);
    // JSON has no infinity and no NaN.
    const nlohmann::json known =
        std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(fmt::format("{}", value));
    state_->write_json({{"level", "result"}, {"name", name}, {"value", known}});
}

void Log::record_failure(int status, const char* message) noexcept {
    if (!state_->speaks) return;
    try {
        const std::lock_guard lock(state_->mutex);
        state_->write_json({{"level", "error"}, {"status", status}, {"text", message}});
    } catch (const std::exception&) {  // memory may be what is short
    }
}

void Log::check_results() const {
    if (state_->json_lost != 0)
        throw Error(
            ExitStatus::output, ErrorKind::no_access,
            fmt::format("--log-json {}: cannot be written ({}); lines of it are lost, the output file "
                        "is whole",
                        state_->json_file.string(), std::strerror(state_->json_lost)));
    if (state_->results_lost != 0)
        throw Error(
            ExitStatus::output, ErrorKind::no_access,
            fmt::format("standard output: cannot be written ({}); what was to be printed is lost, the "
                        "output file is whole",
                        std::strerror(state_->results_lost)));
}

void Log::start(const std::string& stage, Index units, Index done, Work so_far) {
    const std::lock_guard lock(state_->mutex);
    state_->close_bar();
    state_->stage = stage;
    state_->units = units;
    state_->first = done;
    state_->before = so_far;
    state_->stage_begin = state_->last_line = Clock::now();
}

void Log::progress(Index done, Work so_far) {
    State& s = *state_;
    if (!s.speaks || s.units == 0) return;
    const std::lock_guard lock(s.mutex);
    const double interval = s.terminal ? 0.2 : 5.0;
    if (s.since(s.last_line) < interval) return;
    s.last_line = Clock::now();
    const double elapsed = s.since(s.stage_begin);
    const double fraction = static_cast<double>(done) / static_cast<double>(s.units);
    const Index here = done - s.first;
    const double left =
        here > 0 ? elapsed * static_cast<double>(s.units - done) / static_cast<double>(here) : 0.0;
    const auto memory = static_cast<double>(resident_bytes());
    const double flops = (so_far.flops - s.before.flops) / elapsed,
                 bytes = (so_far.bytes_received - s.before.bytes_received) / elapsed;
    s.write_json({{"level", "progress"},
                  {"stage", s.stage},
                  {"done", done},
                  {"units", s.units},
                  {"seconds_left", left},
                  {"resident_bytes", memory},
                  {"flops_per_second", flops},
                  {"bytes_per_second", bytes}});
    if (s.quiet) return;
    std::string rates;
    if (flops > 0) rates += fmt::format(", {:.1f} GFLOP/s", flops / 1e9);
    if (bytes > 0) rates += fmt::format(", {}/s received", bytes_text(bytes));
    if (s.terminal) {
        const int width = 30, filled = static_cast<int>(fraction * width);
        std::fputs(fmt::format("\r{} [{:#<{}}{:.<{}}] {:3.0f} %, {} left, {}{}   ", s.stage, "", filled, "",
                               width - filled, 100 * fraction, duration_text(left), bytes_text(memory), rates)
                       .c_str(),
                   stderr);
        std::fflush(stderr);
        s.bar_open = true;
    } else {
        s.logger->info("{}: {:.0f} %, {} of {}, {} left, {} resident{}", s.stage, 100 * fraction, done,
                       s.units, duration_text(left), bytes_text(memory), rates);
    }
}

void Log::finish() {
    const std::lock_guard lock(state_->mutex);
    state_->close_bar();
    state_->units = 0;
}

Log::Waiting::Waiting(Log& log, std::string what) {
    if (!log.state_->speaks) return;
    const auto speak = [&log, what = std::move(what)](const std::stop_token& over) {
        const auto begin = Clock::now();
        std::mutex mutex;
        std::condition_variable_any wake;
        std::unique_lock lock(mutex);
        while (!wake.wait_for(lock, over, std::chrono::seconds(30), [&] { return over.stop_requested(); }))
            log.say(fmt::format("{}: {} so far", what,
                                duration_text(std::chrono::duration<double>(Clock::now() - begin).count())));
    };
    try {
        voice_ = std::jthread(speak);
    } catch (const std::system_error&) {  // no memory for a thread: silence, and what works goes on
    }
}

double Log::seconds() const { return state_->since(state_->begin); }

int write_out(const std::string& text) {
    errno = 0;
    if (std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0) return 0;
    const int reason = errno == 0 ? EIO : errno;
    return reason == EPIPE ? 0 : reason;
}

std::string duration_text(double seconds) {
    const auto whole = static_cast<Index>(seconds);
    if (seconds < 60) return fmt::format("{:.1f} s", seconds);
    if (seconds < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
    return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

std::string bytes_text(double bytes) {
    const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    std::size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < std::size(units)) {
        bytes /= 1024;
        ++unit;
    }
    return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 1, units[unit]);
}

}  // namespace tangram
