#include "tangram/study/help.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tangram/study/keys.hpp"
#include "tangram/study/stored_study.hpp"

namespace tangram {
namespace {

TEST(Help, StudyListsEveryKeyWithItsDefaultAndWhatItMayHold) {
    const std::string text = help("study");
    const auto defaults = study_keys(to_toml(Study{}));
    for (const Key& key : keys()) {
        if (key.section() == "tasks") continue;
        const std::string section = fmt::format("\n[{}]\n", key.section()),
                          line = fmt::format("\n{} = {} ", key.own_name(), defaults.at(key.name));
        const auto begins = text.find(section);
        ASSERT_NE(begins, std::string::npos) << key.name;
        const auto at = text.find(line, begins);
        ASSERT_NE(at, std::string::npos) << key.name << " is not in\n" << text;
        EXPECT_EQ(text.substr(begins + 1, at - begins).find("\n["), std::string::npos) << key.name;
        const std::string said = text.substr(at + 1, text.find('\n', at + 1) - at);
        EXPECT_NE(said.find(key.help), std::string::npos) << said;
        if (const auto* const choices = std::get_if<Choices>(&key.allowed)) {
            for (const Choices::Choice& choice : choices->choices)
                EXPECT_EQ(said.find(choice.word) != std::string::npos, choice.served) << said << choice.word;
        }
        if (const auto* const path = std::get_if<Path>(&key.allowed)) {
            EXPECT_EQ(said.find("required") != std::string::npos, path->required) << said;
        }
    }
}

TEST(Help, StudySaysBoundsAndWhatDecidesNothing) {
    const std::string text = help("study");
    for (const char* words : {"max_length = 64 ", "at least 1\n", "at least 0, at most 65536", "positive\n",
                              "precision = 'mixed' ", "No result depends on output.path, "})
        EXPECT_NE(text.find(words), std::string::npos) << words << " is not in\n" << text;
}

}  // namespace
}  // namespace tangram
