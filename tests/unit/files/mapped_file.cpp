#include "tangram/files/mapped_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "support/temporary_folder.hpp"

namespace tangram {
namespace {

TEST(MappedFile, HoldsTheBytes) {
    const testing::TemporaryFolder folder;
    std::ofstream(folder / "a") << "abc";
    const int descriptor = open((folder / "a").c_str(), O_RDONLY);
    const MappedFile map(folder / "a", descriptor, 3);
    close(descriptor);
    ASSERT_NE(map.bytes(), nullptr);
    EXPECT_EQ(map.bytes()[2], std::byte{'c'});
    EXPECT_EQ(MappedFile(folder / "a", -1, 3).bytes(), nullptr);
}

TEST(MappedFile, OneThatIsCutShortIsNamed) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const testing::TemporaryFolder folder;
    EXPECT_EXIT(
        {
            name_files_cut_short();
            const auto file = folder / "cut";
            std::ofstream(file) << std::string(100000, 'x');
            const int descriptor = open(file.c_str(), O_RDONLY);
            const MappedFile map(file, descriptor, 100000);
            std::filesystem::resize_file(file, 10);
            volatile std::byte seen = map.bytes()[90000];
            static_cast<void>(seen);
            std::_Exit(0);
        },
        ::testing::ExitedWithCode(3), "error: .*cut: was cut short");
}

}  // namespace
}  // namespace tangram
