#include "tokenised.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "tangram/drawing.hpp"
#include "tangram/io/hdf5_file.hpp"

namespace tangram {

namespace {

[[noreturn]] void refuse(ErrorKind kind, const std::string& file, const std::string& problem) {
    throw Error(ExitStatus::input, kind, fmt::format("{}: {}", file, problem));
}

/// @throws Error(input) for offsets that do not grow from 0 to the number of tokens
void check_offsets(const std::vector<Index>& offsets, Index tokens, const std::string& path,
                   const std::string& file) {
    if (offsets.size() < 2 || offsets.front() != 0 || offsets.back() != tokens ||
        std::ranges::adjacent_find(offsets, std::greater_equal<>()) != offsets.end())
        refuse(ErrorKind::malformed, file,
               fmt::format("{} must grow from 0 to the number of token ids, {}", path, tokens));
}

/// Where the one mask token of every example stands.
std::vector<std::int32_t> mask_places(const DataSet& data, const std::string& file, const std::string& model,
                                      FilesRead& model_files) {
    const Tokenizer tokenizer(model, model_files);
    const auto mask = tokenizer.mask_token();
    if (!mask)
        refuse(ErrorKind::missing, model,
               "its tokenizer has no mask token, and the examples do not say where they are read (reads)");
    std::vector<std::int32_t> places;
    for (Index e = 0; e < data.examples(); ++e) {
        const auto tokens = data.tokens(e);
        const std::int32_t id = *tokenizer.find(*mask);
        const auto found = std::find(tokens.begin(), tokens.end(), id);
        if (std::count(tokens.begin(), tokens.end(), id) != 1)
            refuse(ErrorKind::contradiction, file,
                   fmt::format("example {} holds the mask token {} ({}) {} times; give the place where each "
                               "example is read in a data set \"reads\"",
                               e, *mask, id, std::count(tokens.begin(), tokens.end(), id)));
        places.push_back(static_cast<std::int32_t>(found - tokens.begin()));
    }
    return places;
}

/// What the file says of all examples, as it stands there.
DataSet stored_examples(const Hdf5File& h5, const std::string& at, const std::string& file) {
    DataSet all;
    all.token_ids = h5.read_int32(at + "token_ids");
    all.offsets = h5.read_int64(at + "offsets");
    all.labels = h5.read_int32(at + "labels");
    if (h5.exists(at + "reads")) {
        all.reads = h5.read_int32(at + "reads");
        if (std::ssize(all.reads) != std::ssize(all.offsets) - 1)
            refuse(ErrorKind::contradiction, file,
                   fmt::format("{}reads has {} entries for {} examples", at, all.reads.size(),
                               std::ssize(all.offsets) - 1));
    }
    return all;
}

/// Where each label word's tokens begin: label_offsets, or one token each.
void find_answers(const Hdf5File& h5, const std::string& file, LabelledExamples& result) {
    const std::string at = h5.exists("/data/label_token_ids") ? "/data/" : "/";
    if (h5.exists(at + "label_offsets"))
        result.label_offsets = h5.read_int64(at + "label_offsets");
    else
        for (Index c = 0; c <= result.label_count; ++c) result.label_offsets.push_back(c);
    check_offsets(result.label_offsets, std::ssize(result.label_ids), at + "label_offsets", file);
    result.label_count = std::ssize(result.label_offsets) - 1;
}

/// The completion of every example, in the order of the file.
DataSet stored_completions(const Hdf5File& h5, const std::string& at, const DataSet& all,
                           const std::string& file) {
    DataSet completions;
    completions.token_ids = h5.read_int32(at + "completion_token_ids");
    completions.offsets = h5.read_int64(at + "completion_offsets");
    check_offsets(completions.offsets, std::ssize(completions.token_ids), at + "completion_offsets", file);
    if (completions.examples() != all.examples())
        refuse(ErrorKind::contradiction, file,
               fmt::format("{}completion_offsets is of {} examples, there are {}", at, completions.examples(),
                           all.examples()));
    return completions;
}

/// The label words' tokens, or of a classifier the number of labels, into result.
void find_labels(const Hdf5File& h5, const std::string& at, const DataSet& all, const std::string& file,
                 const TokenRules& rules, const Study& study, LabelledExamples& result) {
    if (study.model.head == "lm") {
        result.label_ids =
            h5.read_int32(h5.exists("/data/label_token_ids") ? "/data/label_token_ids" : "/label_token_ids");
        result.label_count = std::ssize(result.label_ids);
        if (study.data.score != "logit") find_answers(h5, file, result);
        return;
    }
    for (const Index label : all.labels) {
        if (label >= most_labels)
            refuse(ErrorKind::out_of_range, file,
                   fmt::format("{}labels holds {}; number the labels 0, 1, ...", at, label));
        result.label_count = std::max(result.label_count, label + 1);
    }
    while (std::ranges::find(all.labels, result.absent_label) != all.labels.end()) ++result.absent_label;
    const Index named =
        study.model.head == "checkpoint" ? std::ssize(rules.label_names) : std::ssize(study.data.labels);
    if (named > 0) result.label_count = result.absent_label = named;
}

/// Offsets that grow from 0 to the number of tokens, and a label below label_count for each example.
void check_examples(const DataSet& all, Index label_count, const std::string& at, const std::string& file) {
    if (all.offsets.size() < 2 || all.offsets.front() != 0 || all.offsets.back() != std::ssize(all.token_ids))
        refuse(ErrorKind::malformed, file,
               fmt::format("{}offsets must begin with 0 and end with the number of token_ids, {}", at,
                           all.token_ids.size()));
    for (std::size_t e = 1; e < all.offsets.size(); ++e)
        if (all.offsets[e] <= all.offsets[e - 1])
            refuse(ErrorKind::malformed, file, fmt::format("example {} is empty: offsets must grow", e - 1));
    if (std::ssize(all.labels) != all.examples())
        refuse(ErrorKind::contradiction, file,
               fmt::format("{} labels for {} examples", all.labels.size(), all.examples()));
    for (std::size_t e = 0; e < all.labels.size(); ++e)
        if (all.labels[e] < 0 || all.labels[e] >= label_count)
            refuse(ErrorKind::out_of_range, file,
                   fmt::format("example {}: label {} has no word; label_token_ids gives words for 0 to {}", e,
                               all.labels[e], label_count - 1));
}

/// Where the examples are read, as the model's reading asks for.
void place_reads(DataSet& all, Reading reading, const std::string& file, const std::string& model,
                 FilesRead& model_files) {
    if (reading == Reading::mask_token && all.reads.empty())
        all.reads = mask_places(all, file, model, model_files);
    if (reading == Reading::first_token) all.reads.assign(all.labels.size(), 0);
    if (reading == Reading::last_token) all.reads.clear();
    for (std::size_t e = 0; e < all.reads.size(); ++e)
        if (all.reads[e] < 0 || all.reads[e] >= std::ssize(all.tokens(static_cast<Index>(e))))
            refuse(ErrorKind::out_of_range, file,
                   fmt::format("example {} is read at token {}, it has {}", e, all.reads[e],
                               all.tokens(static_cast<Index>(e)).size()));
}

}  // namespace

bool has_test_part(const std::string& file) {
    return Hdf5File::open(file, false, ExitStatus::input).exists("/data/test");
}

LabelledExamples read_tokenised(const std::string& file, const std::string& part, Index samples,
                                const TokenRules& rules, const Study& study, FilesRead& model_files) {
    const Hdf5File h5 = Hdf5File::open(file, false, ExitStatus::input);
    const std::string at = h5.exists("/data/" + part) ? "/data/" + part + "/"
                           : h5.exists("/data/train") ? "/data/train/"
                                                      : "/";
    DataSet all = stored_examples(h5, at, file);
    LabelledExamples result;
    const bool completed = !study.data.completion.empty();
    std::optional<DataSet> completions;
    if (completed) {
        completions = stored_completions(h5, at, all, file);
        result.label_count = 1;
    } else {
        find_labels(h5, at, all, file, rules, study, result);
    }
    check_examples(all, result.label_count, at, file);
    place_reads(all, rules.reading, file, study.model.path, model_files);
    const auto rows = draw_rows(all.examples(), samples, static_cast<std::uint64_t>(study.data.seed), file);
    for (const Index row : rows) {
        const auto tokens = all.tokens(row);
        Index longest_answer = completed ? std::ssize(completions->tokens(row)) : 0;
        for (std::size_t c = 1; c < result.label_offsets.size(); ++c)
            longest_answer = std::max(longest_answer, result.label_offsets[c] - result.label_offsets[c - 1]);
        if (std::ssize(tokens) + longest_answer > study.data.max_length)
            refuse(
                ErrorKind::contradiction, file,
                fmt::format("example {} has {} tokens{}, data.max_length is {}; raise it or cut the example",
                            row, std::ssize(tokens) + longest_answer,
                            longest_answer > 0 ? " with its longest answer" : "", study.data.max_length));
        result.data.append(tokens, all.labels[static_cast<std::size_t>(row)], row);
        if (completed)
            result.data.append_answers(completions->tokens(row), std::vector<Index>{0, longest_answer});
        else if (!result.label_offsets.empty())
            result.data.append_answers(result.label_ids, result.label_offsets);
        if (!all.reads.empty()) result.data.reads.push_back(all.reads[static_cast<std::size_t>(row)]);
    }
    return result;
}

}  // namespace tangram
