#include <fmt/core.h>
#include <gtest/gtest.h>

#include <fstream>

#include "support/expect_error.hpp"
#include "support/mpi_test.hpp"
#include "support/safetensors_file.hpp"
#include "support/temporary_folder.hpp"
#include "tangram/model/network.hpp"
#include "tangram/study/model_loading.hpp"

namespace tangram {
namespace {

namespace fs = std::filesystem;
using testing::expect_error;
using testing::StoredTensor;

const std::string q_proj = "base_model.model.model.layers.1.self_attn.q_proj",
                  down_proj = "base_model.model.model.layers.0.mlp.down_proj";

/// Some numbers that differ.
std::vector<float> numbers(Index count, float from) {
    std::vector<float> all(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = from + 0.01F * static_cast<float>((7 * i) % 11);
    return all;
}

/// A folder of a small LLaMA (hidden size 24, inner size 40), and one of an adapter of it.
class OpenModel : public ::testing::Test {
  protected:
    OpenModel() {
        fs::copy(fs::path(TANGRAM_TEST_DATA) / "models" / "llama-odd", folder_ / "model");
        fs::create_directory(folder_ / "adapter");
        study_.model.path = (folder_ / "model").string();
        study_.kernel.parameters = {"attention"};
        write_adapter("adapter", {});
    }

    void write_adapter(const std::string& into, const nlohmann::json& changes,
                       const std::vector<StoredTensor>& more = {}) {
        nlohmann::json settings{{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 6}, {"bias", "none"}};
        if (!changes.is_null()) settings.update(changes);
        folder_.write(into + "/adapter_config.json", settings.dump());
        std::vector<StoredTensor> tensors{{q_proj + ".lora_A.weight", {2, 24}, numbers(48, 0.1F)},
                                          {q_proj + ".lora_B.weight", {24, 2}, numbers(48, -0.05F)},
                                          {down_proj + ".lora_A.weight", {2, 40}, numbers(80, 0.02F)},
                                          {down_proj + ".lora_B.weight", {24, 2}, numbers(48, 0.03F)}};
        tensors.insert(tensors.end(), more.begin(), more.end());
        testing::write_safetensors(folder_ / into / "adapter_model.safetensors", tensors);
    }

    LoadedModel opened() { return complete_model(open_model(study_, session_), study_, 2, session_); }
    std::vector<double> weights(const std::string& name) {
        const LoadedModel model = opened();
        for (const Parameter& parameter : model.program.parameters())
            if (parameter.name == name) return model.initial(study_).values<double>(parameter);
        return {};
    }
    void expect_refused(ErrorKind kind, std::initializer_list<std::string> names) {
        expect_error(ExitStatus::input, kind, names, [&] { open_model(study_, session_); });
    }

    testing::TemporaryFolder folder_;
    Study study_;
    Communicator world_{MPI_COMM_SELF};  // every rank reads a folder of its own
    Log log_{true, true, folder_ / "log"};
    StopFlag stop_;
    Session session_{world_, log_, stop_, ""};

    /// Lines of --log-json that hold a text.
    Index lines_with(const std::string& text) {
        std::ifstream in(folder_ / "log");
        Index count = 0;
        for (std::string line; std::getline(in, line);) count += line.find(text) != std::string::npos;
        return count;
    }
};

TEST_F(OpenModel, AddsTheAdaptersProductToTheWeights) {
    const std::string weight = "model.layers.1.self_attn.q_proj.weight",
                      other = "model.layers.0.self_attn.q_proj.weight";
    const std::vector<double> before = weights(weight), untouched = weights(other);
    study_.model.adapter = (folder_ / "adapter").string();
    for (const double scale : {3.0, 6 / std::sqrt(2.0)}) {
        if (scale != 3.0) write_adapter("adapter", {{"use_rslora", true}});
        const std::vector<double> after = weights(weight);
        const std::vector<float> A = numbers(48, 0.1F), B = numbers(48, -0.05F);
        ASSERT_EQ(after.size(), before.size());
        for (std::size_t i = 0; i < 24; ++i)
            for (std::size_t j = 0; j < 24; ++j) {
                double sum = 0;
                for (std::size_t k = 0; k < 2; ++k)
                    sum += static_cast<double>(B[2 * i + k]) * static_cast<double>(A[24 * k + j]);
                EXPECT_NEAR(after[24 * i + j], before[24 * i + j] + scale * sum, 1e-14);
            }
        EXPECT_EQ(weights(other), untouched);
    }
    EXPECT_GT(lines_with("the adapter (r = 2, lora_alpha = 6) is applied"), 0);
    EXPECT_EQ(lines_with("\"warning\""), 0);
    const LoadedModel model = opened();
    study_.model.adapter = "none";
    const WeightBytes merged = weight_bytes<float>(model, study_),
                      plain = weight_bytes<float>(opened(), study_);
    EXPECT_GT(merged.shared, plain.shared);
    EXPECT_GT(merged.own, plain.own);
}

TEST_F(OpenModel, AppliesTheFoldersOwnAdapterUnlessToldNotTo) {
    const std::string weight = "model.layers.0.mlp.down_proj.weight";
    const std::vector<double> before = weights(weight);
    write_adapter("model", {});
    const std::vector<double> after = weights(weight);
    EXPECT_NE(after, before);
    const auto hash = [&] { return opened().files.find("adapter_config.json")->sha256; };
    const std::string before_the_change = hash();
    write_adapter("model", {{"lora_alpha", 7}});
    EXPECT_NE(hash(), before_the_change);
    study_.model.adapter = "none";
    EXPECT_EQ(weights(weight), before);
}

TEST_F(OpenModel, RefusesWhatAnAdapterWouldLoseByName) {
    study_.model.adapter = (folder_ / "adapter").string();
    for (const char* tensor :
         {"base_model.model.model.embed_tokens.weight", "base_model.model.score.weight",
          "base_model.model.model.embed_tokens.lora_embedding_A", "base_model.model.lm_head.lora_A.weight",
          "base_model.model.model.layers.1.self_attn.q_proj.lora_magnitude_vector",
          "base_model.model.model.layers.1.self_attn.q_proj.bias",
          "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight",
          "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"}) {
        write_adapter("adapter", {}, {{tensor, {1}, {1}}});
        for (const Index rank : {Index{0}, Index{2}}) {
            study_.kernel.lora_rank = rank;
            // Of the last one the other factor is missing.
            const bool half = std::string_view(tensor).find("layers.0.") != std::string_view::npos;
            expect_refused(half ? ErrorKind::missing : ErrorKind::unsupported,
                           {"adapter_model.safetensors", tensor});
        }
    }
    study_.kernel.lora_rank = 0;
    for (const char* key :
         {"modules_to_save", "rank_pattern", "alpha_pattern", "trainable_token_indices", "use_dora"}) {
        write_adapter("adapter", {{key, {"x"}}});
        expect_refused(ErrorKind::unsupported, {"adapter_config.json", key});
    }
    write_adapter("adapter", {{"r", 3}});
    expect_refused(ErrorKind::contradiction, {"adapter_model.safetensors", "lora_A.weight", "[2, ", "[3, "});
    write_adapter("adapter", {{"zeta", 1}, {"eta", 1}});
    open_model(study_, session_);
    EXPECT_EQ(lines_with("adapter_config.json: nothing reads eta, zeta;"), 1);
}

TEST_F(OpenModel, NamesTheFileOfAnAdapterThatIsMissingOrPickled) {
    write_adapter("model", {});
    fs::remove(folder_ / "model" / "adapter_model.safetensors");
    expect_refused(ErrorKind::missing, {"adapter_model.safetensors", "model.adapter = \"none\""});
    folder_.write("model/adapter_model.bin", "x");
    for (const Index rank : {Index{0}, Index{2}}) {
        study_.kernel.lora_rank = rank;
        expect_refused(ErrorKind::missing, {"adapter_model.bin", "save_file"});
    }
    study_.kernel.lora_rank = 0;
    study_.model.adapter = "none";
    EXPECT_NO_THROW(open_model(study_, session_));
    study_.model.adapter = (folder_ / "nowhere").string();
    expect_refused(ErrorKind::missing, {"nowhere"});
    study_.model.adapter = "auto";
    study_.model.path = (folder_ / "adapter").string();
    expect_refused(ErrorKind::missing, {"adapter", "model.adapter"});
}

TEST_F(OpenModel, NamesTheCommandThatConvertsPickledWeights) {
    fs::rename(folder_ / "model" / "model.safetensors", folder_ / "model" / "pytorch_model.bin");
    expect_refused(ErrorKind::unsupported, {"pytorch_model.bin", "save_pretrained"});
}

TEST_F(OpenModel, NamesTheSnapshotOfACacheFolder) {
    const fs::path hub = folder_ / "hub", repository = hub / "models--a--b";
    for (const char* revision : {"0a", "1b"}) {
        fs::create_directories(repository / "snapshots" / revision);
        fs::copy(folder_ / "model" / "config.json", repository / "snapshots" / revision);
    }
    fs::create_directories(repository / "refs");
    std::ofstream(repository / "refs" / "main") << "1b\n";
    for (const fs::path& given : {repository, hub}) {
        study_.model.path = given.string();
        expect_refused(ErrorKind::missing, {(repository / "snapshots" / "1b").string()});
    }
    fs::remove(repository / "refs" / "main");
    expect_refused(ErrorKind::missing, {(repository / "snapshots" / "0a").string()});
}

TEST_F(OpenModel, ReadsATrainedHeadAndNamesItsTensorWhereItIsMissing) {
    study_.model.head = "checkpoint";
    expect_refused(ErrorKind::unsupported, {"config.json", "architectures"});
    nlohmann::json config = nlohmann::json::parse(std::ifstream(folder_ / "model" / "config.json"));
    config["architectures"] = {"LlamaForSequenceClassification"};
    config["id2label"] = {{"0", "no"}, {"1", "yes"}};
    config["pad_token_id"] = 2;
    folder_.write("model/config.json", config.dump());
    expect_refused(ErrorKind::missing, {"model.safetensors", "score.weight", "model.head"});
    std::vector<StoredTensor> tensors = testing::stored_tensors(folder_ / "model");
    tensors.push_back({"score.weight", {2, 24}, numbers(48, 1)});
    testing::write_safetensors(folder_ / "model" / "model.safetensors", tensors);
    const LoadedModel model = opened();
    EXPECT_EQ(model.label_names, (std::vector<std::string>{"no", "yes"}));
    EXPECT_EQ(model.passed_over, 2);
    EXPECT_EQ(lines_with("\"warning\""), 0);
    const std::vector<float> stored = numbers(48, 1);
    EXPECT_EQ(weights("score.weight"), std::vector<double>(stored.begin(), stored.end()));
    study_.model.init = "mixed";
    EXPECT_NE(weights("score.weight"), std::vector<double>(stored.begin(), stored.end()));
}

TEST_F(OpenModel, WarnsOnceOfWhatNothingReads) {
    std::vector<StoredTensor> tensors = testing::stored_tensors(folder_ / "model");
    for (int i = 0; i < 20; ++i) tensors.push_back({fmt::format("zeta.{}", i), {1}, {1}});
    tensors.push_back({"score.weight", {2, 24}, numbers(48, 1)});
    testing::write_safetensors(folder_ / "model" / "model.safetensors", tensors);
    study_.model.head = "classifier";
    opened();
    EXPECT_EQ(lines_with("\"warning\""), 2);
    EXPECT_EQ(lines_with("the trained head score.weight is left unused"), 1);
    for (StoredTensor& tensor : tensors) tensor.name.insert(0, "module.");
    testing::write_safetensors(folder_ / "model" / "model.safetensors", tensors);
    opened();
    EXPECT_EQ(lines_with("read without module. in their names"), 1);
}

}  // namespace
}  // namespace tangram
