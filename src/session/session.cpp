#include "tangram/session/session.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <hdf5.h>
#include <mpi.h>
#include <omp.h>

#include <algorithm>
#include <ctime>

#include "revision.hpp"

// OpenBLAS tells what it is; other BLAS libraries have no such functions.
extern "C" {
char* openblas_get_config() __attribute__((weak));
char* openblas_get_corename() __attribute__((weak));
}

namespace tangram {

void check_stop(const Session& session, const std::string& where) {
    if (session.stop.requested(session.world.get()))
        throw Error(ExitStatus::stopped, ErrorKind::stopped, "stopped on request " + where);
}

LeaveOnStop leave_on_stop(const Session& session, std::string what, std::function<void()> first) {
    std::function<void()> farewell;
    if (session.world.rank() == 0)
        farewell = [&stop = session.stop, what = std::move(what), first = std::move(first)] {
            if (first) first();
            // mpirun sends it to the others when one rank has died.
            const std::string by = stop.reason() == "SIGTERM"
                                       ? "by SIGTERM (a rank died, or the job was told to end)"
                                       : "on request (" + stop.reason() + ")";
            std::fputs(fmt::format("tangram: stopped {}{}\n", by, what).c_str(), stderr);
        };
    return collectively(session.world.get(), [&] { return LeaveOnStop(session.stop, std::move(farewell)); });
}

std::string now_text() {
    std::time_t now = std::time(nullptr);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S%z}", fmt::localtime(now));
}

std::vector<std::string> library_versions() {
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    TANGRAM_MPI(MPI_Get_library_version(mpi, &length));
    const std::string text(mpi, static_cast<std::size_t>(length));
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    std::vector<std::string> versions{fmt::format("tangram {}", build::version),
                                      text.substr(0, text.find(',')),
                                      fmt::format("HDF5 {}.{}.{}", major, minor, release)};
    if (openblas_get_config != nullptr) versions.emplace_back(openblas_get_config());
    return versions;
}

std::string git_revision() { return build::revision; }

namespace {

std::string blas_kernels() { return openblas_get_corename != nullptr ? openblas_get_corename() : ""; }

/// "a, b and 14 more".
std::string list_of(std::vector<std::string> names) {
    std::ranges::sort(names);
    names.erase(std::unique(names.begin(), names.end()), names.end());
    constexpr std::size_t most = 4;
    const std::size_t left_out = names.size() > most ? names.size() - most : 0;
    names.resize(names.size() - left_out);
    return fmt::format("{}{}", fmt::join(names, ", "),
                       left_out > 0 ? fmt::format(" and {} more", left_out) : "");
}

}  // namespace

void say_header(const Session& session, const std::string& device, const std::string& output) {
    const std::vector<std::string> hosts = gather_to_all(session.world.get(), host_name());
    const int ranks = session.world.size(), threads = omp_get_max_threads();
    const std::string kernels = blas_kernels();
    session.log.say(fmt::format(
        "{} ({}), {}; {} rank{} of {} thread{} on {}{}; device {}; {} of memory per rank; output {}",
        library_versions().front(), git_revision(), session.started, ranks, ranks == 1 ? "" : "s", threads,
        threads == 1 ? "" : "s", list_of(hosts), kernels.empty() ? "" : ", OpenBLAS for " + kernels, device,
        bytes_text(session.memory_per_rank), output));
}

void check_blas([[maybe_unused]] Log& log) {
#if defined(__x86_64__)
    const std::string core = blas_kernels();
    __builtin_cpu_init();
    if ((core != "Prescott" && core != "Core2" && core != "Nehalem") || !__builtin_cpu_supports("avx2"))
        return;
    const std::string text = fmt::format(
        "OpenBLAS does not know this processor and took its {} kernels, several times slower than "
        "it could be; set OPENBLAS_CORETYPE={}",
        core, __builtin_cpu_supports("avx512f") ? "SKYLAKEX" : "HASWELL");
    if (std::ranges::find(log.warnings(), text, &Log::Warning::text) == log.warnings().end()) log.warn(text);
#endif
}

}  // namespace tangram
