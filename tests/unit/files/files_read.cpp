#include "tangram/files/files_read.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <numeric>

#include "support/expect_error.hpp"
#include "support/temporary_folder.hpp"
#include "tangram/files/hash.hpp"
#include "tangram/files/json.hpp"
#include "tangram/files/safetensors.hpp"
#include "tangram/files/table.hpp"

namespace tangram {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

std::string sha256(const std::string& text) { return sha256_of_bytes(std::as_bytes(std::span(text))); }

/// A safetensors file of one tensor with one number.
std::string weights_file(const std::string& tensor, const std::string& four_bytes) {
    const std::string header =
        "{\"" + tensor + "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    std::string size(8, '\0');
    size[0] = static_cast<char>(header.size());
    return size + header + four_bytes;
}

std::vector<std::size_t> mapped_ones(const FilesRead& files) {
    std::vector<std::size_t> which;
    for (std::size_t f = 0; f < files.all().size(); ++f)
        if (files.all()[f].mapped) which.push_back(f);
    return which;
}

TEST(FilesRead, HoldsWhatEveryReaderRead) {
    const TemporaryFolder folder;
    FilesRead files(folder.path());
    read_text(folder.write("a.txt", "one"), files);
    read_json(folder.write("b.json", "{}"), files);
    read_table(folder.write("c.tsv", "text\tlabel\nx\t0\n"), files);
    std::filesystem::create_directory(folder / "model");
    folder.write("model/model.safetensors.index.json",
                 R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})");
    const std::string one = weights_file("a", "abcd"), two = weights_file("b", "efgh");
    folder.write("model/one.safetensors", one);
    folder.write("model/two.safetensors", two);
    const Weights weights(folder / "model", files);

    std::vector<std::string> names;
    for (const FileRead& file : files.all()) names.push_back(file.name);
    EXPECT_EQ(names,
              (std::vector<std::string>{"a.txt", "b.json", "c.tsv", "model/model.safetensors.index.json",
                                        "model/one.safetensors", "model/two.safetensors"}));
    EXPECT_EQ(files.find("a.txt")->sha256, sha256("one"));
    EXPECT_EQ(files.find("model/one.safetensors")->sha256, "");
    files.hash(mapped_ones(files));
    EXPECT_EQ(files.find("model/one.safetensors")->sha256, sha256(one));
    EXPECT_EQ(files.find("model/two.safetensors")->sha256, sha256(two));
    EXPECT_EQ(files.changed(), nullptr);
}

TEST(FilesRead, NamesFilesByTheirPlaceInTheFolderWhereverItStands) {
    const TemporaryFolder here, there, elsewhere;
    FilesRead files(here.path()), copy(there.path() / "");
    for (const auto& [folder, record] : {std::pair{&here, &files}, std::pair{&there, &copy}}) {
        std::filesystem::create_directory(*folder / "b");
        read_text(folder->write("a", "1"), *record);
        read_text(folder->write("b/a", "2"), *record);
        read_text(elsewhere.write("a", "3"), *record);
        read_text(folder->write("two\nlines", "4"), *record);
    }
    ASSERT_EQ(files.all().size(), 4U);
    for (std::size_t f = 0; f < 4; ++f) EXPECT_EQ(files.all()[f].name, copy.all()[f].name);
    EXPECT_EQ(files.all()[1].name, "b/a");
    EXPECT_EQ(files.all()[2].name, "a (2)");  // of another folder
    EXPECT_EQ(files.all()[3].name.find('\n'), std::string::npos);
}

TEST(FilesRead, RefusesAFileThatIsAnotherWhenItIsReadAgain) {
    const TemporaryFolder folder;
    FilesRead files;
    read_text(folder.write("a", "one"), files);
    EXPECT_EQ(read_text(folder / "a", files), "one");
    EXPECT_EQ(files.all().size(), 1U);
    folder.write("a", "two");
    expect_error(ExitStatus::input, ErrorKind::changed, {"/a"}, [&] { read_text(folder / "a", files); });
}

TEST(FilesRead, HashesTheFileThatWasMappedWhateverStandsThereNow) {
    const TemporaryFolder folder;
    const std::string mapped = weights_file("a", "abcd");
    FilesRead files(folder.path());
    const Weights weights(folder.write("m.safetensors", mapped), files);
    std::filesystem::rename(folder.write("new", weights_file("a", "efgh")), folder / "m.safetensors");
    files.hash(mapped_ones(files));
    EXPECT_EQ(files.find("m.safetensors")->sha256, sha256(mapped));
    ASSERT_NE(files.changed(), nullptr);
    EXPECT_EQ(files.changed()->name, "m.safetensors");
}

TEST(FilesRead, RefusesToHashAFileThatWasWrittenSinceItWasMapped) {
    const TemporaryFolder folder;
    FilesRead files;
    const Weights weights(folder.write("m.safetensors", weights_file("a", "abcd")), files);
    // A clock of the file system may stand still for some milliseconds.
    folder.write("m.safetensors", weights_file("a", "efgh"));
    std::filesystem::last_write_time(folder / "m.safetensors",
                                     std::filesystem::file_time_type::clock::now() + std::chrono::seconds(1));
    expect_error(ExitStatus::input, ErrorKind::changed, {"m.safetensors"},
                 [&] { files.hash(mapped_ones(files)); });
}

TEST(FilesRead, SeesWhatHasChanged) {
    const TemporaryFolder folder;
    const auto text = folder.write("a.txt", "one"),
               map = folder.write("m.safetensors", weights_file("a", "abcd"));
    FilesRead files(folder.path());
    read_text(text, files);
    const Weights weights(map, files);
    files.hash(mapped_ones(files));
    const auto age = [](const std::filesystem::path& file) {
        std::filesystem::last_write_time(file,
                                         std::filesystem::last_write_time(file) - std::chrono::seconds(100));
    };
    // Equal bytes under another time, another right or another name are no change; neither is a file that is
    // gone.
    age(map);
    std::filesystem::permissions(text, std::filesystem::perms::owner_read);
    std::filesystem::create_hard_link(map, folder / "link");
    EXPECT_EQ(files.changed(), nullptr);
    std::filesystem::permissions(text, std::filesystem::perms::owner_all);
    folder.write("a.txt", "two");
    age(text);
    ASSERT_NE(files.changed(), nullptr);
    EXPECT_EQ(files.changed()->name, "a.txt");
    folder.write("a.txt", "one");
    EXPECT_EQ(files.changed(), nullptr);
    folder.write("m.safetensors", weights_file("a", "abce"));
    age(map);
    ASSERT_NE(files.changed(), nullptr);
    EXPECT_EQ(files.changed()->name, "m.safetensors");
    std::filesystem::remove(map);
    EXPECT_EQ(files.changed(), nullptr);
}

TEST(FilesRead, TakesAnotherRanksWord) {
    const TemporaryFolder folder;
    FilesRead files(folder.path());
    const Weights weights(folder.write("m.safetensors", weights_file("a", "abcd")), files);
    files.set_hash(0, "its hash");
    files.add_known("tokenizer.json", "another hash", 3);
    files.add_known("m.safetensors", "ignored", 3);
    EXPECT_EQ(files.find("m.safetensors")->sha256, "its hash");
    EXPECT_EQ(files.find("tokenizer.json")->sha256, "another hash");
    EXPECT_EQ(files.all().size(), 2U);
    folder.write("m.safetensors", "another");  // who has hashed it looks at it
    EXPECT_EQ(files.changed(), nullptr);
}

}  // namespace
}  // namespace tangram
