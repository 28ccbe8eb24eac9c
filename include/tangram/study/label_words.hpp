#pragma once
#include <string>
#include <vector>

#include "tangram/session/session.hpp"
#include "tangram/study/configuration.hpp"
#include "tangram/text/labelled_text.hpp"

namespace tangram {

/// The label words that would do for the model and the template of one data set (possible_label_words).
struct LabelWordsOfData {
    std::string task;  ///< empty where the study has none
    std::vector<LabelWord> words;
};

/// Of the study's data, or of each of its tasks; empty but on the first rank. Collective.
/// @throws Error on every rank: study for data that are tokenised already and for a classifier, which have no
/// words; as open_model and read_labelled_text
std::vector<LabelWordsOfData> label_words_of(const Study& study, const Session& session);

}  // namespace tangram
