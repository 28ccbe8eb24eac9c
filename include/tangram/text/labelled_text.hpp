#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tangram/reading.hpp"
#include "tangram/text/data_set.hpp"
#include "tangram/text/tokenizer.hpp"

namespace tangram {

/// How a table becomes examples; the keys of [data] in the study file (`tangram help study`).
struct LabelledText {
    std::filesystem::path file;
    std::string text = "text";        ///< the column that {text} in the template stands for
    std::string label = "label";      ///< the column of labels
    std::vector<std::string> labels;  ///< label names in order; empty: integers 0 .. C-1, or False and True
    /// The template: "{column}" is replaced, "{{" and "}}" are braces, "[MASK]" is the predicted token of a
    /// masked model, whatever its tokenizer calls it
    std::string prompt = "{text}";
    std::vector<std::string>
        label_names;  ///< of a trained head, C: the column may hold them in place of numbers
    std::vector<std::string>
        label_words;  ///< C words; empty (a classifier): C from `labels` or the largest label
    /// Answers behind the filled template, of any number of tokens each, in place of one token's logit: the
    /// label words, or what a column holds
    bool scores_answers = false;
    std::string completion;  ///< that column; empty: the label words
    Index max_length = 64;   ///< tokens, special ones and those of the longest answer included
    Index samples = 0;       ///< 0: all
    std::uint64_t seed = 1;
    Reading reading = Reading::last_token;  ///< where the model's outputs are read
};

/// Labels that a classifier may have; a larger number in a file is taken for a mistake.
inline constexpr Index most_labels = 65536;

struct LabelledExamples {
    DataSet data;
    std::vector<std::int32_t> label_ids;  ///< C vocabulary ids of the label words; empty without words
    std::vector<Index> label_offsets;  ///< C + 1, where label_ids holds words of several tokens; else empty
    Index label_count = 0;             ///< C
    /// Of labels that only their numbers name: the first below C that no row of the file has, or C.
    Index absent_label = 0;
    Index cut = 0;                      ///< examples that were truncated to max_length
    std::vector<std::string> warnings;  ///< what a person should hear of the table
};

/// Reads, draws, fills the template, tokenises and truncates. A completion is tokenised with the filled
/// template before it, and a token with a byte of it belongs to it; where the two are too long, the
/// completion is cut like a column of the template, but for its first token. A token stands inside a column's
/// text if all its bytes do: the blank that a template sets before a column belongs to neither where the
/// tokenizer joins it to a word, so that token stays. Special tokens behind every text are left off where a
/// causal model is asked for the next one (words, completion), with a warning. Local; depends on file, tokenizer and options alone.
/// @param tables       record of the table
/// @throws Error(input) naming file and line: unreadable table, empty text, label without a word, unknown
/// column;
///         Error(study): more samples than rows, a label word of other than one token behind any of the texts
///         (of masked models: alone; the tokens are shown), one that is an answer and not the same tokens
///         behind all of them, a template that cannot fit into max_length, or
///         without the one [MASK] that a masked model needs
LabelledExamples read_labelled_text(const LabelledText& options, const Tokenizer& tokenizer,
                                    FilesRead& tables);

/// A token that a label word may be.
struct LabelWord {
    std::int32_t id;
    std::string text;  ///< as data.label_words takes it, with its blank
};

/// Every token of the vocabulary that begins with a letter or a digit (a blank may stand before it) and that
/// its own text adds alone behind the first drawn example's template (of masked models: that its text is
/// alone), by id. Other examples' texts may refuse one where the template ends in a column. Local;
/// label_words are not read. @throws as read_labelled_text
std::vector<LabelWord> possible_label_words(const LabelledText& options, const Tokenizer& tokenizer,
                                            FilesRead& tables);

/// What a person should hear of examples, whatever they were read from: labels that are all alike, and
/// examples that repeat the tokens of an earlier one, counted with equal and with other labels. Local, O(n).
/// @param file  that the texts name
std::vector<std::string> warnings_of(const DataSet& data, const std::string& file);

}  // namespace tangram
