#include "tangram/text/labelled_text.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "support/expect_error.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"
#include "tangram/drawing.hpp"
#include "tangram/files/json.hpp"

namespace tangram {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;
using Ids = std::vector<std::int32_t>;

Ids joined(std::initializer_list<Ids> parts) {
    Ids all;
    for (const Ids& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
}

Ids first(const Ids& ids, Index count) { return {ids.begin(), ids.begin() + count}; }

class LabelledTexts : public ::testing::Test {
  protected:
    LabelledTexts()
        : tokenizer(std::filesystem::path(TANGRAM_TEST_DATA) / "neo-mini", testing::Unrecorded()) {
        options.prompt = "{text} It was";
        options.label_words = {" bad", " great"};
        table("a.tsv", "text\tlabel\tother\nthe film was good\t1\tthe company said\nbad game\t0\ta\n");
    }
    void table(const std::string& name, const std::string& content) {
        options.file = folder.write(name, content);
    }
    Ids ids(const std::string& text) const { return tokenizer.encode(text, false).ids; }
    LabelledExamples read() const { return read_labelled_text(options, tokenizer, testing::Unrecorded()); }
    /// Tokens of a source row.
    static Ids row(const LabelledExamples& examples, Index row) {
        const auto& rows = examples.data.rows;
        const auto found = std::find(rows.begin(), rows.end(), row);
        if (found == rows.end()) return {};
        const auto tokens = examples.data.tokens(found - rows.begin());
        return {tokens.begin(), tokens.end()};
    }
    void refused(ExitStatus status, ErrorKind kind, std::initializer_list<std::string> names) const {
        expect_error(status, kind, names, [&] { read(); });
    }

    TemporaryFolder folder;
    Tokenizer tokenizer;
    LabelledText options;
};

TEST_F(LabelledTexts, FillsTheTemplateAndFindsTheLabelWords) {
    const LabelledExamples examples = read();
    EXPECT_EQ(examples.data.rows, draw_rows(2, 0, 1, "file"));
    EXPECT_EQ(row(examples, 0), ids("the film was good It was"));
    EXPECT_EQ(row(examples, 1), ids("bad game It was"));
    EXPECT_EQ(examples.label_ids, (Ids{*tokenizer.find("\xC4\xA0"
                                                       "bad"),
                                       *tokenizer.find("\xC4\xA0"
                                                       "great")}));
    EXPECT_EQ(examples.label_count, 2);
    EXPECT_EQ(examples.cut, 0);
    for (std::size_t e = 0; e < 2; ++e)
        EXPECT_EQ(examples.data.labels[e], examples.data.rows[e] == 0 ? 1 : 0);
    EXPECT_EQ(examples.data.offsets.back(), std::ssize(examples.data.token_ids));
}

TEST_F(LabelledTexts, OfATrainedHeadHaveItsLabelsByNumberOrName) {
    options.label_words = {};
    options.prompt = "{text}";
    options.label_names = {"True", "neutral", "good"};
    table("b.tsv", "text\tlabel\na film\tneutral\na game\t2\na plot\tgood\nan end\tTrue\n");
    const LabelledExamples examples = read();
    EXPECT_EQ(examples.label_count, 3);
    EXPECT_TRUE(examples.label_ids.empty());
    const std::vector<std::int32_t> expected{1, 2, 2, 0};
    for (std::size_t e = 0; e < 4; ++e)
        EXPECT_EQ(examples.data.labels[e], expected[static_cast<std::size_t>(examples.data.rows[e])]);
    options.labels = {"yes", "neutral", "good"};
    refused(ExitStatus::input, ErrorKind::unknown_name, {"b.tsv", "line", "data.labels"});
    options.labels = {"yes", "GOOD", "neutral"};
    refused(ExitStatus::study, ErrorKind::contradiction, {"data.labels", "another order"});
    options.labels = {"yes", "no"};
    refused(ExitStatus::study, ErrorKind::contradiction, {"data.labels", "3", "2"});
    options.labels = {};
    options.label_names = {"good", "0", "neutral"};
    refused(ExitStatus::study, ErrorKind::contradiction, {"data.labels", "\"0\""});
    options.label_names = {"neutral", "good"};
    refused(ExitStatus::input, ErrorKind::unknown_name, {"b.tsv", "line", "0 to 1", "neutral"});
}

TEST_F(LabelledTexts, DrawsAPrefix) {
    std::string lines = "text\tlabel\n";
    for (int i = 0; i < 50; ++i) lines += "game " + std::to_string(i) + "\t" + std::to_string(i % 2) + "\n";
    table("many.tsv", lines);
    options.seed = 3;
    const LabelledExamples all = read();
    options.samples = 20;
    const LabelledExamples some = read();
    EXPECT_EQ(all.data.examples(), 50);
    ASSERT_EQ(some.data.examples(), 20);
    EXPECT_TRUE(std::equal(some.data.rows.begin(), some.data.rows.end(), all.data.rows.begin()));
    EXPECT_TRUE(
        std::equal(some.data.token_ids.begin(), some.data.token_ids.end(), all.data.token_ids.begin()));
    EXPECT_EQ(all.data.rows, draw_rows(50, 0, 3, "file"));
    options.samples = 51;
    refused(ExitStatus::study, ErrorKind::too_few, {"many.tsv", "51", "50"});
}

TEST_F(LabelledTexts, RemovesTheLastTokensOfTheText) {
    // The whole: the tokens of the text, then those of the template. A row that fits stays as it is.
    const Ids text = ids("the film was good"), end = ids(" It was");
    ASSERT_EQ(ids("the film was good It was"), joined({text, end}));
    for (Index kept = 0; kept <= std::ssize(text); ++kept) {
        options.max_length = kept + std::ssize(end);
        const LabelledExamples examples = read();
        EXPECT_EQ(row(examples, 0), joined({first(text, kept), end}));
        EXPECT_EQ(examples.cut,
                  (kept < std::ssize(text) ? 1 : 0) + (kept < std::ssize(ids("bad game")) ? 1 : 0));
    }
    options.max_length = std::ssize(end) - 1;
    refused(ExitStatus::study, ErrorKind::contradiction,
            {"data.template", "\"{text} It was\"", "max_length", "a.tsv: line"});
}

TEST_F(LabelledTexts, KeepsTokensThatTheTemplateShares) {
    // The blank before the column is the template's, and the tokenizer joins it to the column's first word:
    // that token does not lie wholly inside the column's text.
    options.prompt = "Review: {text}";
    const Ids front = ids("Review:"), text = ids(" the film was good");
    ASSERT_EQ(tokenizer.token(text[0]), "\xC4\xA0the");
    options.max_length = std::ssize(front) + 1;
    EXPECT_EQ(row(read(), 0), joined({front, first(text, 1)}));
    options.max_length = std::ssize(front);
    refused(ExitStatus::study, ErrorKind::contradiction, {"data.template"});
}

TEST_F(LabelledTexts, CutsTheLongerOfTwoColumns) {
    options.prompt = "{text} -- {other}.";
    table("two.tsv", "text\tlabel\tother\nthe film was good\t1\tgame company said\n");
    const Ids text = ids("the film was good"), middle = ids(" --"), other = ids(" game company said"),
              end = ids(".");
    const Index n = std::ssize(text),
                m = std::ssize(other) - 1;  // the first token of `other` holds the template's blank
    ASSERT_GE(n, m + 1);
    ASSERT_GE(m, 2);
    const Index fixed = std::ssize(middle) + 1 + std::ssize(end);
    for (Index kept = n + m; kept >= 0; --kept) {
        options.max_length = fixed + kept;
        // From the longer, of equal ones from the first.
        Index a = n, b = m;
        while (a + b > kept) a >= b ? --a : --b;
        EXPECT_EQ(row(read(), 0), joined({first(text, a), middle, first(other, b + 1), end})) << kept;
    }
}

TEST_F(LabelledTexts, KeepsSpecialTokensAndSplitsCharacters) {
    // The model's blanks are marks, unknown characters become bytes, <s> stands before and </s> behind.
    std::string vocabulary = R"("_":0,"a":1,"!":2,"?":3,"<s>":4,"</s>":5)";
    for (int b = 0; b < 256; ++b) vocabulary += fmt::format(",\"<0x{:02X}>\":{}", b, 6 + b);
    const Tokenizer small(
        folder.write(
            "tokenizer.json",
            R"({"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"_"},{"type":"Replace","pattern":{"String":" "},"content":"_"}]},)"
            R"("post_processor":{"type":"RobertaProcessing","cls":["<s>",4],"sep":["</s>",5]},)"
            R"("model":{"type":"BPE","byte_fallback":true,"merges":[],"vocab":{)" +
                vocabulary + "}}}"),
        testing::Unrecorded());
    table("b.tsv", "text\tlabel\na a\xC3\xA9\t0\n");
    options.prompt = "{text} a";
    options.label_words = {};  // of a classifier
    const auto of_length = [&](Index length) {
        options.max_length = length;
        return row(read_labelled_text(options, small, testing::Unrecorded()), 0);
    };
    const std::int32_t c3 = 6 + 0xC3, a9 = 6 + 0xA9;
    EXPECT_EQ(of_length(10), (Ids{4, 0, 1, 0, 1, c3, a9, 0, 1, 5}));
    EXPECT_EQ(of_length(9), (Ids{4, 0, 1, 0, 1, c3, 0, 1, 5}));
    EXPECT_EQ(of_length(7), (Ids{4, 0, 1, 0, 0, 1, 5}));
    EXPECT_EQ(of_length(5), (Ids{4, 0, 0, 1, 5}));
    expect_error(ExitStatus::study, ErrorKind::contradiction, {"data.template", "5", "4"},
                 [&] { of_length(4); });
    // Behind </s> nothing follows: it is left off where the next token is asked for.
    const auto asked = [&] {
        const LabelledExamples examples = read_labelled_text(options, small, testing::Unrecorded());
        EXPECT_EQ(row(examples, 0), (Ids{4, 0, 0, 1}));
        EXPECT_EQ(examples.warnings.size(), 1u);
        EXPECT_NE(examples.warnings.at(0).find("\"</s>\" (5)"), std::string::npos) << examples.warnings.at(0);
        return examples;
    };
    options.max_length = 4;
    options.label_words = {"!", "?"};
    EXPECT_EQ(asked().label_ids, (Ids{2, 3}));
    options.scores_answers = true;
    options.max_length = 5;
    EXPECT_EQ(asked().data.answer_ids, (Ids{2, 3}));
    options.label_words = {};
    options.completion = "answer";
    table("c.tsv", "text\tanswer\na a\xC3\xA9\t!\n");
    EXPECT_EQ(asked().data.answer_ids, Ids{2});
}

TEST_F(LabelledTexts, TemplatesNameColumnsAndBraces) {
    table("b.csv", "sentence,class,title\nfine,1,old\n");
    options.text = "sentence";
    options.label = "class";
    EXPECT_EQ(row(read(), 0), ids("fine It was"));
    options.prompt = "{title}: {text} and {sentence} {{x}} It was";
    EXPECT_EQ(row(read(), 0), ids("old: fine and fine {x} It was"));
    options.prompt = "{sentense} It was";
    refused(ExitStatus::input, ErrorKind::missing, {"b.csv", "\"sentense\"", "\"sentence\""});
    options.prompt = "It was";
    refused(ExitStatus::study, ErrorKind::missing, {"data.template", "{text} It was"});
    options.prompt = "{text It was";
    refused(ExitStatus::study, ErrorKind::malformed, {"data.template", "{{"});
    options.prompt = "{text}} It was";
    refused(ExitStatus::study, ErrorKind::malformed, {"data.template", "}}"});
    options.prompt = "{text} It was";
    options.text = "text";
    refused(ExitStatus::input, ErrorKind::missing, {"b.csv", "\"text\""});
    options.text = "sentence";
    options.label = "label";
    refused(ExitStatus::input, ErrorKind::missing, {"b.csv", "\"label\""});
}

TEST_F(LabelledTexts, NamedLabels) {
    table("b.jsonl", "{\"text\": \"fine\", \"label\": \"pos\"}\n{\"text\": \"poor\", \"label\": \"neg\"}\n");
    options.labels = {"neg", "pos"};
    const LabelledExamples examples = read();
    for (std::size_t e = 0; e < 2; ++e)
        EXPECT_EQ(examples.data.labels[e], examples.data.rows[e] == 0 ? 1 : 0);
    options.labels = {"neg", "poz"};
    refused(ExitStatus::input, ErrorKind::unknown_name, {"b.jsonl", "line 1", "\"pos\"", "\"poz\""});
    options.labels = {"neg", "pos", "none"};
    refused(ExitStatus::study, ErrorKind::contradiction, {"data.labels", "3", "data.label_words", "2"});
}

TEST_F(LabelledTexts, LabelsWithoutWords) {
    for (const char* label : {"2", "-1", "x", "", " 1", "1x", "0x1", "+1", "99999999999999999999", "2.0",
                              "0.5", "1.", ".0", "1.0.0", "1.0x", "1e0"}) {
        table("c.tsv", std::string("text\tlabel\nx\t1\ny\t").append(label).append("\n"));
        refused(ExitStatus::input, ErrorKind::unknown_name,
                {"c.tsv", "line 3", fmt::format("\"{}\"", label)});
    }
    table("c.csv", "text,label\n\"two\nlines\",1\nb,2\n");
    refused(ExitStatus::input, ErrorKind::unknown_name, {"c.csv", "line 4"});
}

TEST_F(LabelledTexts, LabelsMayBeWrittenWithAPoint) {
    table("c.csv", "text,label\na film,1.0\na game,0.00\n");
    const LabelledExamples examples = read();
    for (std::size_t e = 0; e < 2; ++e)
        EXPECT_EQ(examples.data.labels[e], examples.data.rows[e] == 0 ? 1 : 0);
    // Names are names.
    options.labels = {"0", "1"};
    refused(ExitStatus::input, ErrorKind::unknown_name, {"c.csv", "line", ".0\"", "data.labels"});
}

TEST_F(LabelledTexts, AClassifierNeedsNoWords) {
    options.label_words = {};
    options.prompt = "{text}";
    table("c.tsv", "text\tlabel\nx\t1\ny\t4\n");
    const LabelledExamples examples = read();
    EXPECT_TRUE(examples.label_ids.empty());
    EXPECT_EQ(examples.label_count, 5);
    EXPECT_EQ(row(examples, 0), ids("x"));
    table("c.tsv", "text\tlabel\nx\t1\ny\t2147483648\n");
    refused(ExitStatus::input, ErrorKind::malformed, {"c.tsv", "line 3", "\"2147483648\""});
    options.labels = {"a", "b", "c"};
    table("c.tsv", "text\tlabel\nx\ta\n");
    EXPECT_EQ(read().label_count, 3);
}

TEST_F(LabelledTexts, WordsOfOtherThanOneToken) {
    options.label_words = {" bad", " zyxq"};
    refused(ExitStatus::study, ErrorKind::unsupported, {"data.label_words", "\" zyxq\"", "\"\xC4\xA0z\""});
    options.label_words = {" bad", ""};
    refused(ExitStatus::study, ErrorKind::unsupported, {"data.label_words", "\"\""});
    options.label_words = {" bad", " bad"};
    refused(ExitStatus::study, ErrorKind::contradiction, {"data.label_words", "\" bad\""});
}

TEST_F(LabelledTexts, WordsThatChangeTheTemplatesTokens) {
    // Behind "game" the word "s" joins it in one token, behind "was" it does not: seen behind every text, not
    // the first.
    options.prompt = "{text}";
    options.label_words = {" bad", "s"};
    table("d.tsv", "text\tlabel\nthe film was\t0\nthe end was\t0\nthe film\t1\n");
    const Ids film = ids("the film"), films = ids("the films");
    ASSERT_TRUE(films.size() == film.size() && films != film);
    refused(ExitStatus::study, ErrorKind::unsupported, {"data.label_words", "\"s\"", "d.tsv: line 4"});
}

TEST_F(LabelledTexts, WordsThatSplitTheTemplatesTokens) {
    // "ab" is one token, "abc" is "a" and "bc": one token more, but not behind the template's own.
    const Tokenizer small(
        folder.write(
            "tokenizer.json",
            R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"c":3,"bc":4},"merges":["b c","a b"]}})"),
        testing::Unrecorded());
    options.prompt = "{text}";
    options.label_words = {"a", "c"};
    table("e.tsv", "text\tlabel\nab\t0\n");
    expect_error(ExitStatus::study, ErrorKind::unsupported, {"\"c\"", "\"a\" (0), \"bc\" (4)"},
                 [&] { read_labelled_text(options, small, testing::Unrecorded()); });
}

TEST_F(LabelledTexts, EmptyTexts) {
    table("c.tsv", "text\tlabel\nx\t1\n  \t0\n");
    refused(ExitStatus::input, ErrorKind::degenerate, {"c.tsv", "line 3", "\"text\""});
    table("c.tsv", "text\tlabel\tother\nx\t1\ta\ny\t0\t\n");
    EXPECT_EQ(read().data.examples(), 2);  // a column that the template does not name may be
    options.prompt = "{text} {other} It was";
    refused(ExitStatus::input, ErrorKind::degenerate, {"c.tsv", "line 3", "\"other\""});
}

TEST_F(LabelledTexts, LabelsMayBeFalseAndTrue) {
    for (const auto& [no, yes] : {std::pair("False", "True"), {"false", "true"}}) {
        table("c.tsv", fmt::format("text\tlabel\nx\t{}\ny\t{}\n", yes, no));
        const LabelledExamples examples = read();
        for (std::size_t e = 0; e < 2; ++e)
            EXPECT_EQ(examples.data.labels[e], examples.data.rows[e] == 0 ? 1 : 0);
    }
    table("c.jsonl", "{\"text\": \"x\", \"label\": true}\n");
    EXPECT_EQ(read().data.labels, Ids{1});
    options.labels = {"True", "False"};
    table("c.tsv", "text\tlabel\nx\tTrue\n");
    EXPECT_EQ(read().data.labels, Ids{0});
}

TEST_F(LabelledTexts, RowsOfWhichTheTemplateIsLeftAreCounted) {
    for (const char* const blank : {"\xC2\xA0", "\xE2\x80\x8B", "\xEF\xBB\xBF \xE3\x80\x80"}) {
        table("c.tsv", fmt::format("text\tlabel\nx\t1\n{0}\t0\ny\t1\n{0}\t1\n", blank));
        const LabelledExamples examples = read();
        EXPECT_EQ(examples.data.examples(), 4);
        ASSERT_EQ(examples.warnings.size(), 1u);
        for (const char* const word : {"c.tsv: line 3:", "2 such rows"})
            EXPECT_NE(examples.warnings[0].find(word), std::string::npos) << examples.warnings[0];
    }
    table("c.tsv", "text\tlabel\n.\t1\n\xC2\xA0x\t0\n");
    EXPECT_TRUE(read().warnings.empty());
    table("c.tsv", "text\tlabel\n\"x\"\t1\ny\t0\n");
    ASSERT_EQ(read().warnings.size(), 1u);  // the table's
    // What this tokenizer's normalizer leaves nothing of.
    tokenizer = Tokenizer(std::filesystem::path(TANGRAM_TEST_DATA) / "bert-mini", testing::Unrecorded());
    options.label_words = {};
    table("c.tsv", "text\tlabel\nx\t1\n\xEF\xBF\xBD\t0\n");
    ASSERT_EQ(read().warnings.size(), 1u);
    EXPECT_NE(read().warnings[0].find("c.tsv: line 3:"), std::string::npos);
}

/// The tokens of an example's answer.
Ids answer_of(const DataSet& data, Index example, Index sequence) {
    const auto tokens = data.answer(example, sequence);
    return {tokens.begin(), tokens.end()};
}

TEST_F(LabelledTexts, ScoreLabelWordsOfSeveralTokens) {
    options.label_words = {" magnificent", " bad"};
    ASSERT_GT(ids(" magnificent").size(), 1u);
    refused(ExitStatus::study, ErrorKind::unsupported,
            {"data.label_words", "magnificent", "data.score", "log-likelihood",
             std::to_string(ids(" magnificent").front())});
    options.scores_answers = true;
    const LabelledExamples examples = read();
    EXPECT_EQ(examples.label_ids, joined({ids(" magnificent"), ids(" bad")}));
    const Index size = std::ssize(ids(" magnificent"));
    EXPECT_EQ(examples.label_offsets, (std::vector<Index>{0, size, size + 1}));
    EXPECT_EQ(examples.label_count, 2);
    for (Index e = 0; e < 2; ++e) {
        ASSERT_EQ(examples.data.sequences(e), 2);
        EXPECT_EQ(answer_of(examples.data, e, 0), ids(" magnificent"));
        EXPECT_EQ(answer_of(examples.data, e, 1), ids(" bad"));
        // The answer's last token predicts nothing.
        const Index text = std::ssize(examples.data.tokens(e));
        EXPECT_EQ(examples.data.passed(e).tokens, text + size - 1 + text);
        EXPECT_EQ(examples.data.passed(e).reads, size + 1);
    }
    options.label_words = {" magnificent", " magnificent"};
    refused(ExitStatus::study, ErrorKind::contradiction, {"data.label_words", "magnificent"});
    // A word that changes the tokens before it.
    options.label_words = {"ting", " bad"};
    options.prompt = "{text} It wai";
    refused(ExitStatus::study, ErrorKind::unsupported, {"data.label_words", "ting", "a.tsv"});
}

TEST_F(LabelledTexts, AreCutSoThatTheLongestAnswerFits) {
    options.label_words = {" magnificent", " bad"};
    options.scores_answers = true;
    const Ids whole = ids("the film was good It was"), suffix = ids(" It was");
    const Index longest = std::ssize(ids(" magnificent"));
    options.max_length = std::ssize(whole) + longest;
    EXPECT_EQ(read().cut, 0);
    --options.max_length;
    const LabelledExamples cut = read();
    EXPECT_EQ(cut.cut, 1);
    EXPECT_EQ(row(cut, 0), joined({first(whole, std::ssize(whole) - std::ssize(suffix) - 1), suffix}));
    options.max_length = longest + 1;
    refused(ExitStatus::study, ErrorKind::contradiction, {"data.template", "data.max_length"});
}

TEST_F(LabelledTexts, ScoreAColumnOfCompletions) {
    options.label_words = {};
    options.label = "nowhere";
    options.scores_answers = true;
    options.completion = "other";
    options.prompt = "{text} It was ";  // its last blank is the completion's first token's
    table("c.tsv", "text\tother\nthe film was good\tthe company said\nbad game\ta\n");
    const LabelledExamples examples = read();
    EXPECT_EQ(examples.label_count, 1);
    EXPECT_TRUE(examples.label_ids.empty());
    EXPECT_EQ(examples.data.labels, (Ids{0, 0}));
    EXPECT_EQ(row(examples, 0), ids("the film was good It was"));
    for (Index e = 0; e < 2; ++e)
        EXPECT_EQ(answer_of(examples.data, e, 0),
                  ids(examples.data.rows[static_cast<std::size_t>(e)] == 0 ? " the company said" : " a"));
    // Of text and completion the longer one is cut, the completion never wholly.
    options.max_length = std::ssize(ids("the film was good It was the company said")) - 1;
    const Index e = read().data.rows[0] == 0 ? 0 : 1;
    EXPECT_EQ(std::ssize(row(read(), 0)), std::ssize(ids("the film was good It was")) - 1);
    EXPECT_EQ(answer_of(read().data, e, 0), ids(" the company said"));
    options.max_length = std::ssize(ids(" It was")) + 1;
    EXPECT_EQ(row(read(), 0), ids(" It was"));
    EXPECT_EQ(answer_of(read().data, e, 0), first(ids(" the company said"), 1));
    EXPECT_EQ(read().cut, 2);
    --options.max_length;
    refused(ExitStatus::study, ErrorKind::contradiction, {"data.template", "data.max_length"});
    options.completion = "none";
    refused(ExitStatus::input, ErrorKind::missing, {"c.tsv", "none"});
}

TEST(DataSets, WarnOfLabelsAllAlikeAndOfRepeatedExamples) {
    DataSet data;
    EXPECT_TRUE(warnings_of(data, "f").empty());
    data.append(Ids{1, 2}, 1, 10);
    EXPECT_TRUE(warnings_of(data, "f").empty());
    data.append(Ids{1}, 1, 11);
    ASSERT_EQ(warnings_of(data, "f").size(), 1u);
    EXPECT_NE(warnings_of(data, "f")[0].find("f: all 2 examples have the label 1"), std::string::npos);
    data.append(Ids{2, 1}, 0, 12);
    EXPECT_TRUE(warnings_of(data, "f").empty());
    data.append(Ids{1, 2}, 0, 13);
    data.append(Ids{1, 2}, 1, 14);
    data.append(Ids{1, 2}, 0, 15);
    ASSERT_EQ(warnings_of(data, "f").size(), 1u);
    for (const char* const word : {"f: 2 examples repeat", "1 with another label", "row 13"})
        EXPECT_NE(warnings_of(data, "f")[0].find(word), std::string::npos) << warnings_of(data, "f")[0];
}

class MaskedTexts : public LabelledTexts {
  protected:
    MaskedTexts() {
        tokenizer = Tokenizer(std::filesystem::path(TANGRAM_TEST_DATA) / "bert-mini", testing::Unrecorded());
        options.prompt = "{text} It was [MASK].";
        options.label_words = {"bad", "great"};
        options.reading = Reading::mask_token;
    }
    std::int32_t mask() const { return *tokenizer.find("[MASK]"); }
};

TEST_F(MaskedTexts, AreReadAtTheTemplatesMask) {
    table("b.tsv", "text\tlabel\nthe film was good\t1\na [MASK] of bad [MASK]\t0\n");
    const LabelledExamples examples = read();
    EXPECT_EQ(examples.label_ids, (Ids{*tokenizer.find("bad"), *tokenizer.find("great")}));
    ASSERT_EQ(examples.data.reads.size(), 2u);
    for (Index e = 0; e < 2; ++e) {
        const auto tokens = examples.data.tokens(e);
        // [MASK] . [SEP] end every example; a mask token in the text is the text's.
        EXPECT_EQ(examples.data.read(e), std::ssize(tokens) - 3);
        EXPECT_EQ(tokens[static_cast<std::size_t>(examples.data.read(e))], mask());
        EXPECT_EQ(std::count(tokens.begin(), tokens.end(), mask()),
                  examples.data.rows[static_cast<std::size_t>(e)] == 1 ? 3 : 1);
    }
}

TEST_F(MaskedTexts, KeepTheMaskAndSpecialTokensWhenTheyAreCut) {
    options.prompt = "[MASK] film: {text}.";
    options.max_length = 9;
    table("a.tsv",
          "text\tlabel\nthe film was very very good and so long that it does not fit\t1\nshort\t0\n");
    const LabelledExamples examples = read();
    EXPECT_EQ(examples.cut, 1);
    for (Index e = 0; e < 2; ++e) {
        const auto tokens = examples.data.tokens(e);
        EXPECT_LE(std::ssize(tokens), 9);
        EXPECT_EQ(examples.data.read(e), 1);
        EXPECT_EQ(tokens[1], mask());
        EXPECT_EQ(tokens.front(), *tokenizer.find("[CLS]"));
        EXPECT_EQ(tokens.back(), *tokenizer.find("[SEP]"));
    }
}

TEST_F(MaskedTexts, WhateverTheTokenizerCallsTheMask) {
    // RoBERTa's takes the blank before it.
    const nlohmann::json kinds =
        read_json(std::filesystem::path(TANGRAM_TEST_DATA) / "text" / "kinds.json", testing::Unrecorded());
    nlohmann::json json = read_json(std::filesystem::path(TANGRAM_TEST_DATA) / "neo-mini" / "tokenizer.json",
                                    testing::Unrecorded());
    json.merge_patch(kinds["roberta"]["patch"]);
    const TemporaryFolder model;
    tokenizer = Tokenizer(model.write("tokenizer.json", json.dump()), testing::Unrecorded());
    options.label_words = {" bad", " great"};
    const LabelledExamples examples = read();
    const std::int32_t id = *tokenizer.find("<mask>");
    for (Index e = 0; e < 2; ++e)
        EXPECT_EQ(examples.data.tokens(e)[static_cast<std::size_t>(examples.data.read(e))], id);
    EXPECT_EQ(examples.label_ids, (Ids{ids(" bad").at(0), ids(" great").at(0)}));
}

TEST_F(MaskedTexts, SayWhatIsWrong) {
    options.prompt = "{text} It was";
    refused(ExitStatus::study, ErrorKind::contradiction, {"data.template", "[MASK] 0"});
    options.prompt = "{text} was [MASK] and [MASK].";
    refused(ExitStatus::study, ErrorKind::contradiction, {"data.template", "[MASK] 2"});
    options.prompt = "{text} It was [MASK].";
    options.label_words = {"bad", "antidisestablishmentarian"};
    refused(ExitStatus::study, ErrorKind::unsupported, {"label_words", "antidisestablishmentarian"});
    options.label_words = {"bad", "\u2603"};
    refused(ExitStatus::study, ErrorKind::unsupported, {"label_words", "[UNK]"});
    options.label_words = {"bad", "bad"};
    refused(ExitStatus::study, ErrorKind::contradiction, {"label_words", "\"bad\""});
    // A causal model has no such token.
    options.label_words = {" bad", " great"};
    options.reading = Reading::last_token;
    tokenizer = Tokenizer(std::filesystem::path(TANGRAM_TEST_DATA) / "neo-mini", testing::Unrecorded());
    refused(ExitStatus::study, ErrorKind::contradiction, {"data.template", "[MASK]"});
    options.reading = Reading::mask_token;
    refused(ExitStatus::input, ErrorKind::missing, {"tokenizer"});
}

}  // namespace
}  // namespace tangram
