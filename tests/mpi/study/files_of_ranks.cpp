#include "tangram/study/files_of_ranks.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <numeric>

#include "support/mpi_test.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"
#include "tangram/files/hash.hpp"
#include "tangram/files/json.hpp"
#include "tangram/files/safetensors.hpp"
#include "tangram/study/open_study.hpp"

namespace tangram {
namespace {

namespace fs = std::filesystem;
using testing::world_rank;
using testing::world_size;

bool last_rank() { return world_rank() == world_size() - 1; }

/// Every rank throws an Error(input) of this kind with the same text, which holds these words.
template <class Call>
void expect_refused(ErrorKind kind, const std::vector<std::string>& words, Call call) {
    std::string text;
    try {
        call();
        ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& e) {
        text = e.what();
        EXPECT_EQ(e.status(), ExitStatus::input) << text;
        EXPECT_EQ(static_cast<int>(e.kind()), static_cast<int>(kind)) << text;
    }
    for (const std::string& word : words)
        EXPECT_NE(text.find(word), std::string::npos) << word << ": " << text;
    for (const std::string& other : gather_to_all(MPI_COMM_WORLD, text)) EXPECT_EQ(other, text);
}

/// Every rank has a copy of one model of its own; tables, and what the last rank sees, are the test's.
class FilesOfRanks : public ::testing::Test {
  protected:
    FilesOfRanks() {
        fs::copy(fs::path(TANGRAM_TEST_DATA) / "neo-mini", folder_ / "model");
        std::ofstream table(folder_ / "train.tsv");
        table << "text\tlabel\n";
        for (int row = 0; row < 8; ++row)
            table << fmt::format("the film number {} was good\t{}\n", row, row % 2);
        folder_.write("study.toml", R"([model]
path = "model"
[data]
train = "train.tsv"
template = "{text} It was"
label_words = [" bad", " great"]
[output]
path = "out.h5"
)");
    }
    ~FilesOfRanks() override { MPI_Barrier(MPI_COMM_WORLD); }

    fs::path model(const std::string& name) const { return folder_ / "model" / name; }
    /// Another byte at the place, from the end if it is negative.
    void change(const std::string& name, std::streamoff place) const {
        std::fstream file(model(name), std::ios::in | std::ios::out | std::ios::binary);
        file.seekg(place, place < 0 ? std::ios::end : std::ios::beg);
        const auto byte = static_cast<char>(file.peek() ^ 1);
        file.seekp(place, place < 0 ? std::ios::end : std::ios::beg);
        file.put(byte);
    }
    Study study(const std::vector<std::string>& settings = {}) const {
        return read_study(folder_ / "study.toml", settings, testing::Unrecorded());
    }
    LoadedModel open(const Study& study) {
        LoadedModel opened = open_study(study, session_).model;
        hash_weights(opened, MPI_COMM_WORLD);
        return opened;
    }

    testing::TemporaryFolder folder_;
    Communicator world_{MPI_COMM_WORLD};
    Log log_{false, true, ""};
    StopFlag stop_;
    Session session_{world_, log_, stop_, ""};
};

TEST_F(FilesOfRanks, CopiesOfOneModelAreOne) {
    const LoadedModel opened = open(study());
    std::string names;
    for (const FileRead& file : opened.files.all()) {
        names += file.name + " ";
        EXPECT_EQ(file.sha256.size(), 64U) << file.name;
        EXPECT_FALSE(file.mapped) << file.name;
    }
    EXPECT_EQ(names,
              "config.json model.safetensors tokenizer.json tokenizer_config.json special_tokens_map.json ");
    EXPECT_EQ(opened.sha256, opened.files.find("model.safetensors")->sha256);
    const std::string weights = read_text(model("model.safetensors"), testing::Unrecorded());
    EXPECT_EQ(opened.sha256, sha256_of_bytes(std::as_bytes(std::span(weights))));
    refuse_changed_files(opened.files, MPI_COMM_WORLD);
}

TEST_F(FilesOfRanks, ShardsAreHashedByRanksInTurn) {
    std::string folder = folder_.path().string();
    broadcast(MPI_COMM_WORLD, folder, 0);
    std::string of_all;
    std::vector<std::string> one_each;
    for (const std::string name : {"a", "b", "c"}) {
        const std::string header =
            fmt::format(R"({{"{}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}})", name);
        std::string bytes(8, '\0');
        bytes[0] = static_cast<char>(header.size());
        bytes += header + name + "123";
        if (world_rank() == 0) folder_.write(name + ".safetensors", bytes);
        one_each.push_back(sha256_of_bytes(std::as_bytes(std::span(bytes))));
        of_all += one_each.back();
    }
    if (world_rank() == 0)
        folder_.write("model.safetensors.index.json", R"({"weight_map": {"a": "a.safetensors", "b":
                      "b.safetensors", "c": "c.safetensors"}})");
    MPI_Barrier(MPI_COMM_WORLD);
    FilesRead files(folder);
    const Weights weights(folder, files);
    EXPECT_EQ(hash_mapped_files(files, MPI_COMM_WORLD), sha256_of_bytes(std::as_bytes(std::span(of_all))));
    Index read = 0;
    for (std::size_t shard = 0; shard < 3; ++shard) {
        const FileRead& file = *files.find(std::string(1, static_cast<char>('a' + shard)) + ".safetensors");
        EXPECT_EQ(file.sha256, one_each[shard]);
        read += file.state ? 1 : 0;
    }
    const std::vector<Index> by_rank = gather_to_all(MPI_COMM_WORLD, read);
    EXPECT_EQ(std::accumulate(by_rank.begin(), by_rank.end(), Index{0}), 3);
    EXPECT_EQ(*std::ranges::max_element(by_rank), (3 + world_size() - 1) / world_size());
}

TEST_F(FilesOfRanks, OfOneFolderAreHashedByOneRank) {
    std::string shared = folder_.path().string();
    broadcast(MPI_COMM_WORLD, shared, 0);
    Study of_first = study();
    of_first.model.path = shared + "/model";
    const LoadedModel opened = open(of_first);
    const FileRead& weights = *opened.files.find("model.safetensors");
    EXPECT_EQ(weights.state.has_value(), world_rank() == 0);
    EXPECT_EQ(weights.sha256, opened.sha256);
    EXPECT_EQ(opened.files.find("config.json")->state.has_value(), true);
}

TEST_F(FilesOfRanks, ThatDifferAreRefusedByName) {
    if (world_size() == 1) return;
    const std::string last = std::to_string(world_size() - 1);
    struct Case {
        std::string name;
        std::streamoff place;
    };
    // A blank of the configuration, the last bit of a weight.
    for (const auto& [name, place] : {Case{"config.json", 1}, {"model.safetensors", -4}}) {
        SCOPED_TRACE(name);
        const std::string before = read_text(model(name), testing::Unrecorded());
        if (last_rank()) {
            if (name == "config.json")
                std::ofstream(model(name), std::ios::app) << "\n";
            else
                change(name, place);
        }
        expect_refused(ErrorKind::contradiction, {name, "rank " + last + " (" + host_name() + ")"},
                       [&] { open(study()); });
        std::ofstream(model(name), std::ios::binary) << before;
    }
    EXPECT_NO_THROW(open(study()));
}

TEST_F(FilesOfRanks, ThatOneRankAloneHasAreRefusedByName) {
    if (world_size() == 1) return;
    // The weights cut in two names, here by an index that the last rank alone needs.
    if (last_rank()) {
        fs::rename(model("model.safetensors"), model("shard.safetensors"));
        const Weights weights(model("shard.safetensors"), testing::Unrecorded());
        nlohmann::json index;
        for (const TensorView& tensor : weights.tensors())
            index["weight_map"][tensor.name] = "shard.safetensors";
        std::ofstream(model("model.safetensors.index.json")) << index;
    }
    expect_refused(ErrorKind::contradiction, {"safetensors", "none"}, [&] { open(study()); });
}

TEST_F(FilesOfRanks, ThatOneRankCannotReadAreMissingThere) {
    const bool alone = world_size() == 1;
    if (last_rank()) fs::remove(model("config.json"));
    const std::string last = fmt::format("rank {} on {}", world_size() - 1, host_name());
    const testing::Thrown thrown = testing::thrown_by([&] { open(study()); });
    EXPECT_EQ(thrown.status, ExitStatus::input);
    EXPECT_NE(thrown.text.find("config.json"), std::string::npos) << thrown.text;
    EXPECT_EQ(thrown.text.find(last) != std::string::npos, !alone) << thrown.text;
    for (const std::string& text : gather_to_all(MPI_COMM_WORLD, thrown.text)) EXPECT_EQ(text, thrown.text);
    // All of them: no place is better than another.
    if (!last_rank()) fs::remove(model("config.json"));
    EXPECT_EQ(testing::thrown_by([&] { open(study()); }).text.find("on " + host_name()), std::string::npos);
}

TEST_F(FilesOfRanks, OfTheTokenizerCountWhereTheFirstRankReadsThem) {
    const std::string before = open(study()).files.find("tokenizer.json")->sha256;
    if (last_rank() && world_size() > 1) std::ofstream(model("tokenizer.json"), std::ios::app) << "\n";
    EXPECT_EQ(open(study()).files.find("tokenizer.json")->sha256, before);
    if (world_rank() == 0) std::ofstream(model("tokenizer.json"), std::ios::app) << "\n\n";
    EXPECT_NE(open(study()).files.find("tokenizer.json")->sha256, before);
}

TEST_F(FilesOfRanks, ThatChangeOnOneRankAreRefusedOnAll) {
    for (const char* name : {"config.json", "model.safetensors"}) {
        SCOPED_TRACE(name);
        const LoadedModel opened = open(study());
        const std::string before = read_text(model(name), testing::Unrecorded());
        if (last_rank())
            fs::last_write_time(model(name), fs::last_write_time(model(name)) - std::chrono::hours(1));
        EXPECT_NO_THROW(refuse_changed_files(opened.files, MPI_COMM_WORLD));
        if (last_rank()) {
            change(name, -4);
            fs::last_write_time(model(name), fs::last_write_time(model(name)) - std::chrono::hours(1));
        }
        expect_refused(ErrorKind::changed, {name, fmt::format("rank {}", world_size() - 1)},
                       [&] { refuse_changed_files(opened.files, MPI_COMM_WORLD); });
        std::ofstream(model(name), std::ios::binary) << before;
    }
}

}  // namespace
}  // namespace tangram
