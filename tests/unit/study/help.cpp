#include "tangram/study/help.hpp"

#include <gtest/gtest.h>

#include <set>

#include "tangram/study/configuration.hpp"

namespace tangram {
namespace {

TEST(Help, ExplainsEveryKeyOfAStudyOnceAndNoOther) {
    std::set<std::string> known, explained;
    for (const auto& [key, value] : study_keys(to_toml(Study{}))) known.insert(key);
    for (const auto& [key, meaning] : explained_keys())
        EXPECT_TRUE(explained.insert(key).second) << key << " stands twice";
    EXPECT_EQ(explained, known);
}

TEST(Help, StudyShowsDefaults) {
    const std::string text = help("study");
    EXPECT_NE(text.find("max_length = 64 "), std::string::npos) << text;
    EXPECT_NE(text.find("precision = 'mixed' "), std::string::npos) << text;
}

}  // namespace
}  // namespace tangram
