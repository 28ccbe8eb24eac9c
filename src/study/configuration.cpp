#include "tangram/study/configuration.hpp"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "tangram/error.hpp"
#include "tangram/files/json.hpp"
#include "tangram/files/nearest.hpp"

namespace tangram {

namespace {

/// A key whose value may be one string or a list of them.
struct StringOrList {
    std::vector<std::string>& values;
};
/// A number, or "auto".
struct NumberOrAuto {
    std::optional<double>& value;
};
/// A number, a list of them, or "auto" (empty).
struct NumbersOrAuto {
    std::vector<double>& values;
};

/// The keys of [data], which those of a task are too.
template <class Visit>
void for_each_data_key(const std::string& prefix, Study::Data& data, Visit&& visit) {
    visit(prefix + "train", data.train);
    visit(prefix + "test", data.test);
    visit(prefix + "text", data.text);
    visit(prefix + "label", data.label);
    visit(prefix + "labels", data.labels);
    visit(prefix + "template", data.tmpl);
    visit(prefix + "label_words", data.label_words);
    visit(prefix + "max_length", data.max_length);
    visit(prefix + "samples", data.samples);
    visit(prefix + "test_samples", data.test_samples);
    visit(prefix + "seed", data.seed);
}

/// Every key of the contract with the place where its value stands: reading, writing and suggesting go
/// through here.
template <class Visit>
void for_each_key(Study& s, Visit&& visit) {
    visit("model.path", s.model.path);
    visit("model.init", s.model.init);
    visit("model.head", s.model.head);
    visit("model.head_init", s.model.head_init);
    visit("model.seed", s.model.seed);
    for_each_data_key("data.", s.data, visit);
    visit("kernel.parameters", StringOrList{s.kernel.parameters});
    visit("kernel.lora_rank", s.kernel.lora_rank);
    visit("kernel.lora_alpha", s.kernel.lora_alpha);
    visit("kernel.lora_seed", s.kernel.lora_seed);
    visit("kernel.output", s.kernel.output);
    visit("kernel.formula", StringOrList{s.kernel.formula});
    visit("kernel.precision", s.kernel.precision);
    visit("kernel.sketch", s.kernel.sketch);
    visit("kernel.groups", s.kernel.groups);
    visit("spectrum.solver", s.spectrum.solver);
    visit("spectrum.vectors", s.spectrum.vectors);
    visit("spectrum.count", s.spectrum.count);
    visit("spectrum.block", s.spectrum.block);
    visit("rates.noise", NumberOrAuto{s.rates.noise});
    visit("rates.radius", NumberOrAuto{s.rates.radius});
    visit("rates.step_size", NumbersOrAuto{s.rates.step_size});
    visit("rates.center", s.rates.center);
    visit("rates.sizes", s.rates.sizes);
    visit("rates.repeats", s.rates.repeats);
    visit("rates.neighbours", s.rates.neighbours);
    visit("output.path", s.output.path);
    visit("output.save_gram", s.output.save_gram);
    visit("output.checkpoint_minutes", s.output.checkpoint_minutes);
}

[[noreturn]] void refuse(const std::string& message) { throw Error(ExitStatus::study, message); }

[[noreturn]] void wrong_type(const std::string& key, const char* expected) {
    refuse(fmt::format("{} must be {}", key, expected));
}

void take(const std::string& key, const toml::node& node, std::string& value) {
    if (!node.is_string()) wrong_type(key, "a string");
    value = **node.as_string();
}
void take(const std::string& key, const toml::node& node, bool& value) {
    if (!node.is_boolean()) wrong_type(key, "true or false");
    value = **node.as_boolean();
}
void take(const std::string& key, const toml::node& node, Index& value) {
    if (!node.is_integer()) wrong_type(key, "an integer");
    value = **node.as_integer();
}
void take(const std::string& key, const toml::node& node, double& value) {
    if (!node.is_number()) wrong_type(key, "a number");
    value = *node.value<double>();
    if (!std::isfinite(value)) wrong_type(key, "a finite number");
}
template <class Entry>
void take(const std::string& key, const toml::node& node, std::vector<Entry>& values) {
    if (!node.is_array()) wrong_type(key, "a list");
    values.clear();
    for (const toml::node& entry : *node.as_array()) {
        values.emplace_back();
        take(fmt::format("{}[{}]", key, values.size() - 1), entry, values.back());
    }
}
void take(const std::string& key, const toml::node& node, StringOrList target) {
    if (node.is_string())
        target.values = {**node.as_string()};
    else if (node.is_array())
        take(key, node, target.values);
    else
        wrong_type(key, "a string or a list of strings");
}
void take(const std::string& key, const toml::node& node, NumberOrAuto target) {
    if (node.is_string() && **node.as_string() == "auto") {
        target.value.reset();
    } else if (node.is_number()) {
        double number = 0;
        take(key, node, number);
        target.value = number;
    } else {
        wrong_type(key, "a number or \"auto\"");
    }
}

void take(const std::string& key, const toml::node& node, NumbersOrAuto target) {
    if (node.is_array()) {
        take(key, node, target.values);
        if (target.values.empty()) wrong_type(key, "a number, a list of at least one, or \"auto\"");
        return;
    }
    std::optional<double> single;
    take(key, node, NumberOrAuto{single});
    target.values.clear();
    if (single) target.values.push_back(*single);
}

/// Parts that a key may have; those of the contract have two. toml++ goes through what a key opens by
/// recursion: with its limit of 256 nested values the tree stays shallow.
constexpr Index most_key_parts = 16;

/// Where the string of a TOML text that begins at byte `first` ends, or its line where it does not.
std::size_t end_of_string(std::string_view text, std::size_t first) {
    const char quote = text[first];
    const std::string fence(3, quote);
    const bool multiline = text.substr(first).starts_with(fence);
    for (std::size_t i = first + (multiline ? 3 : 1); i < text.size(); ++i) {
        if (text[i] == '\\' && quote == '"') {
            ++i;
        } else if (!multiline && (text[i] == quote || text[i] == '\n')) {
            return text[i] == quote ? i + 1 : i;
        } else if (multiline && text.substr(i).starts_with(fence)) {
            // One or two quotes may stand before the three that end it.
            return std::min(text.find_first_not_of(quote, i), std::min(i + 5, text.size()));
        }
    }
    return text.size();
}

/// The line of the first key of more parts than a key may have; dots in strings and comments join none.
std::optional<Index> line_of_deep_key(std::string_view text) {
    Index line = 1, parts = 1;
    for (std::size_t i = 0; i < text.size();) {
        const char c = text[i];
        std::size_t next = i + 1;
        if (c == '#') {
            next = std::min(text.find('\n', i), text.size());
        } else if (c == '"' || c == '\'') {
            next = end_of_string(text, i);
        } else if (c == '.') {
            if (++parts > most_key_parts) return line;
        } else if (std::string_view("\n,=[]{}").find(c) != std::string_view::npos) {
            parts = 1;
        }
        line +=
            std::count(text.begin() + static_cast<Index>(i), text.begin() + static_cast<Index>(next), '\n');
        i = next;
    }
    return std::nullopt;
}

toml::table parse(std::string_view text, const std::string& name) {
    if (const auto line = line_of_deep_key(text))
        refuse(fmt::format("{}: line {}: a key of more than {} parts; write section.key, as in data.samples",
                           name, *line, most_key_parts));
    try {
        return toml::parse(text, name);
    } catch (const toml::parse_error& e) {
        refuse(fmt::format("{}: line {}: {}", name, e.source().begin.line, e.description()));
    }
}

/// The value of `--set key=value`: TOML where it parses, bare text as a string otherwise.
void apply_setting(toml::table& table, const std::string& setting) {
    const auto equals = setting.find('=');
    if (equals == std::string::npos || equals == 0)
        refuse(fmt::format("--set {}: write key=value, for example --set data.samples=128", setting));
    const std::string key = setting.substr(0, equals), text = setting.substr(equals + 1);
    toml::table value;
    try {
        value = parse("value = " + text, "--set");
    } catch (const Error&) {
        value = toml::table{{"value", text}};
    }
    if (value.size() != 1) value = toml::table{{"value", text}};
    const auto dot = key.find('.');
    if (dot == std::string::npos)
        refuse(fmt::format("--set {}: the key needs its section, as in data.samples", setting));
    const std::string section = key.substr(0, dot);
    if (!table.contains(section)) table.insert(section, toml::table{});
    if (!table[section].is_table()) refuse(fmt::format("--set {}: [{}] is not a section", setting, section));
    table[section].as_table()->insert_or_assign(key.substr(dot + 1), *value.get("value"));
}

void check_known_tasks(const toml::node& node, const std::string& file) {
    if (!node.is_array_of_tables())
        refuse(fmt::format("{}: write every task as [[tasks]] with a name", file));
    Study::Data data;
    std::vector<std::string> known{"tasks.name"};
    for_each_data_key("tasks.", data, [&](const std::string& key, auto&&) { known.push_back(key); });
    for (const toml::node& task : *node.as_array())
        for (const auto& [key, value] : *task.as_table()) {
            const std::string full = "tasks." + std::string(key.str());
            if (std::find(known.begin(), known.end(), full) == known.end())
                refuse(fmt::format("{}: unknown key {}; did you mean {}?", file, full, nearest(full, known)));
        }
}

void check_known(const toml::table& table, Study& study, const std::string& file) {
    std::vector<std::string> known;
    for_each_key(study, [&](const std::string& key, auto&&) { known.emplace_back(key); });
    for (const auto& [section, node] : table) {
        const std::string section_name(section.str());
        if (section_name == "finetune")
            refuse(
                fmt::format("{}: [finetune] is not available in this version of tangram; remove it", file));
        if (section_name == "tasks") {
            check_known_tasks(node, file);
            continue;
        }
        if (!node.is_table()) {
            refuse(fmt::format("{}: unknown key {}; did you mean {}?", file, section_name,
                               nearest(section_name, known)));
        }
        for (const auto& [key, value] : *node.as_table()) {
            const std::string full = section_name + "." + std::string(key.str());
            if (std::find(known.begin(), known.end(), full) == known.end())
                refuse(fmt::format("{}: unknown key {}; did you mean {}?", file, full, nearest(full, known)));
        }
    }
}

void one_of(const std::string& key, const std::string& value, std::initializer_list<const char*> values) {
    std::string list;
    for (const char* candidate : values) {
        if (value == candidate) return;
        list += (list.empty() ? "" : ", ") + fmt::format("\"{}\"", candidate);
    }
    refuse(fmt::format("{} = \"{}\" is not possible; use one of {}", key, value, list));
}

void at_least(const std::string& key, double value, double bound) {
    if (!(value >= bound)) refuse(fmt::format("{} = {} must be at least {}", key, value, bound));
}

/// Values of the contract that this version does not serve: refused by name, never ignored.
void only_zero(const std::string& key, double value) {
    if (value != 0)
        refuse(fmt::format("{} = {} is not available in this version of tangram; leave it 0", key, value));
}

void check_rates(const Study& s) {
    if (s.rates.noise) at_least("rates.noise", *s.rates.noise, 0);
    if (s.rates.noise && *s.rates.noise > 1e100)
        refuse(fmt::format("rates.noise = {} is no standard deviation of labels", *s.rates.noise));
    if (s.rates.radius && !(*s.rates.radius > 0))
        refuse(fmt::format("rates.radius = {} must be positive", *s.rates.radius));
    double before = std::numeric_limits<double>::infinity();
    for (const double alpha : s.rates.step_size) {
        if (!(alpha > 0)) refuse(fmt::format("rates.step_size = {} must be positive", alpha));
        if (alpha > before)
            refuse(fmt::format("rates.step_size: {} follows {}; step sizes must not grow", alpha, before));
        before = alpha;
    }
    at_least("rates.neighbours", static_cast<double>(s.rates.neighbours), 0);
    for (const Index size : s.rates.sizes) at_least("rates.sizes", static_cast<double>(size), 2);
    at_least("rates.repeats", static_cast<double>(s.rates.repeats), 1);
}

void check_data(const std::string& prefix, const Study::Data& data, bool classifier) {
    if (!classifier && data.tmpl.empty() && !data.train.ends_with(".h5"))
        refuse(prefix +
               "template is missing; it is needed where head = \"lm\", for example \"{text} It was\"");
    if (!classifier && data.label_words.size() < 2 && !data.train.ends_with(".h5"))
        refuse(prefix +
               "label_words is missing; give one word per label, for example [\" bad\", \" great\"]");
    at_least(prefix + "max_length", static_cast<double>(data.max_length), 1);
    at_least(prefix + "samples", static_cast<double>(data.samples), 0);
    at_least(prefix + "test_samples", static_cast<double>(data.test_samples), 0);
    if (!data.labels.empty() && !data.label_words.empty() && data.labels.size() != data.label_words.size())
        refuse(
            fmt::format("{0}labels names {1} labels, {0}label_words gives {2} words; give one word per label",
                        prefix, data.labels.size(), data.label_words.size()));
}

void check_formulas(const Study& s) {
    const std::vector<std::string>& formulas = s.kernel.formula;
    if (formulas.empty()) refuse("kernel.formula is empty; name one, \"sgd\" for example");
    for (std::size_t f = 0; f < formulas.size(); ++f) {
        one_of("kernel.formula", formulas[f], {"sgd", "signgd", "asymmetric-signgd"});
        if (std::find(formulas.begin(), formulas.begin() + static_cast<Index>(f), formulas[f]) !=
            formulas.begin() + static_cast<Index>(f))
            refuse(fmt::format("kernel.formula names \"{}\" twice", formulas[f]));
    }
    if (formulas.front() == "asymmetric-signgd")
        refuse(
            "kernel.formula: \"asymmetric-signgd\" is not symmetric and has no spectrum; name another "
            "formula first");
    if (formulas.size() > 1 && !s.output.save_gram)
        refuse("kernel.formula: several formulas need output.save_gram = true");
    if (s.kernel.sketch > 0 && (formulas.size() > 1 || formulas.front() != "sgd"))
        refuse(
            "kernel.sketch is for formula = \"sgd\": the signs of projected gradients are not those of the "
            "gradients");
}

void check_values(const Study& s) {
    one_of("model.init", s.model.init, {"pretrained", "random", "mixed"});
    one_of("model.head", s.model.head, {"lm", "classifier"});
    one_of("model.head_init", s.model.head_init, {"random", "least-squares"});
    if (s.tasks.empty()) check_data("data.", s.data, s.model.head == "classifier");
    for (std::size_t t = 0; t < s.tasks.size(); ++t) {
        const Study::Task& task = s.tasks[t];
        const std::string at = fmt::format("tasks[{}].", t);
        if (task.name.empty()) refuse(at + "name is missing; every task needs a name");
        if (task.name.find_first_of("/:+ ") != std::string::npos || task.name == ".")
            refuse(fmt::format("{}name = \"{}\" must hold no blank and none of / : +", at, task.name));
        for (std::size_t other = 0; other < t; ++other)
            if (s.tasks[other].name == task.name)
                refuse(fmt::format("{}name = \"{}\" stands twice", at, task.name));
        if (task.data.train.empty()) refuse(at + "train is missing; it has no default");
        check_data(at, task.data, s.model.head == "classifier");
    }
    if (!s.kernel.output.empty())
        one_of("kernel.output", s.kernel.output, {"margin", "logits", "trace", "sum", "loss"});
    check_formulas(s);
    one_of("kernel.precision", s.kernel.precision, {"mixed", "double"});
    at_least("kernel.lora_rank", static_cast<double>(s.kernel.lora_rank), 0);
    if (s.kernel.lora_rank > 65536)
        refuse(fmt::format("kernel.lora_rank = {} must be at most 65536", s.kernel.lora_rank));
    at_least("kernel.lora_alpha", s.kernel.lora_alpha, 0);
    if (s.kernel.lora_alpha > 0 && s.kernel.lora_rank == 0)
        refuse("kernel.lora_alpha needs kernel.lora_rank, the rank of the LoRA factors");
    at_least("kernel.sketch", static_cast<double>(s.kernel.sketch), 0);
    one_of("kernel.groups", s.kernel.groups, {"none", "kind", "layer"});
    if (s.kernel.groups != "none" && !s.output.save_gram)
        refuse(fmt::format("kernel.groups = \"{}\" needs output.save_gram = true", s.kernel.groups));
    only_zero("spectrum.count", static_cast<double>(s.spectrum.count));
    at_least("spectrum.block", static_cast<double>(s.spectrum.block), 0);
    check_rates(s);
    const auto tested = [](const Study::Task& task) { return !task.data.test.empty(); };
    if (s.rates.neighbours > 0 && s.data.test.empty() && std::none_of(s.tasks.begin(), s.tasks.end(), tested))
        refuse("rates.neighbours needs data.test: the neighbours are those of the test examples");
    if (s.model.head_init == "least-squares" && s.model.head != "classifier")
        refuse(
            "model.head_init = \"least-squares\" needs head = \"classifier\": a language model's head is not "
            "fitted");
    at_least("output.checkpoint_minutes", s.output.checkpoint_minutes, 0);
}

/// The defaults with the keys of the table, after the settings were put into it.
Study with_settings(toml::table table, const std::vector<std::string>& settings, const std::string& name) {
    for (const std::string& setting : settings) apply_setting(table, setting);
    Study study;
    check_known(table, study, name);
    for_each_key(study, [&](const std::string& key, auto&& target) {
        const auto dot = key.find('.');
        const toml::node* const node = table[key.substr(0, dot)][key.substr(dot + 1)].node();
        if (node != nullptr) take(key, *node, target);
    });
    if (table.contains("tasks") && table.contains("data"))
        refuse(fmt::format("{}: give [data] or [[tasks]], not both; each task has the keys of [data] itself",
                           name));
    if (const toml::array* const tasks = table["tasks"].as_array())
        for (const toml::node& entry : *tasks) {
            Study::Task& task = study.tasks.emplace_back();
            const std::string at = fmt::format("tasks[{}].", study.tasks.size() - 1);
            const auto read = [&](const std::string& key, auto&& target) {
                const toml::node* const node = entry.as_table()->get(key.substr(at.size()));
                if (node != nullptr) take(key, *node, target);
            };
            read(at + "name", task.name);
            for_each_data_key(at, task.data, read);
        }
    return study;
}

/// Writes a key's value as TOML.
template <class T>
void put(toml::table& target, const std::string& name, const T& value) {
    const auto put_list = [&](const auto& values) {
        toml::array list;
        for (const auto& entry : values) list.push_back(entry);
        target.insert(name, list);
    };
    if constexpr (std::is_same_v<T, StringOrList>) {
        put_list(value.values);
    } else if constexpr (std::is_same_v<T, NumbersOrAuto>) {
        if (value.values.empty())
            target.insert(name, "auto");
        else if (value.values.size() == 1)
            target.insert(name, value.values.front());
        else
            put_list(value.values);
    } else if constexpr (std::is_same_v<T, NumberOrAuto>) {
        if (value.value)
            target.insert(name, *value.value);
        else
            target.insert(name, "auto");
    } else if constexpr (std::is_same_v<T, std::vector<std::string>> ||
                         std::is_same_v<T, std::vector<Index>>) {
        put_list(value);
    } else {
        target.insert(name, value);
    }
}

}  // namespace

Study default_study(const std::vector<std::string>& settings) {
    const Study study = with_settings({}, settings, "--set");
    check_rates(study);
    return study;
}

Study read_study(const std::filesystem::path& file, const std::vector<std::string>& settings) {
    std::error_code code;
    if (!std::filesystem::is_regular_file(file, code))
        refuse(fmt::format("{}: no such study file; give the path of a TOML file", file.string()));
    Study study =
        with_settings(parse(read_text(file, ExitStatus::study), file.string()), settings, file.string());

    const std::filesystem::path folder = std::filesystem::absolute(file).parent_path();
    std::vector<std::pair<const char*, std::string*>> required{{"model.path", &study.model.path},
                                                               {"output.path", &study.output.path}};
    if (study.tasks.empty()) required.emplace_back("data.train", &study.data.train);
    for (const auto& [key, path] : required)
        if (path->empty()) refuse(fmt::format("{}: {} is missing; it has no default", file.string(), key));
    std::vector<std::string*> paths{&study.model.path, &study.output.path, &study.data.train,
                                    &study.data.test};
    for (Study::Task& task : study.tasks) paths.insert(paths.end(), {&task.data.train, &task.data.test});
    for (std::string* path : paths)
        if (!path->empty()) *path = (folder / *path).lexically_normal().string();
    check_values(study);
    return study;
}

namespace {

toml::table table_of(const Study& study) {
    Study copy = study;
    toml::table table;
    for_each_key(copy, [&](const std::string& key, auto&& value) {
        const auto dot = key.find('.');
        const std::string section = key.substr(0, dot);
        if (section == "data" && !copy.tasks.empty()) return;
        if (!table.contains(section)) table.insert(section, toml::table{});
        put(*table[section].as_table(), key.substr(dot + 1), value);
    });
    toml::array tasks;
    for (Study::Task& task : copy.tasks) {
        toml::table entry{{"name", task.name}};
        for_each_data_key("", task.data,
                          [&](const std::string& key, auto&& value) { put(entry, key, value); });
        tasks.push_back(entry);
    }
    if (!tasks.empty()) table.insert("tasks", tasks);
    return table;
}

}  // namespace

std::optional<std::string> kernel_difference(const Study& study, const std::string& stored_toml) {
    const toml::table now = table_of(study), then = parse(stored_toml, "/provenance@study");
    const auto text_of = [](toml::node_view<const toml::node> node) {
        std::ostringstream text;
        text << toml::default_formatter(*node.node());
        return text.str();
    };
    const auto difference = [&](const std::string& at, const toml::table& a,
                                const toml::table& b) -> std::optional<std::string> {
        for (const auto& [key, node] : a) {
            const std::string name(key.str());
            const auto other = b[name];
            if (!other.node()) continue;  // a key that an older version did not have
            const std::string here = text_of(toml::node_view<const toml::node>(node)), there = text_of(other);
            if (here != there)
                return fmt::format("{}{} is {} in the file and {} in the study", at, name, there, here);
        }
        return std::nullopt;
    };
    for (const char* section : {"model", "data", "kernel"}) {
        const toml::table *const a = now[section].as_table(), *const b = then[section].as_table();
        if ((a == nullptr) != (b == nullptr)) return fmt::format("one has [{}], the other has not", section);
        if (a != nullptr)
            if (auto found = difference(fmt::format("{}.", section), *a, *b)) return found;
    }
    const toml::array *const a = now["tasks"].as_array(), *const b = then["tasks"].as_array();
    const std::size_t mine = a != nullptr ? a->size() : 0, theirs = b != nullptr ? b->size() : 0;
    if (mine != theirs) return fmt::format("{} tasks in the file and {} in the study", theirs, mine);
    for (std::size_t t = 0; t < mine; ++t) {
        const toml::table* const stored = (*b)[t].as_table();
        if (stored == nullptr)
            return fmt::format("tasks[{}] is {} in the file and a table in the study", t,
                               text_of(toml::node_view<const toml::node>((*b)[t])));
        if (auto found = difference(fmt::format("tasks[{}].", t), *(*a)[t].as_table(), *stored)) return found;
    }
    return std::nullopt;
}

std::map<std::string, std::string> study_keys(const std::string& stored_toml) {
    std::map<std::string, std::string> keys;
    // What remains to be unfolded: as deep as a file may be, recursion would take all of the stack.
    const toml::table root = parse(stored_toml, "/provenance@study");
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
            std::ostringstream text;
            text << toml::default_formatter(*node);
            keys[at] = text.str();
        }
    }
    return keys;
}

std::vector<std::string> study_differences(const std::string& first, const std::string& second) {
    const auto a = study_keys(first), b = study_keys(second);
    const auto value = [](const auto& keys, const std::string& key) {
        const auto found = keys.find(key);
        return found == keys.end() ? "absent" : found->second;
    };
    auto all = a;
    all.insert(b.begin(), b.end());
    std::vector<std::string> differences;
    for (const auto& [key, ignored] : all)
        if (value(a, key) != value(b, key))
            differences.push_back(fmt::format("{}: {} | {}", key, value(a, key), value(b, key)));
    return differences;
}

std::string to_toml(const Study& study) {
    std::ostringstream text;
    text << table_of(study) << "\n";
    return text.str();
}

}  // namespace tangram
