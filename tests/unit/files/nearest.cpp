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
}

TEST(Nearest, FirstOfEqualsAndNoneOfNone) {
    const std::vector<std::string> equal{"ab", "ac"};
    EXPECT_EQ(nearest("ad", equal), "ab");
    EXPECT_EQ(nearest("", equal), "ab");
    EXPECT_EQ(nearest("x", {}), "");
}

}  // namespace
}  // namespace tangram
