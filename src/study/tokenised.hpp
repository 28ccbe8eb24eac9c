#pragma once
#include <string>

#include "tangram/study/configuration.hpp"
#include "tangram/study/data_loading.hpp"
#include "tangram/text/labelled_text.hpp"

namespace tangram {

/// Whether an HDF5 file of tokens has a part for the test set; else its examples are taken for either. Local.
bool has_test_part(const std::string& file);

/// Examples of an HDF5 file that are tokenised already: token_ids, offsets, labels and, where the study's
/// head has label words, label_token_ids, in /data/<part>, else /data/train, else at the root. Local.
/// @param part     "train" or "test": where a file of tangram's own has them
/// @param samples  to draw; 0: all
/// @param model_files  record of the tokenizer, where the mask token is looked for
/// @throws Error(input) naming file, data set or example for what does not fit together; Error(study): too
/// many samples
LabelledExamples read_tokenised(const std::string& file, const std::string& part, Index samples,
                                const TokenRules& rules, const Study& study, FilesRead& model_files);

}  // namespace tangram
