#include "tangram/study/keys.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "support/expect_error.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"
#include "tangram/study/stored_study.hpp"

namespace tangram {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

const std::string one_data_set = R"([model]
path = "/m"
[data]
train = "/a.tsv"
template = "{text}"
label_words = ["x", "y"]
[output]
path = "/o.h5"
)";
const std::string two_tasks = R"([model]
path = "/m"
[[tasks]]
name = "one"
train = "/a.tsv"
template = "{text}"
label_words = ["x", "y"]
[[tasks]]
name = "two"
train = "/b.tsv"
template = "{text}"
label_words = ["x", "y"]
[output]
path = "/o.h5"
)";

/// The names and defaults that users rely on; of a task's name there is none.
const std::map<std::string, std::string> promised{
    {"model.path", "''"},
    {"model.init", "'pretrained'"},
    {"model.adapter", "'auto'"},
    {"model.head", "'lm'"},
    {"model.head_init", "'random'"},
    {"model.seed", "1"},
    {"data.train", "''"},
    {"data.test", "''"},
    {"data.text", "'text'"},
    {"data.label", "'label'"},
    {"data.labels", "[]"},
    {"data.template", "''"},
    {"data.label_words", "[]"},
    {"data.score", "'logit'"},
    {"data.completion", "''"},
    {"data.max_length", "64"},
    {"data.samples", "0"},
    {"data.test_samples", "0"},
    {"data.seed", "1"},
    {"kernel.parameters", "[ 'all' ]"},
    {"kernel.lora_rank", "0"},
    {"kernel.lora_alpha", "0.0"},
    {"kernel.lora_seed", "1"},
    {"kernel.output", "''"},
    {"kernel.formula", "[ 'sgd' ]"},
    {"kernel.precision", "'mixed'"},
    {"kernel.sketch", "0"},
    {"kernel.groups", "'none'"},
    {"spectrum.solver", "'auto'"},
    {"spectrum.vectors", "true"},
    {"spectrum.count", "0"},
    {"spectrum.block", "0"},
    {"spectrum.matrix", "'formed'"},
    {"spectrum.density", "false"},
    {"rates.noise", "'auto'"},
    {"rates.radius", "'auto'"},
    {"rates.step_size", "'auto'"},
    {"rates.center", "true"},
    {"rates.sizes", "[]"},
    {"rates.window", "[]"},
    {"rates.repeats", "5"},
    {"rates.neighbours", "0"},
    {"finetune.optimizer", "'gd'"},
    {"finetune.loss", "'squared'"},
    {"finetune.learning_rate", "'auto'"},
    {"finetune.steps", "'auto'"},
    {"finetune.batch", "0"},
    {"finetune.momentum", "0.0"},
    {"finetune.weight_decay", "0.0"},
    {"finetune.schedule", "'constant'"},
    {"finetune.seed", "1"},
    {"output.path", "''"},
    {"output.save_gram", "true"},
    {"output.checkpoint_minutes", "10.0"},
};

/// Default values, those of [finetune] among them.
Study every_section() {
    Study study;
    study.finetune.asked = true;
    return study;
}

/// Makes a value another one of its type that a study may hold, where any may be held.
void change(const KeyValue& at) {
    std::visit(
        [&](const auto& value) {
            using Type = std::decay_t<decltype(value)>;
            const auto* const choices = std::get_if<Choices>(&at.key->allowed);
            if constexpr (std::is_same_v<Type, std::string*>)
                *value = choices != nullptr ? choices->choices[1].word
                                            : (*value == "auto" ? "/auto" : *value) + "/z";
            else if constexpr (std::is_same_v<Type, bool*>)
                *value = !*value;
            else if constexpr (std::is_same_v<Type, Index*> || std::is_same_v<Type, double*>)
                *value += 1;
            else if constexpr (std::is_same_v<Type, std::optional<double>*>)
                *value = 0.1;
            else if constexpr (std::is_same_v<Type, std::optional<Index>*>)
                *value = 3;
            else if constexpr (std::is_same_v<Type, std::vector<std::string>*>)
                *value = {"p", "\"q'\n"};
            else if constexpr (std::is_same_v<Type, std::vector<Index>*>)
                *value = {5, 9};
            else if constexpr (std::is_same_v<Type, FlagOrWord>)
                *value.word = choices->choices.back().word;
            else if constexpr (std::is_same_v<Type, StringOrList>)
                *value.values = {choices != nullptr ? choices->choices[1].word : "b.*"};
            else
                *value.values = {0.3, 0.1};
        },
        at.value);
}

TEST(Keys, AreWhatWasPromised) {
    std::set<std::string> declared;
    for (const Key& key : keys()) {
        EXPECT_TRUE(declared.insert(key.name).second) << key.name << " stands twice";
        EXPECT_EQ(key.name, key.section() + "." + key.own_name());
        // A section is a stage's.
        const std::string section = key.section();
        EXPECT_EQ(key.decides == Decides::spectrum, section == "spectrum") << key.name;
        EXPECT_EQ(key.decides == Decides::rates, section == "rates") << key.name;
        EXPECT_EQ(key.decides == Decides::finetune, section == "finetune") << key.name;
        EXPECT_EQ(key.decides == Decides::nothing, section == "output") << key.name;
    }
    EXPECT_TRUE(declared.erase("tasks.name"));
    std::set<std::string> names;
    for (const auto& [name, value] : promised) names.insert(name);
    EXPECT_EQ(declared, names);
    EXPECT_EQ(study_keys(to_toml(every_section())), promised);
    // A study without [finetune] does not get one by being stored.
    EXPECT_EQ(to_toml(Study{}).find("finetune"), std::string::npos);
}

TEST(Keys, EveryOneIsReadBackAsItIsWritten) {
    const TemporaryFolder folder;
    for (const std::string& text : {one_data_set, two_tasks, one_data_set + "[finetune]\n"}) {
        const Study plain = read_study(folder.write("plain.toml", text), {}, testing::Unrecorded());
        Study counted = plain;
        const std::size_t count = values_of(counted).size();
        EXPECT_EQ(count, plain.finetune.asked ? promised.size()
                         : text == two_tasks  ? promised.size() - 9 - 13 + 2 * 14
                                              : promised.size() - 9);
        for (std::size_t k = 0; k < count; ++k) {
            Study changed = plain;
            // What these need beside them.
            changed.model.head = "classifier";
            changed.kernel.lora_rank = 2;
            changed.finetune.optimizer = "sgd";
            changed.finetune.steps = 9;
            (changed.tasks.empty() ? changed.data : changed.tasks.front().data).test = "/t.tsv";
            const KeyValue at = values_of(changed)[k];
            // Tasks share one score, and have no completions (configuration.cpp).
            const bool completes = at.key->name == "data.completion", scores = at.key->name == "data.score";
            if (at.task && (completes || scores)) continue;
            if (completes || scores) changed.model.head = "lm";
            if (completes) changed.data.label_words.clear();
            if (completes) changed.data.score = "log-likelihood";
            if (at.key->name == "spectrum.matrix") {
                changed.spectrum.count = 2;
                changed.data.test.clear();
                for (Study::Task& task : changed.tasks) task.data.test.clear();
            }
            const std::string before = to_toml(changed);
            if (plain.finetune.asked && at.key->section() != "finetune") continue;  // seen before
            if (at.key->name == "model.head" || at.key->name == "tasks.name")
                *std::get<std::string*>(at.value) = at.task ? "another" : "lm";
            else if (at.key->name == "finetune.optimizer")
                *std::get<std::string*>(at.value) = "gd";
            else if (at.key->name == "finetune.momentum")
                *std::get<double*>(at.value) = 0.5;
            else
                change(at);
            const std::string written = to_toml(changed);
            EXPECT_NE(written, before) << at.name();
            Study read = read_study(folder.write("written.toml", written), {}, testing::Unrecorded());
            EXPECT_EQ(text_of(values_of(read)[k].value), text_of(at.value)) << at.name();
            EXPECT_EQ(to_toml(read), written) << at.name();
        }
    }
}

TEST(Keys, TellUnlikeValuesApart) {
    Study study = every_section();
    for (const KeyValue& at : values_of(study)) {
        const std::string before = text_of(at.value);
        change(at);
        EXPECT_NE(text_of(at.value), before) << at.name();
    }
    std::vector<std::string> two{"a", "b"}, one{"a b"}, quoted{"a\", \"b"};
    EXPECT_NE(text_of(&two), text_of(&one));
    EXPECT_NE(text_of(&two), text_of(&quoted));
    double tenth = 0.1, next = std::nextafter(0.1, 1.0);
    EXPECT_NE(text_of(&tenth), text_of(&next));
}

TEST(Keys, OutsideTheirBoundsAreRefusedByName) {
    const TemporaryFolder folder;
    const auto refused = [&](const std::string& name, double value, const std::string& bound) {
        const bool list = name == "rates.sizes" || name == "rates.window";
        const std::string text = list ? fmt::format("[300, {}]", value) : fmt::format("{}", value);
        expect_error(ExitStatus::study, ErrorKind::out_of_range, {name + " = ", bound}, [&] {
            read_study(folder.write("study.toml", one_data_set), {name + "=" + text}, testing::Unrecorded());
        });
        if (name.starts_with("data.")) {
            const std::string of_task = name.substr(5) + " = " + text + "\n[output]";
            std::string tasks = two_tasks;
            tasks.replace(tasks.find("[output]"), 8, of_task);
            expect_error(ExitStatus::study, ErrorKind::out_of_range,
                         {"tasks[1]." + name.substr(5) + " = ", bound},
                         [&] { read_study(folder.write("study.toml", tasks), {}, testing::Unrecorded()); });
        }
    };
    const std::map<std::string, double> least{{"data.max_length", 1},   {"data.samples", 0},
                                              {"data.test_samples", 0}, {"kernel.lora_rank", 0},
                                              {"kernel.lora_alpha", 0}, {"kernel.sketch", 0},
                                              {"spectrum.count", 0},    {"spectrum.block", 0},
                                              {"rates.noise", 0},       {"rates.sizes", 2},
                                              {"rates.window", 1},      {"rates.repeats", 1},
                                              {"rates.neighbours", 0},  {"output.checkpoint_minutes", 0},
                                              {"finetune.steps", 1},    {"finetune.batch", 0},
                                              {"finetune.momentum", 0}, {"finetune.weight_decay", 0}};
    for (const auto& [name, bound] : least) refused(name, bound - 1, fmt::format("{}", bound));
    refused("kernel.lora_rank", 65537, "65536");
    refused("rates.repeats", 10001, "10000");
    refused("kernel.sketch", 1073741825, "1073741824");
    refused("rates.noise", 1e101, "1e+100");
    refused("finetune.momentum", 1, "0.999999");
    refused("rates.radius", 0, "");
    refused("finetune.learning_rate", 0, "");
    refused("rates.step_size", 0, "");
    for (const Key& key : keys())
        EXPECT_EQ(std::holds_alternative<Bounds>(key.allowed),
                  least.contains(key.name) || key.name == "rates.radius" || key.name == "rates.step_size" ||
                      key.name == "finetune.learning_rate")
            << key.name;
    // The bounds themselves are allowed.
    const Study allowed = read_study(folder.write("study.toml", one_data_set),
                                     {"data.max_length=1", "rates.sizes=[2]", "rates.repeats=1",
                                      "kernel.lora_rank=65536", "rates.noise=0"},
                                     testing::Unrecorded());
    EXPECT_EQ(allowed.rates.sizes, std::vector<Index>{2});
    EXPECT_EQ(default_study({"rates.noise=1e100"}).rates.noise, 1e100);
    expect_error(ExitStatus::study, ErrorKind::out_of_range, {"rates.repeats = 0"},
                 [] { default_study({"rates.repeats=0"}); });
}

TEST(Keys, WordsThatNobodyDeclaredAreRefusedByName) {
    const TemporaryFolder folder;
    for (const Key& key : keys()) {
        const auto* const choices = std::get_if<Choices>(&key.allowed);
        if (choices == nullptr) continue;
        const auto refused = [&](const std::string& word) {
            expect_error(ExitStatus::study, ErrorKind::unknown_name,
                         {key.name + " = \"" + word + "\"", '"' + choices->choices[0].word + '"'}, [&] {
                             read_study(folder.write("study.toml", one_data_set), {key.name + "=" + word},
                                        testing::Unrecorded());
                         });
        };
        refused("nonsense");
        if (!choices->or_empty) refused("");
    }
}

TEST(Keys, ThatDecideNothingDoNotCount) {
    const auto differences = [](const std::string& name) {
        Study study = every_section();
        for (const KeyValue& at : values_of(study))
            if (at.name() == name) change(at);
        return study_differences(to_toml(every_section()), to_toml(study));
    };
    for (const Key& key : keys()) {
        if (key.section() == "tasks") continue;
        const StudyDifferences found = differences(key.name);
        ASSERT_EQ(found.texts.size(), 1u) << key.name;
        EXPECT_TRUE(found.texts.front().starts_with(key.name + ": ")) << found.texts.front();
        EXPECT_EQ(found.results, key.section() != "output") << key.name;
    }
    EXPECT_FALSE(study_differences(to_toml(Study{}), to_toml(Study{})).results);
    // Keys of another version, and of tasks.
    EXPECT_TRUE(study_differences("a.b = 1", "").results);
    EXPECT_TRUE(study_differences("[[tasks]]\npath = 1", "").results);
}

TEST(Keys, ThatAnEarlierVersionDidNotHaveAreTheirDefaults) {
    const auto keys = complete_study_keys("[rates]\nrepeats = 7\n");
    EXPECT_EQ(keys.at("rates.repeats"), "7");
    EXPECT_EQ(keys.at("rates.window"), "[]");
    EXPECT_FALSE(keys.contains("finetune.seed"));
    EXPECT_EQ(complete_study_keys("[finetune]\nsteps = 7\n").at("finetune.seed"), "1");
    const auto of_tasks = complete_study_keys("[[tasks]]\nname = 'a'\n[[tasks]]\nname = 'b'\n");
    EXPECT_EQ(of_tasks.at("tasks[1].name"),
              complete_study_keys("[[tasks]]\nname = 'b'\n").at("tasks[0].name"));
    EXPECT_EQ(of_tasks.at("tasks[1].max_length"), "64");
    EXPECT_FALSE(study_differences("[rates]\nrepeats = 7\n", "[rates]\nrepeats = 7\nwindow = []\n").results);
    EXPECT_TRUE(study_differences("", "[rates]\nwindow = [2, 9]\n").results);
}

TEST(Keys, ThatDecideTheKernelAreThoseThatItsFileIsComparedBy) {
    for (const std::string& text : {one_data_set, two_tasks}) {
        const TemporaryFolder folder;
        Study study = read_study(folder.write("study.toml", text), {}, testing::Unrecorded());
        const std::string stored = to_toml(study);
        EXPECT_EQ(kernel_difference(study, stored), std::nullopt);
        for (std::size_t k = 0; k < values_of(study).size(); ++k) {
            Study changed = study;
            const KeyValue at = values_of(changed)[k];
            change(at);
            const auto found = kernel_difference(changed, stored);
            EXPECT_EQ(found.has_value(), decides_kernel(at.key->decides)) << at.name();
            EXPECT_TRUE(!found || found->starts_with(at.name() + " is ")) << found.value_or("");
        }
    }
}

TEST(Keys, OfFinetuneThatDoNotGoTogetherAreRefusedByName) {
    const TemporaryFolder folder;
    const auto refused = [&](const std::vector<std::string>& settings, ErrorKind kind,
                             const std::string& name) {
        expect_error(ExitStatus::study, kind, {name}, [&] {
            read_study(folder.write("study.toml", one_data_set), settings, testing::Unrecorded());
        });
    };
    refused({"finetune.steps=0"}, ErrorKind::out_of_range, "finetune.steps = 0");
    refused({"finetune.steps=2.5"}, ErrorKind::malformed, "finetune.steps");
    refused({"finetune.batch=4"}, ErrorKind::contradiction, "finetune.batch = 4");
    refused({"finetune.momentum=0.9"}, ErrorKind::contradiction, "finetune.momentum = 0.9");
    refused({"finetune.optimizer=adamw", "finetune.steps=9"}, ErrorKind::missing, "finetune.learning_rate");
    refused({"finetune.optimizer=adamw", "finetune.learning_rate=1"}, ErrorKind::missing, "finetune.steps");
    refused({"finetune.loss=cross-entropy"}, ErrorKind::missing, "finetune.steps");
    refused({"finetune.optimizer=signgd", "finetune.steps=9", "finetune.learning_rate=1",
             "finetune.weight_decay=1"},
            ErrorKind::contradiction, "finetune.weight_decay");
    refused({"finetune.steps=9", "kernel.output=trace"}, ErrorKind::unsupported, "kernel.output = \"trace\"");
    refused({"finetune.steps=9", "output.save_gram=false"}, ErrorKind::contradiction, "output.save_gram");
    const auto of_tasks = [&](const std::vector<std::string>& settings, const std::string& key) {
        expect_error(ExitStatus::study, ErrorKind::unsupported, {"[[tasks]]", key}, [&] {
            read_study(folder.write("study.toml", two_tasks), settings, testing::Unrecorded());
        });
    };
    of_tasks({"finetune.steps=9", "model.head=classifier"}, "model.head");
    of_tasks({"finetune.optimizer=signgd", "finetune.steps=9", "finetune.learning_rate=1"},
             "finetune.optimizer");
}

}  // namespace
}  // namespace tangram
