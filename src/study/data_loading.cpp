#include "tangram/study/data_loading.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "tangram/parallel/collective_error.hpp"
#include "tangram/study/files_of_ranks.hpp"
#include "tangram/study/label_words.hpp"
#include "tangram/study/model_loading.hpp"
#include "tangram/text/labelled_text.hpp"
#include "tokenised.hpp"

namespace tangram {

namespace {

[[noreturn]] void refuse(ErrorKind kind, const std::string& file, const std::string& problem) {
    throw Error(ExitStatus::input, kind, fmt::format("{}: {}", file, problem));
}

/// What does not depend on which of its tables is read.
LabelledText template_of(const Study::Data& data, Reading reading) {
    LabelledText options;
    options.file = data.train;
    options.text = data.text;
    options.label = data.label;
    options.prompt = data.tmpl.empty() ? "{text}" : data.tmpl;
    options.seed = static_cast<std::uint64_t>(data.seed);
    options.reading = reading;
    return options;
}

/// Reads on the first rank.
struct Reader {
    const Study& study;
    const TokenRules& rules;
    FilesRead& model_files;
    FilesRead& tables;
    std::optional<Tokenizer> tokenizer = {};  // once a table asks for it

    LabelledExamples read(const std::string& file, const std::string& part, Index samples) {
        if (file.ends_with(".h5")) return read_tokenised(file, part, samples, rules, study, model_files);
        if (!tokenizer)
            tokenizer.emplace(std::filesystem::path(study.model.path) / "tokenizer.json", model_files);
        LabelledText options = template_of(study.data, rules.reading);
        options.file = file;
        options.labels = study.data.labels;
        if (study.model.head == "lm") options.label_words = study.data.label_words;
        options.label_names = rules.label_names;
        options.scores_answers = study.data.score != "logit";
        options.completion = study.data.completion;
        options.max_length = study.data.max_length;
        options.samples = samples;
        return read_labelled_text(options, *tokenizer, tables);
    }
};

void check_tokens(const DataSet& data, const std::string& file, const TokenRules& rules) {
    for (Index e = 0; e < data.examples(); ++e)
        for (const std::int32_t token : data.tokens(e)) {
            const auto refuse_token = [&](ErrorKind kind, const std::string& problem) {
                refuse(kind, file,
                       fmt::format("example {} (source row {}) holds {}", e,
                                   data.rows[static_cast<std::size_t>(e)], problem));
            };
            if (token < 0 || token >= rules.vocabulary)
                refuse_token(
                    ErrorKind::out_of_range,
                    fmt::format("token id {}, the model has 0 to {}; tokenise with the model's own tokenizer",
                                token, rules.vocabulary - 1));
            if (rules.padding_id && token == *rules.padding_id)
                refuse_token(
                    ErrorKind::unsupported,
                    fmt::format("the padding token (id {}), which this model's positions pass over; take it "
                                "out of the text",
                                token));
        }
}

void check_answers(const DataSet& data, const std::string& file, const TokenRules& rules) {
    for (const std::int32_t token : data.answer_ids)
        if (token < 0 || token >= rules.vocabulary)
            refuse(
                ErrorKind::out_of_range, file,
                fmt::format("an answer holds token id {}, the model has 0 to {}; tokenise with the model's "
                            "own tokenizer",
                            token, rules.vocabulary - 1));
}

/// A trained head is read before the padding at a text's end.
void check_ends(const DataSet& data, const std::string& file, const TokenRules& rules) {
    for (Index e = 0; e < data.examples() && rules.passed_over; ++e)
        if (data.tokens(e).back() == *rules.passed_over)
            refuse(ErrorKind::unsupported, file,
                   fmt::format("example {} (source row {}) ends with the padding token (id {}), before which "
                               "the trained head is read; take it out of the text",
                               e, data.rows[static_cast<std::size_t>(e)], *rules.passed_over));
}

void share(MPI_Comm comm, DataSet& data) {
    broadcast(comm, data.token_ids, 0);
    broadcast(comm, data.offsets, 0);
    broadcast(comm, data.labels, 0);
    broadcast(comm, data.rows, 0);
    broadcast(comm, data.reads, 0);
    broadcast(comm, data.answer_ids, 0);
    broadcast(comm, data.answer_offsets, 0);
    broadcast(comm, data.first_answers, 0);
}

/// Where all examples come from files of tokens: the keys that say how texts are turned into such, as far as
/// they are set.
std::vector<std::string> unread_of_tokens(const Study& study) {
    const Study::Data& data = study.data;
    for (const std::string* const file : {&data.train, &data.test})
        if (!file->empty() && !file->ends_with(".h5")) return {};
    const Study::Data untouched;
    std::string keys;
    const auto add = [&](const char* key, bool is_set) {
        if (is_set) keys += fmt::format("{}data.{}", keys.empty() ? "" : ", ", key);
    };
    add("template", data.tmpl != untouched.tmpl);
    add("text", data.text != untouched.text);
    add("label", data.label != untouched.label);
    add("labels", study.model.head != "classifier" && data.labels != untouched.labels);
    add("label_words", study.model.head == "lm" && data.label_words != untouched.label_words);
    if (keys.empty()) return {};
    return {fmt::format("{} is not read: {} holds tokens, labels and the label words' tokens already", keys,
                        data.train)};
}

/// How many test examples are rows that are trained on, where both are drawn from one file, or have their
/// tokens.
std::vector<std::string> trained_on(const Study::Data& data, const DataSet& train, const DataSet& test) {
    std::error_code code;
    if (std::filesystem::equivalent(data.train, data.test, code) &&
        !(data.test.ends_with(".h5") && has_test_part(data.test))) {
        const std::set<Index> rows(train.rows.begin(), train.rows.end());
        const auto both = std::ranges::count_if(test.rows, [&](Index row) { return rows.contains(row); });
        if (both > 0)
            return {
                fmt::format("{} of {} test examples are trained on: data.test is the file of data.train, {}; "
                            "their errors say nothing of unseen examples",
                            both, test.examples(), data.train)};
    }
    // With its answers, of which a completion is one.
    const auto tokens_of = [](const DataSet& set, Index e) {
        std::vector<std::int32_t> all(set.tokens(e).begin(), set.tokens(e).end());
        for (Index s = 0; s < set.sequences(e); ++s) {
            all.push_back(-1);
            all.insert(all.end(), set.answer(e, s).begin(), set.answer(e, s).end());
        }
        return all;
    };
    std::set<std::vector<std::int32_t>> texts;
    for (Index e = 0; e < train.examples(); ++e) texts.insert(tokens_of(train, e));
    Index both = 0;
    for (Index e = 0; e < test.examples(); ++e) both += texts.contains(tokens_of(test, e)) ? 1 : 0;
    if (both == 0) return {};
    return {
        fmt::format("{} of {} test examples, of {}, have the tokens of a training example; their errors say "
                    "little of unseen examples",
                    both, test.examples(), data.test)};
}

/// Labels with words that no training example has, where others have some.
std::vector<std::string> without_examples(const Study::Data& asked, const DataSet& train,
                                          std::size_t labels) {
    std::vector<std::string> warnings;
    const std::set<std::int32_t> there(train.labels.begin(), train.labels.end());
    for (std::size_t label = 0; there.size() > 1 && label < labels; ++label)
        if (!there.contains(static_cast<std::int32_t>(label)))
            warnings.push_back(fmt::format(
                "{}: none of the {} training examples has label {}{}", asked.train, train.examples(), label,
                asked.train.ends_with(".h5") || label >= asked.label_words.size()
                    ? ""
                    : fmt::format(", whose word is \"{}\"", asked.label_words[label])));
    return warnings;
}

/// Says once what a person should hear of.
class Warnings {
  public:
    explicit Warnings(const Session& session) : session_(session) {}
    void say(const std::vector<std::string>& texts) {
        for (const std::string& text : texts)
            if (said_.insert(text).second) session_.log.warn(text);
    }

  private:
    const Session& session_;
    std::set<std::string> said_;
};

/// What the reader finds in a file, once it fits the model.
LabelledExamples checked(Reader& reader, const std::string& file, const std::string& part, Index samples,
                         Warnings& warnings) {
    LabelledExamples read = reader.read(file, part, samples);
    if (reader.tokenizer) warnings.say(reader.tokenizer->warnings());
    check_tokens(read.data, file, reader.rules);
    check_ends(read.data, file, reader.rules);
    check_answers(read.data, file, reader.rules);
    warnings.say(read.warnings);
    if (read.cut > 0)
        warnings.say({fmt::format("{}: {} of {} examples were cut to {} tokens (data.max_length)", file,
                                  read.cut, read.data.examples(), reader.study.data.max_length)});
    if (reader.study.data.completion.empty()) warnings.say(warnings_of(read.data, file));
    return read;
}

/// One task's examples; the study's [data] is that task's.
StudyData load_one(Study study, const TokenRules& rules, const Session& session, FilesRead& model_files,
                   FilesRead& tables, Warnings& warnings) {
    if (study.data.max_length > rules.longest) {
        session.log.say(fmt::format("data.max_length = {} is lowered to the model's {} positions",
                                    study.data.max_length, rules.longest));
        study.data.max_length = rules.longest;
    }
    const MPI_Comm comm = session.world.get();
    const bool has_test = !study.data.test.empty();
    StudyData data;
    if (has_test) data.test.emplace();
    collectively(comm, [&] {
        if (session.world.rank() != 0) return;
        Reader reader{study, rules, model_files, tables};
        LabelledExamples train = checked(reader, study.data.train, "train", study.data.samples, warnings);
        for (const std::int32_t id : train.label_ids)
            if (id < 0 || id >= rules.vocabulary)
                refuse(ErrorKind::out_of_range, study.data.train,
                       fmt::format("label word id {} is not in the model's vocabulary of {}", id,
                                   rules.vocabulary));
        const bool classifier = study.model.head != "lm";
        if (!classifier && train.label_offsets.empty())
            for (auto id = train.label_ids.begin(); id != train.label_ids.end(); ++id)
                if (std::find(train.label_ids.begin(), id, *id) != id)
                    refuse(ErrorKind::contradiction, study.data.train,
                           fmt::format("label_token_ids: token {} stands for two labels", *id));
        warnings.say(unread_of_tokens(study));
        if (classifier && !study.data.label_words.empty())
            warnings.say(
                {fmt::format("data.label_words is not read: with model.head = \"{}\" labels have no words",
                             study.model.head)});
        if (classifier) {
            if (train.label_count < 2)
                refuse(ErrorKind::too_few, study.data.train,
                       "a classifier needs two labels at least; name them in data.labels");
            if (train.absent_label < train.label_count)
                refuse(ErrorKind::contradiction, study.data.train,
                       fmt::format("holds labels up to {}, and no row with {}; number them 0, 1, ... without "
                                   "gaps, or name those that there are in data.labels",
                                   train.label_count - 1, train.absent_label));
            train.label_ids.resize(static_cast<std::size_t>(train.label_count));
            std::iota(train.label_ids.begin(), train.label_ids.end(), 0);
        }
        if (!has_test && study.data.test_samples > 0)
            warnings.say({"data.test_samples is not read: there is no data.test"});
        data.train = std::move(train.data);
        data.label_ids = std::move(train.label_ids);
        data.label_offsets = std::move(train.label_offsets);
        if (!classifier && study.data.completion.empty())
            warnings.say(without_examples(
                study.data, data.train,
                data.label_offsets.empty() ? data.label_ids.size() : data.label_offsets.size() - 1));
        if (has_test) {
            LabelledExamples test =
                checked(reader, study.data.test, "test", study.data.test_samples, warnings);
            const std::int32_t most =
                test.data.labels.empty() ? 0 : *std::ranges::max_element(test.data.labels);
            if (classifier && most >= std::ssize(data.label_ids))
                refuse(ErrorKind::out_of_range, study.data.test,
                       fmt::format("holds label {}, the training examples have 0 to {}; name all of "
                                   "them in data.labels",
                                   most, data.label_ids.size() - 1));
            if (!classifier && (test.label_ids != data.label_ids || test.label_offsets != data.label_offsets))
                refuse(ErrorKind::contradiction, study.data.test,
                       "its label words are not those of the training examples");
            data.test = std::move(test.data);
            warnings.say(trained_on(study.data, data.train, *data.test));
        }
    });
    share(comm, data.train);
    if (has_test) share(comm, *data.test);
    broadcast(comm, data.label_ids, 0);
    broadcast(comm, data.label_offsets, 0);
    data.task_labels = {!study.data.completion.empty() ? Index{1}
                        : data.label_offsets.empty()   ? std::ssize(data.label_ids)
                                                       : std::ssize(data.label_offsets) - 1};
    return data;
}

void append(DataSet& all, const DataSet& more, std::int32_t task) {
    for (Index e = 0; e < more.examples(); ++e) {
        all.append_from(more, e);
        all.tasks.push_back(task);
    }
}

}  // namespace

StudyData load_data(const Study& study, const TokenRules& rules, const Session& session,
                    FilesRead& model_files) {
    // Tables are no part of a fingerprint: the rows, tokens and labels drawn from them are, whole, so that a
    // sample may grow, and a column that nobody asks for change. One that is read twice is the same twice.
    FilesRead tables;
    Warnings warnings(session);
    if (study.tasks.empty()) {
        StudyData data = load_one(study, rules, session, model_files, tables, warnings);
        know_files_of_first_rank(model_files, session.world.get());
        return data;
    }
    StudyData data;
    for (std::size_t t = 0; t < study.tasks.size(); ++t) {
        Study single = study;
        single.data = study.tasks[t].data;
        const StudyData more = load_one(single, rules, session, model_files, tables, warnings);
        append(data.train, more.train, static_cast<std::int32_t>(t));
        if (more.test) {
            if (!data.test) data.test.emplace();
            append(*data.test, *more.test, static_cast<std::int32_t>(t));
        }
        // A classifier's labels are rows of one head, task after task.
        const auto before = static_cast<std::int32_t>(data.label_ids.size());
        for (const std::int32_t id : more.label_ids)
            data.label_ids.push_back(study.model.head == "classifier" ? before + id : id);
        if (!more.label_offsets.empty() && data.label_offsets.empty()) data.label_offsets = {0};
        for (std::size_t c = 1; c < more.label_offsets.size(); ++c)
            data.label_offsets.push_back(before + more.label_offsets[c]);
        data.task_labels.push_back(more.labels());
    }
    know_files_of_first_rank(model_files, session.world.get());
    return data;
}

std::vector<LabelWordsOfData> label_words_of(const Study& study, const Session& session) {
    if (study.model.head != "lm")
        throw Error(ExitStatus::study, ErrorKind::contradiction,
                    fmt::format("model.head = \"{}\" needs no label words", study.model.head));
    OpenedModel model = open_model(study, session);
    std::vector<LabelWordsOfData> found;
    collectively(session.world.get(), [&] {
        if (session.world.rank() != 0) return;
        const Tokenizer tokenizer(std::filesystem::path(study.model.path) / "tokenizer.json", model.files);
        FilesRead tables;
        const auto add = [&](const std::string& task, const Study::Data& data) {
            if (data.train.ends_with(".h5"))
                throw Error(
                    ExitStatus::study, ErrorKind::contradiction,
                    fmt::format("{}: is tokenised already and brings its label_token_ids", data.train));
            found.push_back(
                {task, possible_label_words(template_of(data, model.program.reading), tokenizer, tables)});
        };
        for (const Study::Task& task : study.tasks) add(task.name, task.data);
        if (study.tasks.empty()) add("", study.data);
    });
    return found;
}

}  // namespace tangram
