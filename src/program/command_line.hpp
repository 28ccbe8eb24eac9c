#pragma once
#include <optional>
#include <string>
#include <vector>

#include "commands.hpp"

namespace tangram {

/// What the command line says. Empty texts, lists and optionals: not given.
struct Arguments {
    std::string command;  ///< "run", "gram", ...; empty where CLI answers: --help and --version
    std::string answer;   ///< then: what it says
    std::string study, output, file, topic, other_file, log_json, time_limit, memory_per_rank, device_memory;
    std::string device = "auto";
    std::optional<int> ranks;
    ForeignKernel kernel;
    std::vector<std::string> settings;  ///< --set key=value, then the short forms of [rates]
    std::vector<std::string> groups, runs;
    bool quiet = false, tensors = false, full = false, json = false;
    double rtol = 0;
};

/// Reads the command line; options may stand before and behind the command. Local, the same on every rank.
/// @throws Error(study) for an option or a command that there is not, or what one of them lacks
Arguments parse_command_line(int argc, char** argv);

/// The manual page tangram(1), in roff. Local.
std::string manual_page();
/// What bash completes: commands, options, keys of --set, topics of help; else files. Local.
std::string bash_completion();

}  // namespace tangram
