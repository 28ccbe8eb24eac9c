#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "commands.hpp"
#include "tangram/study/label_words.hpp"

namespace tangram {

void words(const Study& study, const Session& session) {
    for (const LabelWordsOfData& data : label_words_of(study, session)) {
        std::string text = data.task.empty() ? "" : fmt::format("[{}]\n", data.task);
        // JSON's strings are TOML's.
        for (const LabelWord& word : data.words)
            text += fmt::format("{:>7}  {}\n", word.id, nlohmann::json(word.text).dump());
        text += fmt::format("{} label words", data.words.size());
        session.log.result(text);
    }
}

}  // namespace tangram
