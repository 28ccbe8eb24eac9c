#pragma once
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "tangram/files/files_read.hpp"
#include "tangram/reading.hpp"
#include "tangram/session/session.hpp"
#include "tangram/study/configuration.hpp"
#include "tangram/text/data_set.hpp"

namespace tangram {

/// The study's examples, equal on every rank; those of several tasks one after the other.
struct StudyData {
    DataSet train;
    std::optional<DataSet> test;
    std::vector<std::int32_t> label_ids;  ///< C vocabulary ids, task after task; of completions none
    /// C + 1, where label_ids holds words of several tokens; else empty.
    std::vector<Index> label_offsets = {};
    std::vector<Index> task_labels;  ///< labels of each task; one entry where there are no tasks

    Index labels() const { return std::accumulate(task_labels.begin(), task_labels.end(), Index{0}); }
    /// Those whose logits are the network's outputs.
    std::vector<std::int32_t> logit_ids() const {
        return train.scores_answers() ? std::vector<std::int32_t>() : label_ids;
    }
};

/// What a model asks of its examples.
struct TokenRules {
    Index vocabulary;  ///< token ids lie below
    Index longest;     ///< tokens that it has positions for; max_length is lowered to it with a note
    Reading reading;   ///< where its outputs are read
    std::optional<std::int32_t> padding_id = {};   ///< a token that no example may hold
    std::optional<std::int32_t> passed_over = {};  ///< a token that no example may end with
    std::vector<std::string> label_names = {};     ///< of a trained head
};

/// Reads on the first rank and hands to all: tables through the model's tokenizer, .h5 files as they are
/// (token_ids, offsets, labels at the root or in /data/train, /data/test; label_token_ids). Collective over
/// the world.
/// @param model_files  record of the tokenizer; equal on every rank
/// @throws Error on every rank, as read_labelled_text; input for ids, offsets or labels out of range (named)
StudyData load_data(const Study& study, const TokenRules& rules, const Session& session,
                    FilesRead& model_files);

}  // namespace tangram
