#include "tangram/files/hash.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "support/expect_error.hpp"
#include "support/temporary_folder.hpp"

namespace tangram {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

// FIPS 180-4's examples, as `printf abc | sha256sum` prints them.
constexpr const char* of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* of_a_million_a = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Hash, OfBytes) {
    EXPECT_EQ(sha256_of_bytes(std::as_bytes(std::span("abc", 3))), of_abc);
    EXPECT_EQ(sha256_of_bytes({}), of_nothing);
}

TEST(Hash, OfFilesIsOfTheirBytesOneAfterTheOther) {
    const TemporaryFolder folder;
    const std::vector<std::filesystem::path> one{folder.write("abc", "abc")};
    EXPECT_EQ(sha256_of_files(one), of_abc);
    const std::vector<std::filesystem::path> parts{folder.write("a", "a"), folder.write("none", ""),
                                                   folder.write("bc", "bc")};
    EXPECT_EQ(sha256_of_files(parts), of_abc);
    const std::vector<std::filesystem::path> large{folder.write("large", std::string(1'000'000, 'a'))};
    EXPECT_EQ(sha256_of_files(large), of_a_million_a);
    // More than one buffer.
    const std::vector<std::filesystem::path> halves{folder.write("h", std::string(500'000, 'a')),
                                                    folder.path() / "h"};
    EXPECT_EQ(sha256_of_files(halves), of_a_million_a);
}

TEST(Hash, NamesAFileThatCannotBeRead) {
    const TemporaryFolder folder;
    const std::vector<std::filesystem::path> absent{folder.path() / "absent"}, is_folder{folder.path()};
    expect_error(ExitStatus::input, {"absent"}, [&] { sha256_of_files(absent); });
    expect_error(ExitStatus::input, {folder.path().string()}, [&] { sha256_of_files(is_folder); });
}

}  // namespace
}  // namespace tangram
