#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"
#include "tangram/files/json.hpp"
#include "tangram/files/table.hpp"

namespace tangram {
namespace {

const std::filesystem::path reviews = std::filesystem::path(TANGRAM_TEST_DATA) / "reviews";

TEST(Reviews, AreWhatTheirGeneratorWrites) {
    const testing::TemporaryFolder folder;
    if (std::system("python3 --version > /dev/null 2>&1") != 0)
        GTEST_SKIP() << "no python3: the reviews are not made anew";
    const std::string command = "python3 '" + std::string(TANGRAM_SOURCE) + "/tools/data/reviews.py' '" +
                                folder.path().string() + "'";
    ASSERT_EQ(std::system(command.c_str()), 0);
    for (const char* name : {"train.tsv", "test.tsv"})
        EXPECT_EQ(read_text(folder.path() / name, testing::Unrecorded()),
                  read_text(reviews / name, testing::Unrecorded()))
            << name;
}

TEST(Reviews, AreDistinctAndBalanced) {
    std::set<std::string> seen;
    for (const auto& [name, count] : {std::pair("train.tsv", 4000), std::pair("test.tsv", 1000)}) {
        const Table table = read_table(reviews / name, testing::Unrecorded());
        Index positive = 0;
        for (const auto& row : table.rows) {
            EXPECT_TRUE(seen.insert(row[table.column("text")]).second) << row[0];
            positive += row[table.column("label")] == "1" ? 1 : 0;
        }
        EXPECT_EQ(std::ssize(table.rows), count);
        EXPECT_EQ(2 * positive, count);
    }
}

}  // namespace
}  // namespace tangram
