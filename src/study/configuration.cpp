#include "tangram/study/configuration.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>

#include "checks.hpp"
#include "study_toml.hpp"
#include "tangram/error.hpp"
#include "tangram/files/json.hpp"
#include "tangram/files/nearest.hpp"

namespace tangram {

namespace {

/// "tasks.samples" and the like.
std::string name_in_a_task(const Key& key) { return "tasks." + key.own_name(); }

[[noreturn]] void refuse_unknown(const std::string& file, const std::string& name,
                                 const std::vector<std::string>& known) {
    refuse(ErrorKind::unknown_name,
           fmt::format("{}: unknown key {}; did you mean {}?", file, name, nearest(name, known)));
}

void check_known_tasks(const toml::node& node, const std::string& file) {
    if (!node.is_array_of_tables())
        refuse(ErrorKind::malformed, fmt::format("{}: write every task as [[tasks]] with a name", file));
    std::vector<std::string> known;
    for (const Key& key : keys())
        if (key.in_tasks()) known.push_back(name_in_a_task(key));
    for (const toml::node& task : *node.as_array())
        for (const auto& [key, value] : *task.as_table()) {
            const std::string own(key.str()), full = "tasks." + own;
            if (std::ranges::find(known, full) == known.end()) refuse_unknown(file, full, known);
        }
}

void check_known(const toml::table& table, const std::string& file) {
    std::vector<std::string> known, sections{"tasks"};
    for (const Key& key : keys()) {
        if (std::ranges::find(sections, key.section()) == sections.end()) sections.push_back(key.section());
        if (key.section() != "tasks") known.push_back(key.name);
    }
    for (const auto& [section, node] : table) {
        const std::string section_name(section.str());
        if (section_name == "tasks") {
            check_known_tasks(node, file);
            continue;
        }
        if (!node.is_table()) refuse_unknown(file, section_name, known);
        for (const auto& [key, value] : *node.as_table()) {
            const std::string full = section_name + "." + std::string(key.str());
            if (std::ranges::find(known, full) == known.end()) refuse_unknown(file, full, known);
        }
        // One without keys would else be passed over.
        if (std::ranges::find(sections, section_name) == sections.end())
            refuse(ErrorKind::unknown_name, fmt::format("{}: unknown section [{}]; did you mean [{}]?", file,
                                                        section_name, nearest(section_name, sections)));
    }
}

/// The defaults with the keys of the table, after the settings were put into it.
Study with_settings(toml::table table, const std::vector<std::string>& settings, const std::string& name) {
    for (const std::string& setting : settings) apply_setting(table, setting);
    check_known(table, name);
    if (table.contains("tasks") && table.contains("data"))
        refuse(ErrorKind::contradiction,
               fmt::format("{}: give [data] or [[tasks]], not both; each task has the keys of [data] itself",
                           name));
    Study study;
    study.finetune.asked = table.contains("finetune");
    if (const toml::array* const tasks = table["tasks"].as_array()) study.tasks.resize(tasks->size());
    for (const KeyValue& at : values_of(study))
        if (const toml::node* const node = find(table, at)) take(at, *node);
    return study;
}

/// The path with ~, $NAME or ${NAME} at its beginning replaced: the home folder, a variable of the
/// environment.
std::string expanded(const std::string& path, const std::string& key) {
    const auto end = std::min(path.find('/'), path.size());
    std::string first = path.substr(0, end);
    if (first == "~")
        first = "$HOME";
    else if (!first.starts_with("$") || first.size() == 1)
        return path;
    const bool braced = first.starts_with("${") && first.ends_with("}");
    const std::string name = braced ? first.substr(2, first.size() - 3) : first.substr(1);
    const char* const value = std::getenv(name.c_str());
    if (value == nullptr || *value == '\0')
        refuse(ErrorKind::missing,
               fmt::format("{} = \"{}\": ${} is not set in the environment; set it, or write the path out",
                           key, path, name));
    return value + path.substr(end);
}

/// Paths from the study file's folder.
void make_absolute(Study& study, const std::filesystem::path& file) {
    const std::filesystem::path folder = std::filesystem::absolute(file).parent_path();
    for (const KeyValue& at : values_of(study)) {
        const Path* const path = std::get_if<Path>(&at.key->allowed);
        if (path == nullptr) continue;
        std::string& value = *std::get<std::string*>(at.value);
        if (path->required && value.empty())
            refuse(ErrorKind::missing,
                   fmt::format("{}: {} is missing; it has no default", file.string(), at.name()));
        if (path->is_path(value)) value = (folder / expanded(value, at.name())).lexically_normal().string();
    }
}

/// No file that is read is replaced by the result.
void check_output_is_not_read(Study& study) {
    for (const KeyValue& at : values_of(study)) {
        if (!std::holds_alternative<Path>(at.key->allowed) || at.name() == "output.path") continue;
        const std::string& path = *std::get<std::string*>(at.value);
        std::error_code code;
        if (std::filesystem::is_regular_file(path, code) &&
            std::filesystem::equivalent(path, study.output.path, code))
            refuse(ErrorKind::contradiction, fmt::format("output.path = {} is the file of {}; name another",
                                                         study.output.path, at.name()));
    }
}

}  // namespace

const std::string& score_of(const Study& study) {
    return (study.tasks.empty() ? study.data : study.tasks.front().data).score;
}

Study default_study(const std::vector<std::string>& settings) {
    Study study = with_settings({}, settings, "--set");
    check_values(study);
    return study;
}

Study read_study(const std::filesystem::path& file, const std::vector<std::string>& settings,
                 FilesRead& files, LabelWords words) {
    std::error_code code;
    if (!std::filesystem::is_regular_file(file, code))
        refuse(ErrorKind::missing,
               fmt::format("{}: no such study file; give the path of a TOML file", file.string()));
    Study study = with_settings(parse_toml(read_text(file, files, ExitStatus::study), file.string()),
                                settings, file.string());
    make_absolute(study, file);
    check_output_is_not_read(study);
    check_values(study);
    check_together(study, words);
    return study;
}

Study study_of_toml(const std::string& text, const std::string& name) {
    return with_settings(parse_toml(text, name), {}, name);
}

void ask_finetune(Study& study) {
    study.finetune.asked = true;
    check_together(study);
}

std::string to_toml(const Study& study) {
    Study copy = study;
    toml::table table;
    toml::array tasks;
    for (std::size_t t = 0; t < copy.tasks.size(); ++t) tasks.push_back(toml::table{});
    for (const KeyValue& at : values_of(copy)) {
        const std::string section = at.key->section();
        if (!at.task && !table.contains(section)) table.insert(section, toml::table{});
        put(at.task ? *tasks[*at.task].as_table() : *table[section].as_table(), at);
    }
    if (!tasks.empty()) table.insert("tasks", tasks);
    std::ostringstream text;
    text << table << "\n";
    return text.str();
}

}  // namespace tangram
