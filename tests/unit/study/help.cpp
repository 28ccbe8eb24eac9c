#include "tangram/study/help.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "tangram/model/architectures.hpp"
#include "tangram/model/unread_keys.hpp"
#include "tangram/study/keys.hpp"
#include "tangram/study/stored_study.hpp"

namespace tangram {
namespace {

TEST(Help, StudyListsEveryKeyWithItsDefaultAndWhatItMayHold) {
    const std::string text = help("study");
    Study study;
    study.finetune.asked = true;
    const auto defaults = study_keys(to_toml(study));
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
                EXPECT_NE(said.find(choice.word), std::string::npos) << said << choice.word;
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

/// What follows a label in the part of a family, in one line.
std::string listed_in(const std::string& text, std::string_view family, const std::string& label) {
    const auto begins = text.find(fmt::format("\n{}\n", family));
    const auto at = text.find("  " + label + " ", begins + 1);
    if (begins == std::string::npos || at == std::string::npos) return "";
    std::string line;
    for (auto row = at; row != std::string::npos && (row == at || text.compare(row, 3, "   ") == 0);) {
        const auto end = text.find('\n', row);
        line += text.substr(row, end - row) + " ";
        row = end == std::string::npos ? end : end + 1;
    }
    return line;
}

TEST(Help, ModelsListsWhatEachFamilyReadsAndRefuses) {
    const std::string text = help("models");
    for (const Architecture& family : architectures()) {
        const std::string read = listed_in(text, family.model_type, "read"),
                          refused = listed_in(text, family.model_type, "refused");
        for (const std::string& key : consumed_keys(family.model_type))
            EXPECT_NE(read.find(key), std::string::npos) << family.model_type << " " << key << read;
        for (const char* key : {"dim_model_base", "num_local_experts (but 0, 1)"})
            EXPECT_NE(refused.find(key), std::string::npos) << family.model_type << " " << refused;
    }
    EXPECT_NE(listed_in(text, "qwen2", "read").find(" layer_types,"), std::string::npos);
    EXPECT_EQ(listed_in(text, "qwen2", "refused").find(" layer_types,"), std::string::npos);
    EXPECT_NE(listed_in(text, "gpt2", "refused").find(" layer_types,"), std::string::npos);
    EXPECT_NE(listed_in(text, "all of them", "harmless").find("transformers_version"), std::string::npos);
    for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1)
        EXPECT_LE(text.find('\n', at) - at, 110U) << text.substr(at, 120);
}

}  // namespace
}  // namespace tangram
