#pragma once
#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "command_line.hpp"

namespace tangram {

/// Keys of [rates] that have an option of their own, for a study as for somebody else's kernel.
struct ShortForms {
    std::optional<double> noise, radius;
    std::string step_size;
};

/// All commands and options, each declared once: --help, the manual page and the completion are made of it.
struct CommandLine {
    CommandLine();
    CommandLine(const CommandLine&) = delete;  // the options point to the members
    CommandLine& operator=(const CommandLine&) = delete;

    Arguments arguments;
    ShortForms given;
    CLI::App app;
};

}  // namespace tangram
