#include "tangram/files/json.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <limits>

#include "support/expect_error.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"

namespace tangram {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

std::string nested(std::size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); }

TEST(Json, ReadsAFile) {
    const TemporaryFolder folder;
    const nlohmann::json json =
        read_json(folder.write("a.json", "{\"a\": [1, 2.5, \"\\u00e9\"]}"), testing::Unrecorded());
    EXPECT_EQ(json["a"][0], 1);
    EXPECT_EQ(json["a"][1], 2.5);
    EXPECT_EQ(json["a"][2], "\xC3\xA9");
}

TEST(Text, HasEveryByteOrIsRefused) {
    const TemporaryFolder folder;
    for (const std::size_t size : {0UL, 1UL, 4096UL, 1000003UL}) {
        const std::string text(size, 'x');
        EXPECT_EQ(read_text(folder.write("text", text), testing::Unrecorded()), text);
    }
    // Of size 0 by name, and more than one page of text.
    EXPECT_GT(read_text("/proc/self/smaps", testing::Unrecorded()).size(), 4096U);
    EXPECT_TRUE(read_text("/proc/self/smaps", testing::Unrecorded()).find('\0') == std::string::npos);
    // Nothing is mapped at the beginning: every read fails.
    expect_error(ExitStatus::input, ErrorKind::no_access, {"/proc/self/mem"},
                 [] { read_text("/proc/self/mem", testing::Unrecorded()); });
    expect_error(ExitStatus::study, ErrorKind::no_access, {"/proc/self/mem"},
                 [] { read_text("/proc/self/mem", testing::Unrecorded(), ExitStatus::study); });
}

TEST(Text, OfAFileThatNeverEndsIsRefused) {
    const TemporaryFolder folder;
    const auto pipe = folder / "config.json";
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    expect_error(ExitStatus::input, ErrorKind::malformed, {"config.json"},
                 [&] { read_text(pipe, testing::Unrecorded()); });
    // Calls itself a file, and waits for the kernel's next message.
    const char* const messages = "/proc/kmsg";
    const int descriptor = open(messages, O_RDONLY | O_NONBLOCK);
    if (descriptor < 0) GTEST_SKIP() << messages << " cannot be opened";
    close(descriptor);
    expect_error(ExitStatus::input, ErrorKind::malformed, {messages},
                 [&] { read_text(messages, testing::Unrecorded()); });
}

TEST(Text, ThatEndsBeforeItsSizeIsRefused) {
    // A file whose size is a page and whose bytes are a few.
    const char* const file = "/sys/devices/system/cpu/online";
    if (!std::filesystem::exists(file)) GTEST_SKIP() << "no " << file;
    ASSERT_GT(std::filesystem::file_size(file), 100U);
    expect_error(ExitStatus::input, ErrorKind::changed, {file},
                 [&] { read_text(file, testing::Unrecorded()); });
}

TEST(Json, NamesFileAndByteOfWhatIsNotJson) {
    const TemporaryFolder folder;
    const auto read = [&](const std::string& text) {
        return read_json(folder.write("bad.json", text), testing::Unrecorded());
    };
    expect_error(ExitStatus::input, ErrorKind::malformed, {"bad.json", "byte 6"}, [&] { read("{\"a\":}"); });
    expect_error(ExitStatus::input, ErrorKind::malformed, {"bad.json", "byte 1"}, [&] { read(""); });
    expect_error(ExitStatus::input, ErrorKind::malformed, {"bad.json", "byte 8"}, [&] { read("{\"a\": 1"); });
    expect_error(ExitStatus::input, ErrorKind::malformed, {"bad.json"}, [&] { read("\"\xFF\""); });
    expect_error(ExitStatus::input, ErrorKind::out_of_range, {"bad.json"}, [&] { read("[1e999]"); });
}

TEST(Json, HasPythonsNumbers) {
    const nlohmann::json json = parse_json(
        R"({"a": NaN, "b": [Infinity, -Infinity , 1], "c": "NaN, \"Infinity", "!": "!", "d": "!!!!!!"})",
        "x");
    EXPECT_TRUE(std::isnan(json["a"].get<double>()));
    EXPECT_EQ(json["b"][0], std::numeric_limits<double>::infinity());
    EXPECT_EQ(json["b"][1], -std::numeric_limits<double>::infinity());
    EXPECT_EQ(json["b"][2], 1);
    EXPECT_EQ(json["c"], "NaN, \"Infinity");
    EXPECT_EQ(json["!"], "!");
    EXPECT_EQ(json["d"], "!!!!!!");
    for (const char* text : {"{NaN: 1}", "[NaNs]", "[nan]", "[+Infinity]", "NaN NaN", "[-NaN]"})
        expect_error(ExitStatus::input, ErrorKind::malformed, {"x", "byte"}, [&] { parse_json(text, "x"); });
    expect_error(ExitStatus::input, ErrorKind::malformed, {"byte 17"},
                 [] { parse_json("[NaN, Infinity, }", "x"); });
}

TEST(Json, RefusesDeepNesting) {
    const TemporaryFolder folder;
    EXPECT_NO_THROW(read_json(folder.write("deep.json", nested(200)), testing::Unrecorded()));
    expect_error(ExitStatus::input, ErrorKind::unsupported, {"deep.json", "200"},
                 [&] { read_json(folder.write("deep.json", nested(201)), testing::Unrecorded()); });
    expect_error(ExitStatus::input, ErrorKind::unsupported, {"deep.json", "200"}, [&] {
        std::string objects;
        for (int i = 0; i < 201; ++i) objects += "{\"a\":";
        read_json(folder.write("deep.json", objects), testing::Unrecorded());
    });
    expect_error(ExitStatus::input, ErrorKind::unsupported, {"deep.json"}, [&] {
        read_json(folder.write("deep.json", std::string(5'000'000, '[')), testing::Unrecorded());
    });
}

TEST(Json, ManyEmptyObjectsAreNotQuadratic) {
    // Hours where the end of each looks at all that stand before it.
    std::string text = "[{}";
    for (int i = 1; i < 1'000'000; ++i) text += ",{}";
    EXPECT_EQ(parse_json(text + "]", "x").size(), 1'000'000u);
    EXPECT_EQ(parse_json(text + "]", "x", DuplicateKeys::refused).size(), 1'000'000u);
}

TEST(Json, NamesWhatCannotBeRead) {
    const TemporaryFolder folder;
    expect_error(ExitStatus::input, ErrorKind::missing, {"absent.json"},
                 [&] { read_json(folder.path() / "absent.json", testing::Unrecorded()); });
    expect_error(ExitStatus::input, ErrorKind::malformed, {folder.path().string()},
                 [&] { read_json(folder.path(), testing::Unrecorded()); });
}

TEST(Json, RefusesKeysThatStandTwiceWhereAsked) {
    EXPECT_EQ(parse_json("{\"a\": 1, \"a\": 2}", "x")["a"], 2);
    EXPECT_NO_THROW(parse_json("{\"a\": {\"a\": 1}, \"b\": {\"a\": 2}}", "x", DuplicateKeys::refused));
    expect_error(ExitStatus::input, ErrorKind::contradiction, {"x", "\"a\""},
                 [] { parse_json("{\"b\": {}, \"a\": {\"b\": 1}, \"a\": 2}", "x", DuplicateKeys::refused); });
}

}  // namespace
}  // namespace tangram
