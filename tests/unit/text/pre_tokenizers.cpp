#include <fmt/core.h>
#include <gtest/gtest.h>

#include "support/small_tokenizers.hpp"
#include "tangram/text/tokenizer.hpp"

namespace tangram {
namespace {

using testing::Bytes;
using testing::Ids;
using testing::SmallTokenizers;

TEST_F(SmallTokenizers, Metaspace) {
    const std::string model =
        R"({"type":"BPE","vocab":{"_":0,"a":1,"_a":2,"a_":3,"<s>":4,"__":5},"merges":["a _","_ _","_ a"]})";
    const auto with = [&](const std::string& options) {
        return make(model, added("<s>", 4, "") + R"("pre_tokenizer":{"type":"Metaspace","replacement":"_")" +
                               options + "},");
    };
    const std::string text = "a  a<s>a";
    const auto always = with(R"(,"prepend_scheme":"always","split":true)").encode(text, true);
    EXPECT_EQ(always.ids, (Ids{2, 0, 2, 4, 2}));
    EXPECT_EQ(always.bytes, (Bytes{{0, 1}, {1, 2}, {2, 4}, {4, 7}, {7, 8}}));
    EXPECT_EQ(with("").encode(text, true).ids, always.ids);
    EXPECT_EQ(with(R"(,"prepend_scheme":"first")").encode(text, true).ids, (Ids{2, 0, 2, 4, 1}));
    EXPECT_EQ(with(R"(,"prepend_scheme":"never")").encode(text, true).ids, (Ids{1, 0, 2, 4, 1}));
    EXPECT_EQ(with(R"(,"add_prefix_space":false)").encode(text, true).ids, (Ids{1, 0, 2, 4, 1}));
    EXPECT_EQ(with(R"(,"prepend_scheme":"never","split":false)").encode(text, true).ids, (Ids{3, 2, 4, 1}));
    EXPECT_EQ(with("").encode(" a", true).ids, (Ids{2}));
    // A text whose first character a normalizer takes away begins behind it.
    const std::string
        first = R"("pre_tokenizer":{"type":"Metaspace","replacement":"_","prepend_scheme":"first"},)",
        without = R"("normalizer":{"type":"Replace","pattern":{"String":"x"},"content":""},)";
    EXPECT_EQ(make(model, first + without).encode("xa", true).ids, (Ids{1}));
    EXPECT_EQ(make(model, first + without).encode("ax", true).ids, (Ids{2}));
}

TEST_F(SmallTokenizers, ByteLevelWithAPrefixBlankAndWithoutWords) {
    // U+0120 stands for the blank.
    const std::string model =
        R"({"type":"BPE","vocab":{"\u0120":0,"a":1,"\u0120a":2,"a\u0120":3,"<m>":4},"merges":["a \u0120","\u0120 a"]})";
    const auto with = [&](const std::string& options) {
        return make(model, added("<m>", 4, "") + R"("pre_tokenizer":{"type":"ByteLevel")" + options + "},");
    };
    const auto prefixed = with(R"(,"add_prefix_space":true)").encode("a a<m>a", true);
    EXPECT_EQ(prefixed.ids, (Ids{2, 2, 4, 2}));
    EXPECT_EQ(prefixed.bytes, (Bytes{{0, 1}, {1, 3}, {3, 6}, {6, 7}}));
    EXPECT_EQ(with("").encode(" a", true).ids, (Ids{2}));
    EXPECT_EQ(with(R"(,"add_prefix_space":false)").encode("a a", true).ids, (Ids{1, 2}));
    EXPECT_EQ(with(R"(,"add_prefix_space":false,"use_regex":false)").encode("a a", true).ids, (Ids{3, 1}));
}

TEST_F(SmallTokenizers, WhiteSpaceIsUnicodes) {
    // U+0085 is white space, U+FEFF is not (JavaScript has it the other way round): the pair of a blank and
    // the character is one word only where the character is no white space.
    const std::string blank_and =
        R"({"type":"BPE","vocab":{"\u0120":0,"a":1,"\u00c2":2,"\u0127":3,"\u00c2\u0127":4,"\u0120\u00c2\u0127":5,
        "\u00ef":6,"\u00bb":7,"\u00bf":8,"\u00ef\u00bb":9,"\u00ef\u00bb\u00bf":10,"\u0120\u00ef\u00bb\u00bf":11},
        "merges":["\u00c2 \u0127","\u0120 \u00c2\u0127","\u00ef \u00bb","\u00ef\u00bb \u00bf","\u0120 \u00ef\u00bb\u00bf"]})";
    const Tokenizer tokenizer =
        make(blank_and, R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},)");
    EXPECT_EQ(tokenizer
                  .encode(" \xC2\x85"
                          "a",
                          true)
                  .ids,
              (Ids{0, 4, 1}));
    EXPECT_EQ(tokenizer.encode(" \xC2\x85", true).ids, (Ids{5}));  // at the end: one run of white space
    EXPECT_EQ(tokenizer
                  .encode(" \xEF\xBB\xBF"
                          "a",
                          true)
                  .ids,
              (Ids{11, 1}));
}

TEST_F(SmallTokenizers, ContractionsAreWords) {
    // Behind a letter an apostrophe begins a word of its own: with these seven endings, and alone with any
    // other.
    const std::vector<std::string> endings{"s", "t", "re", "ve", "m", "ll", "d", "x", "S", "e"};
    std::string vocabulary = R"("'":0,"a":1)", merges;
    std::int32_t id = 2;
    for (const char letter : std::string("strevmldxS")) vocabulary += fmt::format(",\"{}\":{}", letter, id++);
    for (const std::string& ending : endings)
        for (std::size_t k = 1; k <= ending.size(); ++k) {
            const std::string whole = fmt::format("'{}", ending.substr(0, k));
            const std::string front = fmt::format("'{}", ending.substr(0, k - 1));
            if (vocabulary.find(fmt::format("\"{}\"", whole)) != std::string::npos) continue;
            vocabulary += fmt::format(",\"{}\":{}", whole, id++);
            merges += fmt::format("{}\"{} {}\"", merges.empty() ? "" : ",", front, ending[k - 1]);
        }
    const Tokenizer tokenizer =
        make(R"({"type":"BPE","vocab":{)" + vocabulary + R"(},"merges":[)" + merges + "]}",
             R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},)");
    for (std::size_t e = 0; e < endings.size(); ++e) {
        const Ids ids = tokenizer.encode(fmt::format("a'{}", endings[e]), true).ids;
        ASSERT_GE(ids.size(), 2U);
        EXPECT_EQ(tokenizer.token(ids[1]), fmt::format("'{}", e < 7 ? endings[e] : std::string()))
            << endings[e];
    }
}

TEST_F(SmallTokenizers, LettersAndNumbersAreUnicodes) {
    // U+00AA is a letter without case, U+00B2 a number that is no digit: each stands in one word with its
    // like.
    const std::string model = R"({"type":"BPE","vocab":{"a":0,"1":1,"\u00c2":2,"\u00aa":3,"\u00b2":4,
        "\u00c2\u00aa":5,"\u00c2\u00b2":6,"a\u00c2\u00aa":7,"1\u00c2\u00b2":8,"1\u00c2\u00aa":9,"a\u00c2\u00b2":10},
        "merges":["\u00c2 \u00aa","\u00c2 \u00b2","a \u00c2\u00aa","1 \u00c2\u00b2","1 \u00c2\u00aa","a \u00c2\u00b2"]})";
    const Tokenizer tokenizer =
        make(model, R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},)");
    EXPECT_EQ(tokenizer.encode("a\xC2\xAA", true).ids, (Ids{7}));
    EXPECT_EQ(tokenizer.encode("1\xC2\xB2", true).ids, (Ids{8}));
    EXPECT_EQ(tokenizer.encode("1\xC2\xAA", true).ids, (Ids{1, 5}));
    EXPECT_EQ(tokenizer.encode("a\xC2\xB2", true).ids, (Ids{0, 6}));
}

}  // namespace
}  // namespace tangram
