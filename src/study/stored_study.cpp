#include "tangram/study/stored_study.hpp"

#include <fmt/core.h>

#include <sstream>

#include "study_toml.hpp"
#include "tangram/error.hpp"

namespace tangram {

namespace {

constexpr const char* place_of_study = "/provenance@study";

}  // namespace

std::string stored_study(const Hdf5File& file, const std::filesystem::path& name) {
    const std::string text = file.text_attribute("/provenance", "study");
    try {
        study_keys(text);
    } catch (const Error& e) {
        throw Error(ExitStatus::output, e.kind(), fmt::format("{}: {}", name.string(), e.what()));
    }
    return text;
}

std::string study_or_remark(const Hdf5File& file) {
    return file.has_attribute("/provenance", "study") ? file.text_attribute("/provenance", "study") : "";
}

bool is_remark(const std::string& stored) { return stored.starts_with("# "); }

std::string with_sections(const std::string& stored_toml, const Study& study,
                          const std::vector<std::string>& sections) {
    toml::table kept = parse_toml(stored_toml, place_of_study);
    const toml::table own = parse_toml(to_toml(study), place_of_study);
    for (const std::string& section : sections)
        if (const toml::node* const node = own.get(section)) kept.insert_or_assign(section, *node);
    std::ostringstream text;
    text << kept << "\n";
    return text.str();
}

std::map<std::string, std::string> study_keys(const std::string& stored_toml) {
    std::map<std::string, std::string> keys;
    // What remains to be unfolded: as deep as a file may be, recursion would take all of the stack.
    const toml::table root = parse_toml(stored_toml, place_of_study);
    std::vector<std::pair<std::string, const toml::node*>> open{{"", &root}};
    while (!open.empty()) {
        const auto [at, node] = std::move(open.back());
        open.pop_back();
        if (const toml::table* const table = node->as_table()) {
            for (const auto& [key, value] : *table)
                open.emplace_back(at.empty() ? std::string(key.str()) : fmt::format("{}.{}", at, key.str()),
                                  &value);
        } else if (node->is_array_of_tables()) {
            const toml::array& tables = *node->as_array();
            for (std::size_t i = 0; i < tables.size(); ++i)
                open.emplace_back(fmt::format("{}[{}]", at, i), &tables[i]);
        } else {
            keys[at] = text_of(*node);
        }
    }
    return keys;
}

std::map<std::string, std::string> complete_study_keys(const std::string& stored_toml) {
    std::map<std::string, std::string> keys = study_keys(stored_toml);
    const auto has_section = [&](const std::string& section) {
        const auto at = keys.lower_bound(section + ".");
        return at != keys.end() && at->first.starts_with(section + ".");
    };
    Study defaults;
    defaults.finetune.asked = has_section("finetune");
    while (has_section(fmt::format("tasks[{}]", defaults.tasks.size()))) defaults.tasks.emplace_back();
    keys.merge(study_keys(to_toml(defaults)));
    return keys;
}

std::optional<std::string> kernel_difference(const Study& study, const std::string& stored_toml) {
    const toml::table then = parse_toml(stored_toml, place_of_study);
    Study now = study;
    const toml::array* const tasks = then["tasks"].as_array();
    const std::size_t theirs = tasks != nullptr ? tasks->size() : 0, mine = now.tasks.size();
    if (theirs != mine) return fmt::format("{} tasks in the file and {} in the study", theirs, mine);
    for (std::size_t t = 0; t < mine; ++t)
        if (!(*tasks)[t].is_table())
            return fmt::format("tasks[{}] is {} in the file and a table in the study", t,
                               text_of((*tasks)[t]));
    for (const KeyValue& at : values_of(now)) {
        if (!decides_kernel(at.key->decides)) continue;
        if (!at.task && !then[at.key->section()].is_table())
            return fmt::format("[{}] is missing in the file", at.key->section());
        const toml::node* const stored = find(then, at);
        if (stored == nullptr) continue;  // a key that an older version did not have
        const std::string here = toml_of(at), there = text_of(*stored);
        if (here != there)
            return fmt::format("{} is {} in the file and {} in the study", at.name(), there, here);
    }
    return std::nullopt;
}

StudyDifferences study_differences(const std::string& first, const std::string& second) {
    const auto a = complete_study_keys(first), b = complete_study_keys(second);
    const auto value = [](const auto& keys, const std::string& key) {
        const auto found = keys.find(key);
        return found == keys.end() ? "absent" : found->second;
    };
    auto all = a;
    all.insert(b.begin(), b.end());
    StudyDifferences differences;
    for (const auto& [key, ignored] : all) {
        if (value(a, key) == value(b, key)) continue;
        differences.texts.push_back(fmt::format("{}: {} | {}", key, value(a, key), value(b, key)));
        differences.results = differences.results || decides_a_result(key);
    }
    return differences;
}

}  // namespace tangram
