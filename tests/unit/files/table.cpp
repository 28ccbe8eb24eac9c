#include "tangram/files/table.hpp"

#include <gtest/gtest.h>

#include <fmt/core.h>

#include "support/expect_error.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"

namespace tangram {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

using Row = std::vector<std::string>;
using Rows = std::vector<Row>;

class Tables : public ::testing::Test {
  protected:
    Table read(const std::string& name, const std::string& text) const {
        return read_table(folder_.write(name, text), testing::Unrecorded());
    }
    /// Checks that the text is refused with the file's name, the line and what else must be named.
    void refused(ErrorKind kind, const std::string& name, const std::string& text, const std::string& line,
                 const std::string& named = "") const {
        expect_error(ExitStatus::input, kind, {name, line, named}, [&] { read(name, text); });
    }
    TemporaryFolder folder_;
};

TEST_F(Tables, TabSeparated) {
    const Table table = read("a.tsv", "text\tlabel\n\"he said \"no\", twice \t1\n\t0\n");
    EXPECT_EQ(table.columns, (Row{"text", "label"}));
    EXPECT_EQ(table.rows, (Rows{{"\"he said \"no\", twice ", "1"}, {"", "0"}}));
    EXPECT_EQ(table.line_of(1), 3);
    EXPECT_EQ(table.column("label"), 1U);
}

TEST_F(Tables, TabSeparatedAndQuotedAsPandasWritesIt) {
    const Table table = read("a.tsv",
                             "text\tlabel\nplain, with commas\t1\n\"he said \"\"no\"\"\"\t0\n\"a\ttab\"\t1\n"
                             "\"two\nlines\"\t0\nlast\t1\n");
    EXPECT_EQ(table.rows, (Rows{{"plain, with commas", "1"},
                                {"he said \"no\"", "0"},
                                {"a\ttab", "1"},
                                {"two\nlines", "0"},
                                {"last", "1"}}));
    EXPECT_EQ(table.lines, (std::vector<Index>{2, 3, 4, 5, 7}));
    EXPECT_TRUE(table.warnings.empty());
    // Every field quoted, the columns' names too: the quotes are none of the text.
    EXPECT_EQ(read("a.tsv", "\"text\"\t\"label\"\n\"good\"\t\"1\"\n").rows, (Rows{{"good", "1"}}));
}

TEST_F(Tables, QuotesOfATabSeparatedFileThatMayBeLiteral) {
    const auto kept = [&](const std::string& rows, const Rows& expected, const std::string& line) {
        const Table table = read("a.tsv", "text\tlabel\n" + rows);
        EXPECT_EQ(table.rows, expected);
        ASSERT_EQ(table.warnings.size(), line.empty() ? 0u : 1u) << rows;
        if (line.empty()) return;
        EXPECT_NE(table.warnings[0].find("a.tsv: " + line + ":"), std::string::npos) << table.warnings[0];
    };
    // Nothing that quotes are needed for; a quote inside a field that is not quoted; one that ends nothing.
    kept("bad\t0\n\"good\"\t1\n", {{"bad", "0"}, {"\"good\"", "1"}}, "line 3");
    kept("\"a \"\"b\"\"\"\t0\n5\" long\t1\n", {{"\"a \"\"b\"\"\"", "0"}, {"5\" long", "1"}}, "line 2");
    kept("\"a\" and b\t0\n", {{"\"a\" and b", "0"}}, "");
    kept("a \"b\"\t0\n", {{"a \"b\"", "0"}}, "");
    // Between the quotes a tab and a line's end that may separate, or not.
    kept("x\t1\n\"a\t1\nb\"\t0\n", {{"x", "1"}, {"\"a", "1"}, {"b\"", "0"}}, "line 3");
}

TEST_F(Tables, QuotesThatWouldSwallowRowsAreRefused) {
    refused(ErrorKind::contradiction, "a.tsv",
            "text\tlabel\n\"one of the best films\t1\nit says \"\" on the poster\t0\na bad movie\t0\n"
            "so he said fine\"\t1\nplain good\t1\n",
            "line 3", "5 rows where quotes belong to the texts, else 2");
    // Columns' names in quotes leave no doubt, nor does a line with too few fields.
    EXPECT_EQ(read("a.tsv", "\"text\"\t\"label\"\n\"a\t1\nb \"\" c\t0\nd\"\t1\n").rows,
              (Rows{{"a\t1\nb \" c\t0\nd", "1"}}));
    EXPECT_EQ(read("a.tsv", "text\tlabel\n\"a\t1\nb \"\" c\nd\"\t1\n").rows,
              (Rows{{"a\t1\nb \" c\nd", "1"}}));
}

TEST_F(Tables, LineEndsByteOrderMarkAndLastLines) {
    const Rows rows{{"a", "b"}, {"c", "d"}};
    for (const std::string& s : {std::string("\t"), std::string(",")})
        for (const std::string& end : {std::string("\n"), std::string("\r\n")})
            for (const std::string& front : {std::string(), std::string("\xEF\xBB\xBF")})
                for (const std::string& last : {std::string(), end, end + end}) {
                    const std::string text = fmt::format("{0}x{1}y{2}a{1}b{2}c{1}d{3}", front, s, end, last);
                    const Table table = read(s == "," ? "t.csv" : "t.tsv", text);
                    EXPECT_EQ(table.columns, (Row{"x", "y"})) << text;
                    EXPECT_EQ(table.rows, rows) << text;
                    EXPECT_EQ(table.lines, (std::vector<Index>{2, 3})) << text;
                }
    EXPECT_EQ(read("t.csv", "x,y\na,b\r").rows, (Rows{{"a", "b"}}));
}

TEST_F(Tables, CommaSeparatedByRfc4180) {
    const Table table = read("a.csv",
                             "text,label\n"
                             "\"two\r\nlines, with a \"\"quote\"\"\",1\n"
                             "\"\",2\n"
                             ",3\n"
                             "\"\"\"\",\"4\"\n"
                             " spaces kept , 5\n"
                             "tab\tkept,6\r\n");
    EXPECT_EQ(table.rows, (Rows{{"two\r\nlines, with a \"quote\"", "1"},
                                {"", "2"},
                                {"", "3"},
                                {"\"", "4"},
                                {" spaces kept ", " 5"},
                                {"tab\tkept", "6"}}));
    EXPECT_EQ(table.lines, (std::vector<Index>{2, 4, 5, 6, 7, 8}));
    EXPECT_EQ(read("one.csv", "text\n\"\"\nb\n").rows, (Rows{{""}, {"b"}}));
    EXPECT_EQ(read("quoted.csv", "\"a,b\",\"c\"\n1,2\n").columns, (Row{"a,b", "c"}));
    EXPECT_EQ(read("last.csv", "a,b\n1,\"2\"").rows, (Rows{{"1", "2"}}));
}

TEST_F(Tables, JsonLines) {
    const Table table =
        read("a.jsonl",
             "{\"text\": \"line\\nbreak \\u00e9\", \"label\": 1, \"score\": 0.5, \"meta\": {\"a\": 1}}\r\n"
             "{\"label\": -2, \"text\": \"\", \"score\": true, \"meta\": null, \"more\": 1}\n\n");
    EXPECT_EQ(table.rows[0][table.column("text")], "line\nbreak \xC3\xA9");
    EXPECT_EQ(table.rows[0][table.column("label")], "1");
    EXPECT_EQ(table.rows[1][table.column("label")], "-2");
    EXPECT_EQ(table.rows[0][table.column("score")], "0.5");
    EXPECT_EQ(table.rows[1][table.column("score")], "true");
    EXPECT_EQ(table.line_of(1), 2);
    expect_error(ExitStatus::input, ErrorKind::missing, {"a.jsonl", "line 1", "meta"},
                 [&] { table.column("meta"); });
    refused(ErrorKind::malformed, "b.jsonl", "{\"text\": \"a\"}\n[1]\n", "line 2");
    refused(ErrorKind::malformed, "b.jsonl", "{\"text\": \"a\"}\n{\"text\": \n", "line 2",
            "one JSON object; correct it");
    refused(ErrorKind::unsupported, "b.jsonl", "{\"text\": \"a\"}\n" + std::string(100'000, '[') + "\n",
            "line 2");
    refused(ErrorKind::malformed, "b.jsonl", "{\"text\": \"a surrogate mother\n", "line 1",
            "one JSON object; correct it");
    for (const char* const half : {"\\ud800", "\\ud800 x", "\\udc00", "\\ud83d\\ud83d"})
        refused(ErrorKind::malformed, "b.jsonl",
                fmt::format("{{\"text\": \"a\"}}\n{{\"text\": \"{}\"}}\n", half), "line 2", "surrogate");
}

TEST_F(Tables, WhatAJsonLineLacksMattersToWhoAsksForIt) {
    const Table table =
        read("a.jsonl",
             "{\"text\": \"NaN \\\"NaN\", \"label\": 1, \"score\": NaN, \"gap\": 1}\n"
             "{\"text\": \"b\", \"label\": 0, \"score\": -Infinity}\n"
             "{\"text\": \"c\", \"label\": 0, \"score\": 1, \"gap\": null, \"late\": [Infinity]}\n");
    EXPECT_EQ(table.columns, (Row{"gap", "label", "score", "text"}));
    EXPECT_EQ(table.rows[0][table.column("text")], "NaN \"NaN");
    EXPECT_EQ(table.rows[2][table.column("label")], "0");
    for (const auto& [column, line] : {std::pair("score", 1), {"gap", 2}, {"late", 1}})
        expect_error(ExitStatus::input, ErrorKind::missing,
                     {"a.jsonl", fmt::format("line {}", line), fmt::format("\"{}\"", column)},
                     [&] { table.column(column); });
    refused(ErrorKind::malformed, "b.jsonl", "{\"text\": \"a\", \"score\": NaNs}\n", "line 1", "byte");
}

TEST_F(Tables, WrongNumberOfFieldsNamesTheLine) {
    refused(ErrorKind::malformed, "a.tsv", "x\ty\n1\t2\n1\t2\t3\n", "line 3", "3 fields");
    refused(ErrorKind::malformed, "a.tsv", "x\ty\n1\n", "line 2", "1 fields");
    refused(ErrorKind::malformed, "a.csv", "x,y\n\"two\nlines\",2\n1,2,3\n", "line 4", "3 fields");
    refused(ErrorKind::malformed, "a.csv", "x,y\n1,2\n\"two\nlines\"\n", "line 3", "1 fields");
}

TEST_F(Tables, EmptyLinesBetweenRows) {
    refused(ErrorKind::malformed, "a.tsv", "x\ty\n1\t2\n\n\n3\t4\n", "line 3");
    refused(ErrorKind::malformed, "a.csv", "x,y\n1,2\n\n3,4\n", "line 3");
    refused(ErrorKind::malformed, "a.tsv", "\nx\ty\n1\t2\n", "line 1");
    refused(ErrorKind::malformed, "a.jsonl", "{\"x\": 1}\n\n{\"x\": 1}\n", "line 2");
}

TEST_F(Tables, QuotesThatDoNotFit) {
    refused(ErrorKind::malformed, "a.csv", "x,y\n1,2\n\"never\nclosed,2\n3,4\n", "line 3");
    refused(ErrorKind::malformed, "a.csv", "x,y\n\"a\nb\",2\nin\"side,2\n", "line 4");
    refused(ErrorKind::malformed, "a.csv", "x,y\n\"a\"b,2\n", "line 2");
    refused(ErrorKind::malformed, "a.csv", "x,y\n\"a\" \"b\",2\n", "line 2");
}

TEST_F(Tables, Utf8) {
    for (const std::string& bad :
         std::vector<std::string>{"\xFF", "\xC3", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82",
                                  "\x80", "\xF8\x88\x80\x80\x80"}) {
        refused(ErrorKind::malformed, "a.tsv", fmt::format("x\ty\n1\t2\n3\t{}\n", bad), "line 3");
        EXPECT_FALSE(is_utf8(bad));
        EXPECT_FALSE(is_utf8(fmt::format("a{}b", bad)));
    }
    for (const std::string& good :
         std::vector<std::string>{"", "a", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF",
                                  "\xEE\x80\x80", "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
        EXPECT_TRUE(is_utf8(good));
    EXPECT_FALSE(is_utf8(std::string_view("\xC3\xA9", 1)));  // nothing behind the end is read
    refused(ErrorKind::malformed, "a.csv", "x,y\n\"a\n\xFF\",2\n", "line 3");
}

TEST_F(Tables, FilesThatAreNoTables) {
    refused(ErrorKind::degenerate, "a.tsv", "", "a.tsv");
    refused(ErrorKind::degenerate, "a.tsv", "\xEF\xBB\xBF", "a.tsv");
    refused(ErrorKind::degenerate, "a.tsv", "x\ty\n", "a.tsv");
    refused(ErrorKind::degenerate, "a.csv", "x,y", "a.csv");
    refused(ErrorKind::degenerate, "a.jsonl", "\n\n", "a.jsonl");
    refused(ErrorKind::contradiction, "a.tsv", "x\ty\tx\n1\t2\t3\n", "line 1", "\"x\"");
    refused(ErrorKind::unsupported, "a.parquet", "x", ".parquet", ".jsonl");
    refused(ErrorKind::unsupported, "noending", "x", "noending");
    expect_error(ExitStatus::input, ErrorKind::missing, {"absent.tsv"},
                 [&] { read_table(folder_.path() / "absent.tsv", testing::Unrecorded()); });
}

TEST_F(Tables, UnknownColumnsNameThoseThatThereAre) {
    const Table table = read("a.csv", "sentence, label\na,1\n");
    expect_error(ExitStatus::input, ErrorKind::missing, {"a.csv", "\"sentance\"", "\"sentence\", \" label\""},
                 [&] { table.column("sentance"); });
    expect_error(ExitStatus::input, ErrorKind::missing, {"a.csv", "but \" label\"", "blanks"},
                 [&] { table.column("label"); });
    std::string header = "c0";
    for (int c = 1; c < 25; ++c) header += fmt::format("\tc{}", c);
    expect_error(ExitStatus::input, ErrorKind::missing, {"\"c19\" and 5 more"},
                 [&] { read("b.tsv", header + "\n" + header + "\n").column("x"); });
}

TEST_F(Tables, LinesThatEndWithACarriageReturnAlone) {
    for (const char* const name : {"a.tsv", "a.csv"})
        refused(ErrorKind::malformed, name, "text\rgood\rbad\r", "line 1", "carriage return");
    refused(ErrorKind::malformed, "a.jsonl", "{\"text\": 1}\r{\"text\": 2}", "line 1", "carriage return");
}

}  // namespace
}  // namespace tangram
