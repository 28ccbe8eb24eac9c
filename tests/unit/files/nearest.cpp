#include "tangram/files/nearest.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace tangram {
namespace {

TEST(Nearest, SmallestEditDistance) {
    const std::vector<std::string> keys{"train", "test", "text", "label", "labels", "label_words"};
    EXPECT_EQ(nearest("txt", keys), "text");
    EXPECT_EQ(nearest("lable", keys), "label");
    EXPECT_EQ(nearest("label_word", keys), "label_words");
    EXPECT_EQ(nearest("labels", keys), "labels");
    EXPECT_EQ(nearest("tran", keys), "train");
    const std::vector<std::string> options{"--help", "--memory-per-rank"};
    EXPECT_EQ(nearest("--memroy", options), "--memory-per-rank");
}

TEST(Nearest, LongNamesAreNotQuadratic) {
    // An hour where a megabyte is compared with a megabyte.
    const std::vector<std::string> names{std::string(1 << 20, 'a'), std::string(1 << 20, 'b')};
    EXPECT_EQ(nearest(std::string(1 << 20, 'b'), names), names[1]);
}

TEST(Nearest, FirstOfEqualsAndNoneOfNone) {
    const std::vector<std::string> equal{"ab", "ac"};
    EXPECT_EQ(nearest("ad", equal), "ab");
    EXPECT_EQ(nearest("", equal), "ab");
    EXPECT_EQ(nearest("x", {}), "");
}

}  // namespace
}  // namespace tangram
