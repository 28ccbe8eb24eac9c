#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "command_line_app.hpp"
#include "tangram/session/session.hpp"
#include "tangram/study/help.hpp"
#include "tangram/study/keys.hpp"

namespace tangram {

namespace {

/// --help, which every command has, is the program's.
std::vector<const CLI::Option*> options_of(const CLI::App& app) {
    std::vector<const CLI::Option*> options;
    for (const CLI::Option* const option : app.get_options())
        if (!option->get_positional() && (app.get_parent() == nullptr || option->get_name() != "--help"))
            options.push_back(option);
    return options;
}

std::vector<const CLI::App*> commands_of(const CLI::App& app) { return app.get_subcommands({}); }

/// Text in which no character is a command of roff's.
std::string roff(std::string_view text) {
    std::string safe;
    for (const char c : text) {
        const bool line_begins = safe.empty() || safe.back() == '\n';
        if (line_begins && (c == '.' || c == '\'')) safe += "\\&";
        if (c == '\\')
            safe += "\\e";
        else if (c == '-')
            safe += "\\-";
        else
            safe += c;
    }
    return safe;
}

std::string option_text(const CLI::Option& option) {
    const bool takes_value = option.get_items_expected_max() > 0;
    return fmt::format(".TP\n\\fB{}\\fR{}\n{}\n", roff(option.get_name()),
                       takes_value ? " \\fIVALUE\\fR" : "", roff(option.get_description()));
}

std::string words_of(const std::vector<const CLI::Option*>& options) {
    std::string words;
    for (const CLI::Option* const option : options)
        words.append(words.empty() ? "" : " ").append(option->get_name(false, true));
    std::ranges::replace(words, ',', ' ');  // -h,--help
    return words;
}

/// "auto cpu cuda": the values of an option that has a closed list of them; else empty.
std::string values_of(const CLI::Option& option) {
    std::string type = option.get_type_name();  // TEXT:{auto,cpu,cuda}
    const auto first = type.find('{'), last = type.find('}');
    if (first == std::string::npos || last == std::string::npos) return "";
    type = type.substr(first + 1, last - first - 1);
    std::ranges::replace(type, ',', ' ');
    return type;
}

/// The words that a key may hold; empty where it may hold others.
std::string words_of(const KeyValue& at) {
    if (std::holds_alternative<bool*>(at.value)) return "true false";
    const Choices* const allowed = std::get_if<Choices>(&at.key->allowed);
    if (allowed == nullptr) return "";
    std::string words;
    for (const Choices::Choice& choice : allowed->choices) words += (words.empty() ? "" : " ") + choice.word;
    return words;
}

/// A line of the shell's `case` for each option and key that has a closed list of values.
std::string branches_of_values(const CommandLine& line) {
    std::string branches;
    const auto add = [&](const std::string& name, const std::string& words) {
        if (!words.empty()) branches += fmt::format("        {}) values=\"{}\" ;;\n", name, words);
    };
    std::vector<const CLI::Option*> options = options_of(line.app);
    for (const CLI::App* const command : commands_of(line.app))
        for (const CLI::Option* const option : options_of(*command)) options.push_back(option);
    for (const CLI::Option* const option : options) add(option->get_name(), values_of(*option));
    Study study;
    study.finetune.asked = true;
    for (const KeyValue& at : values_of(study)) add(at.name(), words_of(at));
    return branches;
}

}  // namespace

std::string manual_page() {
    const CommandLine line;
    std::string text =
        fmt::format(".TH TANGRAM 1 \"\" \"{}\" \"User Commands\"\n", library_versions().front()) +
        ".SH NAME\ntangram \\- kernels, spectra and learning rates of pretrained transformers\n"
        ".SH SYNOPSIS\n.B tangram\n\\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n.br\n.B mpirun \\-n\n"
        "\\fIRANKS\\fR \\fBtangram\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n" +
        roff(line.app.get_description()) + ".\n.SH COMMANDS\n";
    for (const CLI::App* const command : commands_of(line.app)) {
        std::string operands;
        for (const CLI::Option* const option : command->get_options())
            if (option->get_positional()) operands += " \\fI" + roff(option->get_name(true)) + "\\fR";
        text += fmt::format(".SS \\fB{}\\fR{}\n{}\n", command->get_name(), operands,
                            roff(command->get_description()));
        for (const CLI::Option* const option : options_of(*command)) text += option_text(*option);
    }
    text += ".SH COMMON OPTIONS\n";
    for (const CLI::Option* const option : options_of(line.app)) text += option_text(*option);
    return text + ".SH EXIT STATUS\n.nf\n" + roff(help("status")) + ".fi\n.SH STUDY FILE\n.nf\n" +
           roff(help("study")) + ".fi\n";
}

std::string bash_completion() {
    const CommandLine line;
    std::string names, branches, keys_text;
    for (const CLI::App* const command : commands_of(line.app)) {
        names += (names.empty() ? "" : "|") + command->get_name();
        branches += fmt::format("        {}) options=\"{}\" ;;\n", command->get_name(),
                                words_of(options_of(*command)));
    }
    for (const Key& key : keys())
        if (key.section() != "tasks") keys_text += (keys_text.empty() ? "" : " ") + key.name + "=";
    std::string commands = names;
    std::ranges::replace(commands, '|', ' ');
    return fmt::format(
        "# bash completion of tangram; made by `tangram help completion`\n"
        "_tangram() {{\n"
        "    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}\n"
        "    local command= options= values= i\n"
        "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
        "        case ${{COMP_WORDS[i]}} in {}) command=${{COMP_WORDS[i]}}; break ;; esac\n"
        "    done\n"
        "    case $command in\n{}    esac\n"
        "    # Bash takes = for a word of its own.\n"
        "    if [ \"$word\" = = ]; then word=\n"
        "    elif [ \"$before\" = = ]; then before=${{COMP_WORDS[COMP_CWORD - 2]}}\n"
        "    fi\n"
        "    case $before in\n{}    esac\n"
        "    COMPREPLY=()\n"
        "    if [ \"$before\" = --set ]; then\n"
        "        compopt -o nospace 2>/dev/null\n"
        "        COMPREPLY=($(compgen -W \"{}\" -- \"$word\"))\n"
        "    elif [ -n \"$values\" ]; then\n"
        "        COMPREPLY=($(compgen -W \"$values\" -- \"$word\"))\n"
        "    elif [ \"$command\" = help ]; then\n"
        "        COMPREPLY=($(compgen -W \"{}\" -- \"$word\"))\n"
        "    elif [[ $word == -* ]]; then\n"
        "        COMPREPLY=($(compgen -W \"$options {}\" -- \"$word\"))\n"
        "    elif [ -z \"$command\" ]; then\n"
        "        COMPREPLY=($(compgen -W \"{}\" -- \"$word\"))\n"
        "    fi\n"
        "}}\n"
        "complete -o default -F _tangram tangram\n",
        names, branches, branches_of_values(line), keys_text, fmt::join(help_topics(), " "),
        words_of(options_of(line.app)), commands);
}

}  // namespace tangram
