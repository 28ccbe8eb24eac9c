#include "tangram/study/data_loading.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "tangram/io/hdf5_file.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/text/drawing.hpp"
#include "tangram/text/labelled_text.hpp"

namespace tangram {

namespace {

[[noreturn]] void refuse(const std::string& file, const std::string& problem) {
    throw Error(ExitStatus::input, fmt::format("{}: {}", file, problem));
}

/// Where the one mask token of every example stands.
std::vector<std::int32_t> mask_places(const DataSet& data, const std::string& file,
                                      const std::string& model) {
    const Tokenizer tokenizer{std::filesystem::path(model)};
    const auto mask = tokenizer.mask_token();
    if (!mask)
        refuse(model,
               "its tokenizer has no mask token, and the examples do not say where they are read (reads)");
    std::vector<std::int32_t> places;
    for (Index e = 0; e < data.examples(); ++e) {
        const auto tokens = data.tokens(e);
        const std::int32_t id = *tokenizer.find(*mask);
        const auto found = std::find(tokens.begin(), tokens.end(), id);
        if (std::count(tokens.begin(), tokens.end(), id) != 1)
            refuse(file,
                   fmt::format("example {} holds the mask token {} ({}) {} times; give the place where each "
                               "example is read in a data set \"reads\"",
                               e, *mask, id, std::count(tokens.begin(), tokens.end(), id)));
        places.push_back(static_cast<std::int32_t>(found - tokens.begin()));
    }
    return places;
}

/// Already tokenised examples. @param part  "train" or "test": where a file of tangram's own has them
LabelledExamples read_tokenised(const std::string& file, const std::string& part, Index samples,
                                Reading reading, const Study& study) {
    const Hdf5File h5 = Hdf5File::open(file, false, ExitStatus::input);
    const std::string at = h5.exists("/data/" + part) ? "/data/" + part + "/"
                           : h5.exists("/data/train") ? "/data/train/"
                                                      : "/";
    DataSet all;
    all.token_ids = h5.read_int32(at + "token_ids");
    all.offsets = h5.read_int64(at + "offsets");
    all.labels = h5.read_int32(at + "labels");
    if (h5.exists(at + "reads")) {
        all.reads = h5.read_int32(at + "reads");
        if (std::ssize(all.reads) != std::ssize(all.offsets) - 1)
            refuse(file, fmt::format("{}reads has {} entries for {} examples", at, all.reads.size(),
                                     std::ssize(all.offsets) - 1));
    }
    LabelledExamples result;
    if (study.model.head == "classifier") {
        for (const std::int32_t label : all.labels)
            result.label_count = std::max<Index>(result.label_count, label + 1);
        if (!study.data.labels.empty()) result.label_count = std::ssize(study.data.labels);
    } else {
        result.label_ids =
            h5.read_int32(h5.exists("/data/label_token_ids") ? "/data/label_token_ids" : "/label_token_ids");
        result.label_count = std::ssize(result.label_ids);
    }
    if (all.offsets.size() < 2 || all.offsets.front() != 0 || all.offsets.back() != std::ssize(all.token_ids))
        refuse(file, fmt::format("{}offsets must begin with 0 and end with the number of token_ids, {}", at,
                                 all.token_ids.size()));
    for (std::size_t e = 1; e < all.offsets.size(); ++e)
        if (all.offsets[e] <= all.offsets[e - 1])
            refuse(file, fmt::format("example {} is empty: offsets must grow", e - 1));
    if (std::ssize(all.labels) != all.examples())
        refuse(file, fmt::format("{} labels for {} examples", all.labels.size(), all.examples()));
    for (std::size_t e = 0; e < all.labels.size(); ++e)
        if (all.labels[e] < 0 || all.labels[e] >= result.label_count)
            refuse(file,
                   fmt::format("example {}: label {} has no word; label_token_ids gives words for 0 to {}", e,
                               all.labels[e], result.label_count - 1));
    if (reading == Reading::mask_token && all.reads.empty())
        all.reads = mask_places(all, file, study.model.path);
    if (reading == Reading::first_token) all.reads.assign(all.labels.size(), 0);
    if (reading == Reading::last_token) all.reads.clear();
    for (std::size_t e = 0; e < all.reads.size(); ++e)
        if (all.reads[e] < 0 || all.reads[e] >= std::ssize(all.tokens(static_cast<Index>(e))))
            refuse(file, fmt::format("example {} is read at token {}, it has {}", e, all.reads[e],
                                     all.tokens(static_cast<Index>(e)).size()));
    const auto rows = draw_rows(all.examples(), samples, static_cast<std::uint64_t>(study.data.seed), file);
    for (const Index row : rows) {
        const auto tokens = all.tokens(row);
        if (std::ssize(tokens) > study.data.max_length)
            refuse(file,
                   fmt::format("example {} has {} tokens, data.max_length is {}; raise it or cut the example",
                               row, tokens.size(), study.data.max_length));
        result.data.append(tokens, all.labels[static_cast<std::size_t>(row)], row);
        if (!all.reads.empty()) result.data.reads.push_back(all.reads[static_cast<std::size_t>(row)]);
    }
    return result;
}

LabelledExamples read_examples(const Study& study, const std::string& file, const std::string& part,
                               Index samples, Reading reading, const std::optional<Tokenizer>& tokenizer) {
    if (file.ends_with(".h5")) return read_tokenised(file, part, samples, reading, study);
    LabelledText options;
    options.file = file;
    options.text = study.data.text;
    options.label = study.data.label;
    options.labels = study.data.labels;
    options.prompt = study.data.tmpl.empty() ? "{text}" : study.data.tmpl;
    if (study.model.head == "lm") options.label_words = study.data.label_words;
    options.max_length = study.data.max_length;
    options.samples = samples;
    options.reading = reading;
    options.seed = static_cast<std::uint64_t>(study.data.seed);
    return read_labelled_text(options, *tokenizer);
}

void check_range(const DataSet& data, const std::string& file, Index vocabulary) {
    for (Index e = 0; e < data.examples(); ++e)
        for (const std::int32_t token : data.tokens(e))
            if (token < 0 || token >= vocabulary)
                refuse(
                    file,
                    fmt::format(
                        "example {} (source row {}) holds token id {}, the model has 0 to {}; tokenise with "
                        "the model's own tokenizer",
                        e, data.rows[static_cast<std::size_t>(e)], token, vocabulary - 1));
}

void share(MPI_Comm comm, DataSet& data) {
    broadcast(comm, data.token_ids, 0);
    broadcast(comm, data.offsets, 0);
    broadcast(comm, data.labels, 0);
    broadcast(comm, data.rows, 0);
    broadcast(comm, data.reads, 0);
}

/// One task's examples; the study's [data] is that task's.
StudyData load_one(Study study, Index vocabulary, Index longest, Reading reading, const Session& session) {
    if (study.data.max_length > longest) {
        session.log.say(fmt::format("data.max_length = {} is lowered to the model's {} positions",
                                    study.data.max_length, longest));
        study.data.max_length = longest;
    }
    const MPI_Comm comm = session.world.get();
    const bool has_test = !study.data.test.empty();
    StudyData data;
    if (has_test) data.test.emplace();
    collectively(comm, [&] {
        if (session.world.rank() != 0) return;
        std::optional<Tokenizer> tokenizer;
        if (!study.data.train.ends_with(".h5") || (has_test && !study.data.test.ends_with(".h5")))
            tokenizer.emplace(std::filesystem::path(study.model.path) / "tokenizer.json");
        LabelledExamples train =
            read_examples(study, study.data.train, "train", study.data.samples, reading, tokenizer);
        check_range(train.data, study.data.train, vocabulary);
        for (const std::int32_t id : train.label_ids)
            if (id < 0 || id >= vocabulary)
                refuse(
                    study.data.train,
                    fmt::format("label word id {} is not in the model's vocabulary of {}", id, vocabulary));
        const bool classifier = study.model.head == "classifier";
        if (classifier) {
            if (train.label_count < 2)
                refuse(study.data.train, "a classifier needs two labels at least; name them in data.labels");
            train.label_ids.resize(static_cast<std::size_t>(train.label_count));
            std::iota(train.label_ids.begin(), train.label_ids.end(), 0);
        }
        Index cut = train.cut;
        data.train = std::move(train.data);
        data.label_ids = std::move(train.label_ids);
        if (has_test) {
            LabelledExamples test =
                read_examples(study, study.data.test, "test", study.data.test_samples, reading, tokenizer);
            check_range(test.data, study.data.test, vocabulary);
            if (classifier && test.label_count > std::ssize(data.label_ids))
                refuse(study.data.test,
                       fmt::format("holds label {}, the training examples have 0 to {}; name all of "
                                   "them in data.labels",
                                   test.label_count - 1, data.label_ids.size() - 1));
            if (!classifier && test.label_ids != data.label_ids)
                refuse(study.data.test, "its label words are not those of the training examples");
            cut += test.cut;
            data.test = std::move(test.data);
        }
        if (cut > 0)
            session.log.say(fmt::format("{} of {} examples were cut to {} tokens", cut,
                                        data.train.examples() + (has_test ? data.test->examples() : 0),
                                        study.data.max_length));
    });
    share(comm, data.train);
    if (has_test) share(comm, *data.test);
    broadcast(comm, data.label_ids, 0);
    data.task_labels = {std::ssize(data.label_ids)};
    return data;
}

void append(DataSet& all, const DataSet& more, std::int32_t task) {
    for (Index e = 0; e < more.examples(); ++e) {
        all.append(more.tokens(e), more.labels[static_cast<std::size_t>(e)],
                   more.rows[static_cast<std::size_t>(e)]);
        all.tasks.push_back(task);
        if (!more.reads.empty()) all.reads.push_back(more.reads[static_cast<std::size_t>(e)]);
    }
}

}  // namespace

StudyData load_data(const Study& study, Index vocabulary, Index longest, Reading reading,
                    const Session& session) {
    if (study.tasks.empty()) return load_one(study, vocabulary, longest, reading, session);
    StudyData data;
    for (std::size_t t = 0; t < study.tasks.size(); ++t) {
        Study single = study;
        single.data = study.tasks[t].data;
        const StudyData more = load_one(single, vocabulary, longest, reading, session);
        append(data.train, more.train, static_cast<std::int32_t>(t));
        if (more.test) {
            if (!data.test) data.test.emplace();
            append(*data.test, *more.test, static_cast<std::int32_t>(t));
        }
        // A classifier's labels are rows of one head, task after task.
        const auto before = static_cast<std::int32_t>(data.label_ids.size());
        for (const std::int32_t id : more.label_ids)
            data.label_ids.push_back(study.model.head == "classifier" ? before + id : id);
        data.task_labels.push_back(std::ssize(more.label_ids));
    }
    return data;
}

}  // namespace tangram
