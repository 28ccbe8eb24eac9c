#include "tangram/study/configuration.hpp"

#include <gtest/gtest.h>

#include "support/expect_error.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"
#include "tangram/study/stored_study.hpp"

namespace tangram {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

const std::string smallest = R"([model]
path = "models/m"
[data]
train = "data/train.tsv"
template = "{text} It was"
label_words = [" bad", " great"]
[output]
path = "out.h5"
)";

TEST(Configuration, FillsInTheContractsDefaults) {
    const TemporaryFolder folder;
    const Study s = read_study(folder.write("study.toml", smallest), {}, testing::Unrecorded());
    EXPECT_EQ(s.model.init, "pretrained");
    EXPECT_EQ(s.model.head, "lm");
    EXPECT_EQ(s.data.text, "text");
    EXPECT_EQ(s.data.max_length, 64);
    EXPECT_EQ(s.data.samples, 0);
    EXPECT_EQ(s.data.seed, 1);
    EXPECT_EQ(s.kernel.parameters, std::vector<std::string>{"all"});
    EXPECT_EQ(s.kernel.precision, "mixed");
    EXPECT_EQ(s.spectrum.solver, "auto");
    EXPECT_TRUE(s.spectrum.vectors);
    EXPECT_FALSE(s.rates.noise.has_value());
    EXPECT_EQ(s.rates.center, "true");
    EXPECT_EQ(s.rates.repeats, 5);
    EXPECT_EQ(s.output.checkpoint_minutes, 10);
    // Relative to the study file.
    EXPECT_EQ(s.model.path, (folder / "models/m").string());
    EXPECT_EQ(s.output.path, (folder / "out.h5").string());
    EXPECT_TRUE(s.data.test.empty());
}

TEST(Configuration, ItsTomlReadsBackAsTheSameStudy) {
    const TemporaryFolder folder;
    const Study s = read_study(folder.write("study.toml", smallest),
                               {"rates.noise=0.25", "kernel.parameters=[\"a*\", \"b\"]", "rates.repeats=3",
                                "data.labels=[\"x\", \"y\"]"},
                               testing::Unrecorded());
    const std::string text = to_toml(s);
    EXPECT_EQ(to_toml(read_study(folder.write("again.toml", text), {}, testing::Unrecorded())), text);
    EXPECT_NE(text.find("noise = 0.25"), std::string::npos);
}

TEST(Configuration, TakesSettingsInTomlOrBareText) {
    const TemporaryFolder folder;
    const auto file = folder.write("study.toml", smallest);
    const auto with = [&](std::vector<std::string> settings) {
        return read_study(file, settings, testing::Unrecorded());
    };
    EXPECT_EQ(with({"data.samples=12"}).data.samples, 12);
    EXPECT_EQ(with({"data.samples=12", "data.samples=13"}).data.samples, 13);
    EXPECT_EQ(with({"kernel.parameters=attention"}).kernel.parameters, std::vector<std::string>{"attention"});
    EXPECT_EQ(with({"output.path=/tmp/x y.h5"}).output.path, "/tmp/x y.h5");
    EXPECT_EQ(with({"output.checkpoint_minutes=3"}).output.checkpoint_minutes,
              3.0);  // integers serve for floats
    EXPECT_EQ(with({"rates.noise=auto"}).rates.noise, std::nullopt);
    EXPECT_EQ(with({"rates.noise=2"}).rates.noise, 2.0);
    expect_error(ExitStatus::study, ErrorKind::malformed, {"samples"}, [&] { with({"samples=12"}); });
    expect_error(ExitStatus::study, ErrorKind::malformed, {"--set nonsense"}, [&] { with({"nonsense"}); });
}

TEST(Configuration, NamesTheKeyAndTheNearest) {
    const TemporaryFolder folder;
    const auto refused = [&](ErrorKind kind, std::initializer_list<std::string> names,
                             const std::string& setting) {
        expect_error(ExitStatus::study, kind, names, [&] {
            read_study(folder.write("study.toml", smallest), {setting}, testing::Unrecorded());
        });
    };
    refused(ErrorKind::unknown_name, {"study.toml", "data.sampels", "data.samples"}, "data.sampels=3");
    refused(ErrorKind::unknown_name, {"kernal.output", "kernel.output"}, "kernal.output=margin");
    refused(ErrorKind::malformed, {"data.samples"}, "data.samples=1.5");
    refused(ErrorKind::out_of_range, {"data.samples", "-3"}, "data.samples=-3");
    refused(ErrorKind::malformed, {"spectrum.vectors"}, "spectrum.vectors=1");
    refused(ErrorKind::malformed, {"data.label_words[1]"}, "data.label_words=[\"a\", 2]");
    refused(ErrorKind::malformed, {"rates.noise", "\"auto\""}, "rates.noise=loud");
    refused(ErrorKind::out_of_range, {"rates.radius"}, "rates.radius=0");
    refused(ErrorKind::out_of_range, {"rates.step_size", "0.1", "0.2"}, "rates.step_size=[0.1, 0.2]");
    refused(ErrorKind::out_of_range, {"rates.step_size", "-1"}, "rates.step_size=-1");
    refused(ErrorKind::malformed, {"rates.step_size"}, "rates.step_size=[]");
    refused(ErrorKind::malformed, {"rates.window", "[first, last]"}, "rates.window=[1, 20, 30]");
    for (const char* const last : {"9", "20"})
        refused(ErrorKind::out_of_range, {"rates.window", "20", last},
                std::string("rates.window=[20, ") + last + "]");
    refused(ErrorKind::missing, {"rates.neighbours", "data.test"}, "rates.neighbours=5");
    refused(ErrorKind::out_of_range, {"rates.sizes", "2"}, "rates.sizes=[1, 256]");
    refused(ErrorKind::out_of_range, {"kernel.sketch", "-1"}, "kernel.sketch=-1");
    refused(ErrorKind::unknown_name, {"kernel.output", "margins", "\"margin\""}, "kernel.output=margins");
    refused(ErrorKind::contradiction, {"data.labels", "data.label_words"},
            "data.labels=[\"a\", \"b\", \"c\"]");
    refused(ErrorKind::out_of_range, {"spectrum.count", "-1"}, "spectrum.count=-1");
    refused(ErrorKind::out_of_range, {"kernel.lora_rank", "65537", "65536"}, "kernel.lora_rank=65537");
    refused(ErrorKind::missing, {"kernel.lora_alpha", "kernel.lora_rank"}, "kernel.lora_alpha=2");
    refused(ErrorKind::contradiction, {"model.head_init", "classifier"}, "model.head_init=least-squares");
    refused(ErrorKind::unsupported, {"kernel.formula", "asymmetric-signgd"},
            "kernel.formula=asymmetric-signgd");
    refused(ErrorKind::contradiction, {"kernel.formula", "\"sgd\""}, "kernel.formula=[\"sgd\", \"sgd\"]");
    refused(ErrorKind::unknown_name, {"kernel.formula", "\"signgd\""}, "kernel.formula=signsgd");
}

TEST(Configuration, ScoresAndCompletionsNameWhatTheyNeed) {
    const TemporaryFolder folder;
    const std::string tasks =
        "[model]\npath = \"m\"\n[output]\npath = \"o.h5\"\n[[tasks]]\nname = \"a\"\ntrain = \"a.tsv\"\n"
        "template = \"{text}\"\nlabel_words = [\"x\", \"y\"]\n[[tasks]]\nname = \"b\"\ntrain = "
        "\"a.tsv\"\ntemplate = \"{text}\"\nlabel_words = [\"x\", \"y\"]\n";
    const auto read = [&](const std::string& text, const std::vector<std::string>& settings) {
        return read_study(folder.write("study.toml", text), settings, testing::Unrecorded());
    };
    const auto refused = [&](std::initializer_list<std::string> names,
                             const std::vector<std::string>& settings,
                             ErrorKind kind = ErrorKind::contradiction) {
        expect_error(ExitStatus::study, kind, names, [&] { read(smallest, settings); });
    };
    EXPECT_EQ(score_of(read(smallest, {"data.score=log-likelihood"})), "log-likelihood");
    refused({"data.score", "logits", "\"mean-log-likelihood\""}, {"data.score=logits"},
            ErrorKind::unknown_name);
    refused({"data.score", "model.head"}, {"data.score=log-likelihood", "model.head=classifier"});
    refused({"data.completion", "data.score"}, {"data.completion=answer"});
    const std::vector<std::string> completion{"data.completion=answer", "data.score=log-likelihood"};
    refused({"data.completion", "data.label_words"}, completion);
    auto without = completion;
    without.push_back("data.label_words=[]");
    EXPECT_EQ(read(smallest, without).data.completion, "answer");
    without.push_back("kernel.output=loss");
    refused({"kernel.output", "data.completion"}, without);
    expect_error(ExitStatus::study, ErrorKind::contradiction, {"tasks[1].score", "tasks[0]"},
                 [&] { read(tasks + "score = \"log-likelihood\"\n", {}); });
}

TEST(Configuration, WithoutAMatrixNamesWhatNeedsOne) {
    const TemporaryFolder folder;
    const auto read = [&](std::vector<std::string> settings) {
        settings.insert(settings.end(), {"spectrum.matrix=free", "spectrum.count=3"});
        return read_study(folder.write("study.toml", smallest), settings, testing::Unrecorded());
    };
    const auto refused = [&](ErrorKind kind, const std::string& key,
                             const std::vector<std::string>& settings) {
        expect_error(ExitStatus::study, kind, {"spectrum.matrix", "free", key}, [&] { read(settings); });
    };
    EXPECT_TRUE(read({}).spectrum.free());
    EXPECT_TRUE(
        read({"spectrum.solver=lanczos", "kernel.formula=signgd", "spectrum.density=true"}).spectrum.density);
    refused(ErrorKind::contradiction, "spectrum.solver", {"spectrum.solver=elpa1"});
    refused(ErrorKind::contradiction, "spectrum.block", {"spectrum.block=32"});
    refused(ErrorKind::unsupported, "kernel.formula", {"kernel.formula=[\"sgd\", \"signgd\"]"});
    refused(ErrorKind::unsupported, "kernel.groups", {"kernel.groups=layer"});
    refused(ErrorKind::unsupported, "kernel.sketch", {"kernel.sketch=100"});
    refused(ErrorKind::contradiction, "[finetune]", {"finetune.steps=3"});
    refused(ErrorKind::unsupported, "data.test", {"data.test=b.tsv"});
    const auto set = [&](const std::vector<std::string>& settings) {
        read_study(folder.write("study.toml", smallest), settings, testing::Unrecorded());
    };
    expect_error(ExitStatus::study, ErrorKind::missing,
                 {"spectrum.matrix", "spectrum.count", "spectrum.density"},
                 [&] { set({"spectrum.matrix=free"}); });
    set({"spectrum.matrix=free", "spectrum.density=true"});
    expect_error(ExitStatus::study, ErrorKind::contradiction, {"spectrum.solver", "lanczos", "free"},
                 [&] { set({"spectrum.solver=lanczos"}); });
    expect_error(ExitStatus::study, ErrorKind::contradiction, {"spectrum.density", "spectrum.vectors"}, [&] {
        set({"spectrum.density=true", "spectrum.count=3", "spectrum.vectors=false"});
    });
}

TEST(Configuration, ReadsTasks) {
    const TemporaryFolder folder;
    const std::string head = "[model]\npath = \"m\"\n[output]\npath = \"o.h5\"\n";
    const auto task = [](const std::string& name, const std::string& more = "") {
        return "[[tasks]]\nname = \"" + name +
               "\"\ntrain = \"a.tsv\"\ntemplate = \"{text}\"\nlabel_words = [\"x\", \"y\"]\n" + more;
    };
    const auto read = [&](const std::string& text) {
        return read_study(folder.write("study.toml", text), {}, testing::Unrecorded());
    };
    const Study study = read(head + task("one", "samples = 7\n") + task("two"));
    ASSERT_EQ(study.tasks.size(), 2);
    EXPECT_EQ(study.tasks[0].name, "one");
    EXPECT_EQ(study.tasks[0].data.samples, 7);
    EXPECT_EQ(study.tasks[1].data.train, (folder / "a.tsv").string());
    // What the output file keeps reads as the same study.
    const Study again = read(to_toml(study));
    ASSERT_EQ(again.tasks.size(), 2);
    EXPECT_EQ(to_toml(again), to_toml(study));
    const auto refused = [&](ErrorKind kind, std::initializer_list<std::string> names,
                             const std::string& text) {
        expect_error(ExitStatus::study, kind, names, [&] { read(text); });
    };
    refused(ErrorKind::unknown_name, {"tasks.sample", "tasks.samples"}, head + task("one", "sample = 7\n"));
    refused(ErrorKind::contradiction, {"tasks[1].name", "\"one\""}, head + task("one") + task("one"));
    refused(ErrorKind::missing, {"tasks[0].name"}, head + task(""));
    refused(ErrorKind::malformed, {"tasks[0].name", "\"a b\""}, head + task("a b"));
    refused(ErrorKind::contradiction, {"[data]", "[[tasks]]"},
            head + "[data]\ntrain = \"b.tsv\"\n" + task("one"));
    refused(ErrorKind::malformed, {"[[tasks]]"}, head + "[tasks]\nname = \"one\"\n");
    refused(ErrorKind::malformed, {"tasks[0].samples"}, head + task("one", "samples = \"7\"\n"));
}

TEST(Configuration, RefusesDeepKeys) {
    const TemporaryFolder folder;
    const auto read = [&](const std::string& more, const std::vector<std::string>& settings = {}) {
        return read_study(folder.write("study.toml", smallest + more), settings, testing::Unrecorded());
    };
    const auto refused = [&](const std::string& more, const std::string& line) {
        expect_error(ExitStatus::study, ErrorKind::malformed, {"study.toml", "line " + line, "16"},
                     [&] { read(more); });
    };
    std::string deep = "a", quoted = "'a'", spread = "a";
    for (int i = 0; i < 100'000; ++i) {
        deep += ".a";
        quoted += ".\"a\"";
        spread += " . a";
    }
    refused(deep + " = 1\n", "9");
    refused("\n\n[" + deep + "]\n", "11");
    refused("[[" + deep + "]]\n", "9");
    refused(quoted + " = 1\n", "9");
    refused(spread + " = 1\n", "9");
    refused("a = [1,\n{" + deep + " = 1}]\n", "10");
    // What looks like a string or a comment and ends before the key.
    refused("a = \"\"\"b\"\"\"\"\nc = \"d\\\"\" # e\n" + deep + " = 1\n", "11");
    refused("a = '''\nb'''''\n" + deep + " = '" + deep + "'\n", "11");
    refused("a = ''\nb = \"\"\n" + deep + " = 1\n", "11");
    const std::string stored = deep + " = 1\n";
    expect_error(ExitStatus::study, ErrorKind::malformed, {"/provenance@study", "line 1"},
                 [&] { study_keys(stored); });
    expect_error(ExitStatus::study, ErrorKind::malformed, {"/provenance@study", "line 1"},
                 [&] { kernel_difference(read(""), stored); });

    // As deep as both limits let it be: 256 tables, each of 16 parts.
    std::string tables = "a", ends;
    for (int i = 1; i < 16; ++i) tables += ".a";
    const std::string key = tables;
    for (int i = 1; i < 255; ++i) {
        tables += " = {" + key;
        ends += "}";
    }
    tables += " = 1" + ends + "\n";
    expect_error(ExitStatus::study, ErrorKind::unknown_name, {"study.toml"}, [&] { read(tables); });
    EXPECT_EQ(study_keys(tables).size(), 1u);

    // Dots that join no keys, and what --set takes as a text.
    const std::string dots(1000, '.');
    std::string list = "0.5";
    for (int i = 0; i < 1000; ++i) list += ", 0.5";
    const Study study =
        read("# " + dots + "\n[kernel]\nparameters = [\"" + dots + "\\\"" + dots + "\", '" + dots +
                 "', \"\"\"\n" + dots + "\"\"\"]\n[rates]\nstep_size = [" + list + "]\n",
             {"data.template={text}" + dots, "data.test=" + deep});
    EXPECT_EQ(study.kernel.parameters, (std::vector<std::string>{dots + "\"" + dots, dots, dots}));
    EXPECT_EQ(study.rates.step_size.size(), 1001u);
    EXPECT_EQ(study.data.tmpl, "{text}" + dots);
    EXPECT_EQ(study.data.test, (folder / deep).string());
    expect_error(ExitStatus::study, ErrorKind::malformed, {"data.samples"},
                 [&] { read("", {"data.samples={" + deep + " = 1}"}); });
}

TEST(Configuration, AStoredTaskThatIsNoTableIsADifference) {
    const TemporaryFolder folder;
    const Study study = read_study(
        folder.write("study.toml",
                     "[model]\npath = \"m\"\n[output]\npath = \"o.h5\"\n[[tasks]]\nname = \"one\"\ntrain = "
                     "\"a.tsv\"\ntemplate = \"{text}\"\nlabel_words = [\"x\", \"y\"]\n"),
        {}, testing::Unrecorded());
    EXPECT_EQ(kernel_difference(study, "tasks = [1]\n[kernel]\n[model]\n").value_or(""),
              "tasks[0] is 1 in the file and a table in the study");
    EXPECT_EQ(kernel_difference(study, "tasks = [{}]\n[kernel]\n[model]\n"), std::nullopt);
    EXPECT_TRUE(kernel_difference(study, "tasks = 1\n[kernel]\n[model]\n"));
    EXPECT_TRUE(kernel_difference(study, "tasks = [{}]\nkernel = 1\n[model]\n"));
}

TEST(Configuration, AnotherSketchIsAnotherKernel) {
    const TemporaryFolder folder;
    const auto with = [&](const std::vector<std::string>& settings) {
        return read_study(folder.write("study.toml", smallest), settings, testing::Unrecorded());
    };
    const std::string stored = to_toml(with({"kernel.sketch=64"}));
    EXPECT_EQ(kernel_difference(with({"kernel.sketch=64"}), stored), std::nullopt);
    EXPECT_EQ(kernel_difference(with({"kernel.sketch=65"}), stored).value_or(""),
              "kernel.sketch is 64 in the file and 65 in the study");
    EXPECT_TRUE(kernel_difference(with({}), stored));
    EXPECT_TRUE(kernel_difference(with({"kernel.sketch=64", "data.seed=2"}), stored));
}

TEST(Configuration, SaysWhatIsMissing) {
    const TemporaryFolder folder;
    for (const auto& [name, line] : {std::pair{"model.path", "path = \"models/m\""},
                                     {"data.train", "train = \"data/train.tsv\""},
                                     {"output.path", "path = \"out.h5\""},
                                     {"data.template", "template"},
                                     {"data.label_words", "label_words"}}) {
        std::string text = smallest;
        const auto at = text.find(line);
        text.erase(at, text.find('\n', at) - at);
        expect_error(ExitStatus::study, ErrorKind::missing, {name},
                     [&] { read_study(folder.write("study.toml", text), {}, testing::Unrecorded()); });
    }
    expect_error(ExitStatus::study, ErrorKind::missing, {"none.toml"},
                 [&] { read_study(folder / "none.toml", {}, testing::Unrecorded()); });
    expect_error(ExitStatus::study, ErrorKind::malformed, {"study.toml", "line 2"}, [&] {
        read_study(folder.write("study.toml", "[a]\nb = = 3\n"), {}, testing::Unrecorded());
    });
}

}  // namespace
}  // namespace tangram
