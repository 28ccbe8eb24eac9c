#include "tangram/study/fingerprints.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>

#include "support/mpi_test.hpp"
#include "support/safetensors_file.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"
#include "tangram/study/keys.hpp"
#include "tangram/study/open_study.hpp"

namespace tangram {
namespace {

using Settings = std::vector<std::string>;

/// Two folders of one model, whose configurations differ, and two pairs of tables.
class Fingerprints : public ::testing::Test {
  protected:
    Fingerprints() {
        namespace fs = std::filesystem;
        const fs::path data = TANGRAM_TEST_DATA;
        for (const char* name : {"model", "copy", "other"}) fs::copy(data / "neo-mini", folder_ / name);
        std::ofstream(folder_ / "other" / "config.json", std::ios::app) << "\n";
        fs::create_directory(folder_ / "adapter");
        folder_.write("adapter/adapter_config.json", R"({"peft_type": "LORA", "r": 1, "lora_alpha": 2})");
        const std::string module = "base_model.model.transformer.h.3.attn.attention.q_proj";
        testing::write_safetensors(folder_ / "adapter/adapter_model.safetensors",
                                   {{module + ".lora_A.weight", {1, 128}, std::vector<float>(128, 0.5F)},
                                    {module + ".lora_B.weight", {128, 1}, std::vector<float>(128, 0.25F)}});
        for (const char* name : {"one.tsv", "same.tsv"}) {
            std::ofstream table(folder_ / name);
            table << "text\tlabel\tother\tinverse\n";
            for (int row = 0; row < 12; ++row)
                table << fmt::format("the film number {} was good\t{}\tthe plot {} was bad\t{}\n", row,
                                     row % 2, row, 1 - row % 2);
        }
        std::ofstream(folder_ / "two.tsv") << "text\tlabel\nthe film\t1\nthe plot\t0\nthe end\t1\n";
        folder_.write("study.toml", R"([model]
path = "model"
[data]
train = "one.tsv"
test = "one.tsv"
template = "{text} It was"
label_words = [" bad", " great"]
samples = 8
test_samples = 4
[kernel]
parameters = "transformer.h.3.*"
[output]
path = "out.h5"
)");
        folder_.write("tasks.toml", R"([model]
path = "model"
[kernel]
parameters = "transformer.h.3.*"
[output]
path = "out.h5"
[[tasks]]
name = "one"
train = "one.tsv"
template = "{text} It was"
label_words = [" bad", " great"]
)");
    }

    /// What each stage is made from, in order.
    std::vector<std::string> of(const Settings& settings, const std::string& file = "study.toml") {
        return of_study(read_study(folder_ / file, settings, testing::Unrecorded()));
    }
    std::vector<std::string> of_study(const Study& study) {
        auto [model, job] = open_study(study, session_);
        hash_weights(model, world_.get());
        const KernelFingerprint kernel = fingerprint_of(study, model, job);
        basis_ = kernel.basis;
        const Inputs spectrum = spectrum_inputs(study, kernel.made_of.hash()),
                     rates = rates_inputs(study, spectrum.hash());
        return {kernel.made_of.text(), spectrum.text(), rates.text(),
                finetune_inputs(study, kernel.made_of.hash(), spectrum.hash(), rates.hash()).text()};
    }

    testing::TemporaryFolder folder_;
    Communicator world_{MPI_COMM_SELF};  // every rank reads a folder of its own
    Log log_{false, true, ""};
    StopFlag stop_;
    Session session_{world_, log_, stop_, ""};
    std::string basis_;
};

/// How a key gets another value, and what must be set beside it for both.
struct Change {
    std::string value;
    Settings beside;
};
const std::map<std::string, Change> changes_of_keys{
    {"model.path", {"other", {}}},
    {"model.init", {"random", {}}},
    {"model.adapter", {"adapter", {}}},
    {"model.head", {"classifier", {}}},
    {"model.head_init", {"least-squares", {"model.head=classifier"}}},
    {"model.seed", {"2", {}}},
    {"data.train", {"two.tsv", {"data.samples=2"}}},
    {"data.test", {"two.tsv", {"data.test_samples=2"}}},
    {"data.text", {"other", {}}},
    {"data.label", {"inverse", {}}},
    {"data.labels", {"[\"1\", \"0\"]", {}}},
    {"data.template", {"{text} It is", {}}},
    {"data.label_words", {"[\" great\", \" bad\"]", {}}},
    {"data.score", {"log-likelihood", {}}},
    {"data.completion",
     {"other", {"data.completion=text", "data.score=log-likelihood", "data.label_words=[]"}}},
    {"data.max_length", {"6", {}}},
    {"data.samples", {"9", {}}},
    {"data.test_samples", {"5", {}}},
    {"data.seed", {"2", {}}},
    {"kernel.parameters", {"transformer.h.2.*", {}}},
    {"kernel.lora_rank", {"2", {}}},
    {"kernel.lora_alpha", {"3", {"kernel.lora_rank=2"}}},
    {"kernel.lora_seed", {"2", {}}},
    {"kernel.output", {"logits", {}}},
    {"kernel.formula", {"signgd", {}}},
    {"kernel.precision", {"double", {}}},
    {"kernel.sketch", {"8", {}}},
    {"kernel.groups", {"kind", {}}},
    {"spectrum.solver", {"lapack", {}}},
    {"spectrum.vectors", {"false", {}}},
    {"spectrum.count", {"3", {}}},
    {"spectrum.block", {"32", {}}},
    {"spectrum.matrix", {"free", {"spectrum.count=3", "data.test="}}},
    {"spectrum.density", {"true", {}}},
    {"rates.noise", {"0.5", {}}},
    {"rates.radius", {"2", {}}},
    {"rates.step_size", {"[0.5, 0.25]", {}}},
    {"rates.center", {"false", {}}},
    {"rates.sizes", {"[4, 8]", {}}},
    {"rates.window", {"[2, 9]", {}}},
    {"rates.repeats", {"2", {}}},
    {"rates.neighbours", {"3", {}}},
    {"finetune.optimizer", {"sgd", {"finetune.seed=1"}}},
    {"finetune.loss", {"cross-entropy", {"finetune.steps=9"}}},
    {"finetune.learning_rate", {"0.25", {"finetune.seed=1"}}},
    {"finetune.steps", {"9", {"finetune.seed=1"}}},
    {"finetune.batch", {"3", {"finetune.optimizer=sgd"}}},
    {"finetune.momentum", {"0.5", {"finetune.optimizer=sgd"}}},
    {"finetune.weight_decay", {"0.5", {"finetune.seed=1"}}},
    {"finetune.schedule", {"linear", {"finetune.seed=1"}}},
    {"finetune.seed", {"2", {"finetune.batch=0"}}},
    {"output.path", {"elsewhere.h5", {}}},
    {"output.save_gram", {"false", {}}},
    {"output.checkpoint_minutes", {"3", {}}},
};

/// The first stage whose result a key decides; 4: none.
std::size_t first_stage(Decides decides) {
    if (decides_kernel(decides)) return 0;
    return decides == Decides::spectrum   ? 1
           : decides == Decides::rates    ? 2
           : decides == Decides::finetune ? 3
                                          : 4;
}

TEST_F(Fingerprints, EveryKeyChangesThatOfTheStageThatItDecidesAndNoneBefore) {
    for (const Key& key : keys()) {
        // Of tasks below.
        if (key.section() == "tasks") continue;
        const auto found = changes_of_keys.find(key.name);
        ASSERT_NE(found, changes_of_keys.end()) << key.name << ": write down another value for it";
        const auto& [value, beside] = found->second;
        Settings changed = beside;
        changed.push_back(key.name + "=" + value);
        const auto before = of(beside), after = of(changed);
        for (std::size_t stage = 0; stage < 4; ++stage)
            EXPECT_EQ(before[stage] != after[stage], stage >= first_stage(key.decides))
                << key.name << ", stage " << stage << "\n"
                << after[stage];
    }
}

TEST_F(Fingerprints, HoldEveryKeyOfATask) {
    Study study = read_study(folder_ / "tasks.toml", {}, testing::Unrecorded());
    const auto before = of_study(study);
    study.tasks.front().name = "another";
    EXPECT_NE(of_study(study)[0], before[0]);
    study = read_study(folder_ / "tasks.toml", {}, testing::Unrecorded());
    study.tasks.front().data.seed = 2;
    EXPECT_NE(of_study(study)[0], before[0]);
    study = read_study(folder_ / "tasks.toml", {}, testing::Unrecorded());
    study.tasks.front().data.samples = 5;
    EXPECT_NE(of_study(study)[0], before[0]);
}

TEST_F(Fingerprints, HoldWhereATaskEnds) {
    const Study study = read_study(folder_ / "tasks.toml", {}, testing::Unrecorded());
    auto [model, job] = open_study(study, session_);
    hash_weights(model, world_.get());
    const std::string before = fingerprint_of(study, model, job).made_of.text();
    job.data.train.tasks.back() = 1;
    EXPECT_NE(fingerprint_of(study, model, job).made_of.text(), before);
}

TEST_F(Fingerprints, AreOfWhatIsReadAndChosenHoweverItIsWritten) {
    const auto plain = of({});
    EXPECT_EQ(of({"model.path=copy", "data.train=same.tsv", "kernel.output=margin"}), plain);
    EXPECT_EQ(of({"kernel.parameters=[\"transformer.h.3.*\", \"transformer.h.3.ln_1.*\"]"}), plain);
    EXPECT_EQ(of({"data.samples=12"}), of({"data.samples=0"}));
    EXPECT_EQ(of({"kernel.formula=[\"sgd\"]"}), plain);
}

TEST_F(Fingerprints, OfASmallerSampleHaveTheBasisOfALargerOne) {
    of({});
    const std::string eight = basis_;
    of({"data.samples=9"});
    EXPECT_EQ(basis_, eight);
    of({"data.samples=9", "data.test_samples=5"});
    EXPECT_NE(basis_, eight);
    of({"data.samples=9", "kernel.precision=double"});
    EXPECT_NE(basis_, eight);
    // A fitted head depends on every example.
    const Settings fitted{"model.head=classifier", "model.head_init=least-squares"};
    of(fitted);
    const std::string fitted_eight = basis_;
    of({fitted[0], fitted[1], "data.samples=9"});
    EXPECT_NE(basis_, fitted_eight);
}

}  // namespace
}  // namespace tangram
