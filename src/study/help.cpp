#include "tangram/study/help.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "tangram/error.hpp"
#include "tangram/files/nearest.hpp"
#include "tangram/model/architectures.hpp"
#include "tangram/model/unread_keys.hpp"
#include "tangram/study/file_contents.hpp"
#include "tangram/study/keys.hpp"
#include "tangram/study/stored_study.hpp"

namespace tangram {

namespace {

/// What an output file holds.
std::string list_of_paths() {
    std::string text;
    for (const FileContent& content : file_contents()) {
        std::string what = content.description;
        if (!content.axes.empty()) what += fmt::format(" ({})", fmt::join(content.axes, " x "));
        if (content.units != "1") what += ", in " + content.units;
        text += fmt::format("{:<38} {}\n", content.path, what);
    }
    return text;
}

std::string allowed_text(const Path& path) { return path.required ? "required" : ""; }
std::string allowed_text(const Anything&) { return ""; }
std::string allowed_text(const Bounds& range) {
    if (range.positive) return "positive";
    std::string text;
    if (range.least) text += fmt::format("at least {}", *range.least);
    if (range.most) text += fmt::format("{}at most {}", text.empty() ? "" : ", ", *range.most);
    return text;
}
std::string allowed_text(const Choices& allowed) {
    std::string text;
    for (const Choices::Choice& choice : allowed.choices)
        text += fmt::format("{}{}{}{}", text.empty() ? "" : " | ", choice.word,
                            choice.meaning.empty() ? "" : ": ", choice.meaning);
    return text;
}

/// What a key means and may hold.
std::string meaning(const KeyValue& at) {
    std::string allowed = std::visit([](const auto& of) { return allowed_text(of); }, at.key->allowed);
    if (std::holds_alternative<StringOrList>(at.value) && !allowed.empty()) allowed += ", or a list";
    const bool choices_first = std::holds_alternative<Choices>(at.key->allowed);
    const std::string& first = choices_first ? allowed : at.key->help;
    const std::string& second = choices_first ? at.key->help : allowed;
    return first + (first.empty() || second.empty() ? "" : "; ") + second;
}

std::string study_help() {
    Study study;
    study.finetune.asked = true;
    const auto defaults = study_keys(to_toml(study));
    std::string text =
        "Keys of the study file (TOML), with their defaults. Relative paths are relative to the file.\n";
    std::string section, decide_nothing;
    for (const KeyValue& at : values_of(study)) {
        const Key& key = *at.key;
        if (key.section() != section) text += fmt::format("\n[{}]\n", section = key.section());
        text += fmt::format("{:<34} # {}\n", key.own_name() + " = " + defaults.at(key.name), meaning(at));
        if (key.decides == Decides::nothing)
            decide_nothing += (decide_nothing.empty() ? "" : ", ") + key.name;
    }
    return text + "\nInstead of [data], several [[tasks]], each with a name and the keys of [data].\n" +
           "No result depends on " + decide_nothing + ".\n";
}

/// "label  a, b, c", in lines of at most 100 characters.
std::string listed(const std::string& label, const std::vector<std::string>& names) {
    constexpr std::size_t width = 100, indent = 11;
    std::string text, row = fmt::format("  {:<{}}", label, indent - 2);
    for (std::size_t i = 0; i < names.size(); ++i) {
        const std::string word = names[i] + (i + 1 < names.size() ? ", " : "");
        if (row.size() + word.size() > width) {
            text += row.substr(0, row.find_last_not_of(' ') + 1) + "\n";
            row = std::string(indent, ' ');
        }
        row += word;
    }
    return text + row + "\n";
}

/// A key that is refused, with the values that are not.
std::string shown(const DecidingKey& key) {
    const std::string_view values = key.neutral.substr(1, key.neutral.size() - 2);
    return values.empty() ? std::string(key.name) : fmt::format("{} (but {})", key.name, values);
}

std::string models_help() {
    const auto refused = [](const KnownKeys& known, const std::vector<std::string>& read) {
        std::vector<std::string> names;
        for (const DecidingKey& key : known.deciding)
            if (std::ranges::find(read, key.name) == read.end()) names.push_back(shown(key));
        return names;
    };
    const auto harmless = [](const KnownKeys& known) {
        return std::vector<std::string>(known.harmless.begin(), known.harmless.end());
    };
    std::string text =
        "Keys of config.json by model_type. What is read is obeyed, or refused where a value is not served. "
        "What is\n"
        "refused changes what is computed and is not served, but for null, an empty value and those in "
        "brackets.\n"
        "Any other key is named in a warning. * stands for any text.\n";
    for (const Architecture& family : architectures()) {
        const std::vector<std::string> read = consumed_keys(family.model_type);
        text += fmt::format("\n{}\n", family.model_type) + listed("read", read) +
                listed("refused", refused(known_model_keys(), read));
    }
    return text + "\nall of them\n" + listed("harmless", harmless(known_model_keys())) +
           "\nadapter_config.json (PEFT)\n" + listed("read", {"lora_alpha", "peft_type", "r", "use_rslora"}) +
           listed("refused", refused(known_adapter_keys(), {})) +
           listed("harmless", harmless(known_adapter_keys()));
}

constexpr const char* status_help =
    "0   done\n"
    "1   tangram compare: the files differ\n"
    "2   the study is missing or wrong (more samples than rows, a label word of two tokens), or does\n"
    "    not fit into memory\n"
    "3   a model or data file is missing or wrong (a label without a word, a weight that is not finite)\n"
    "4   numerical failure: a gradient that is not finite, no convergence, a failed verify\n"
    "5   output or checkpoint: disk full, read-only, torn, locked, of another study\n"
    "75  stopped on purpose (SIGUSR1, SIGTERM under srun, Ctrl-C without mpirun, --time-limit);\n"
    "    the same command goes on\n";

constexpr const char* log_help =
    "--log-json FILE: one JSON object per line; seconds are since the start.\n"
    "{\"seconds\", \"level\": \"info\" | \"warning\" | \"result\", \"text\"}\n"
    "{\"seconds\", \"level\": \"result\", \"name\", \"value\"}: a number, or \"inf\", \"-inf\", \"nan\",\n"
    "of spectrum, rates, finetune, merge and plan\n"
    "{\"seconds\", \"level\": \"error\", \"status\", \"text\"}: what ended the program\n"
    "{\"seconds\", \"level\": \"progress\", \"stage\", \"done\", \"units\", \"seconds_left\", "
    "\"resident_bytes\", \"flops_per_second\", \"bytes_per_second\"}\n"
    "stage is jacobian (examples through the network), gram (slices of the Jacobian), subsets or neighbours; "
    "done\n"
    "and units count equal pieces of it; memory, flops and bytes received from other ranks are rank 0's.\n";

}  // namespace

std::string help(const std::string& topic) {
    if (topic.empty())
        return "tangram help study | output | models | status | log | man | completion\n"
               "  study       every key of the study file, with its default\n"
               "  output      what the output file holds\n"
               "  models      the keys of config.json: read, refused, harmless\n"
               "  status      exit statuses\n"
               "  log         the lines of --log-json\n"
               "  man         the manual page: tangram help man | man -l -\n"
               "  completion  of bash: eval \"$(tangram help completion)\"\n"
               "`tangram --help` lists commands and options.\n";
    if (topic == "study") return study_help();
    if (topic == "output")
        return "Groups and data sets, with their axes; * stands for a name. The same words stand in the "
               "file, as "
               "attributes description and units.\n\n" +
               list_of_paths();
    if (topic == "models") return models_help();
    if (topic == "status") return status_help;
    if (topic == "log") return log_help;
    throw Error(ExitStatus::study, ErrorKind::unknown_name,
                fmt::format("no help on {}; did you mean {}?", topic, nearest(topic, help_topics())));
}

const std::vector<std::string>& help_topics() {
    static const std::vector<std::string> all{"study", "output", "models",    "status",
                                              "log",   "man",    "completion"};
    return all;
}

}  // namespace tangram
