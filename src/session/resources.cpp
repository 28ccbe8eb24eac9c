#include "tangram/session/resources.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include "tangram/error.hpp"

namespace tangram {

namespace {

/// A line of /proc/self/status or /proc/meminfo, in bytes; 0 where there is none.
double proc_bytes(const char* file, const std::string& key) {
    std::ifstream in(file);
    std::string word;
    while (in >> word)
        if (word == key) {
            double kilobytes = 0;
            in >> kilobytes;
            return 1024 * kilobytes;
        }
    return 0;
}

/// The least memory limit of this process's cgroup and those above it, version 2 or 1; infinite where there
/// is none.
double cgroup_bytes() {
    double least = std::numeric_limits<double>::infinity();
    const auto take = [&](const std::filesystem::path& file) {
        std::ifstream in(file);
        double bytes = 0;
        if (in >> bytes && bytes > 0) least = std::min(least, bytes);  // "max" is no number
    };
    std::ifstream in("/proc/self/cgroup");
    for (std::string line; std::getline(in, line);) {
        const auto colon = line.rfind(':');
        const bool second = line.starts_with("0::"), first = line.find(":memory:") != std::string::npos;
        if (!second && !first) continue;
        const std::filesystem::path root = second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
        std::filesystem::path at = root / std::filesystem::path(line.substr(colon + 1)).relative_path();
        for (;; at = at.parent_path()) {
            take(at / (second ? "memory.max" : "memory.limit_in_bytes"));
            if (at == root || !at.has_relative_path()) break;
        }
    }
    return least;
}

/// SLURM's limit of this node in bytes: SLURM_MEM_PER_NODE, or _CPU times the CPUs; megabytes. Infinite
/// without.
double slurm_bytes() {
    const auto number = [](const char* name) {
        const char* const text = std::getenv(name);
        return text == nullptr ? 0.0 : std::atof(text);
    };
    constexpr double megabyte = 1024.0 * 1024.0;
    if (number("SLURM_MEM_PER_NODE") > 0) return megabyte * number("SLURM_MEM_PER_NODE");
    if (number("SLURM_MEM_PER_CPU") > 0 && number("SLURM_CPUS_ON_NODE") > 0)
        return megabyte * number("SLURM_MEM_PER_CPU") * number("SLURM_CPUS_ON_NODE");
    return std::numeric_limits<double>::infinity();
}

}  // namespace

double parse_bytes(const std::string& text, const std::string& option) {
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    std::string unit;
    for (const char* c = end; *c != '\0'; ++c)
        if (*c != ' ') unit += static_cast<char>(std::toupper(static_cast<unsigned char>(*c)));
    static constexpr std::pair<const char*, double> units[] = {
        {"B", 1},        {"K", 1024.0},   {"KIB", 1024.0}, {"KB", 1e3},     {"M", 0x1p20},
        {"MIB", 0x1p20}, {"MB", 1e6},     {"G", 0x1p30},   {"GIB", 0x1p30}, {"GB", 1e9},
        {"T", 0x1p40},   {"TIB", 0x1p40}, {"TB", 1e12}};
    for (const auto& [name, factor] : units)
        if (end != text.c_str() && unit == name && number > 0 && std::isfinite(number))
            return number * factor;
    throw Error(ExitStatus::study, ErrorKind::malformed,
                fmt::format("{} {}: write a number with its unit, for example 4GiB or 512MiB", option, text));
}

double memory_limit_per_rank(const Communicator& world, std::optional<double> asked) {
    const int ranks = Communicator::of_host(world.get()).size();
    const double allowed =
        std::min({cgroup_bytes(), slurm_bytes(), proc_bytes("/proc/meminfo", "MemTotal:")}) / ranks;
    return -max_over_ranks(world.get(), -asked.value_or(allowed));
}

int ranks_of_host(const Communicator& world) {
    return static_cast<int>(-max_over_ranks(world.get(), Index{-Communicator::of_host(world.get()).size()}));
}

Index peak_bytes() { return static_cast<Index>(proc_bytes("/proc/self/status", "VmHWM:")); }

Index resident_bytes() { return static_cast<Index>(proc_bytes("/proc/self/status", "VmRSS:")); }

Index own_bytes() { return static_cast<Index>(proc_bytes("/proc/self/status", "RssAnon:")); }

}  // namespace tangram
