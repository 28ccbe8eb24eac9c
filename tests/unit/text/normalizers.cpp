#include <fmt/core.h>
#include <gtest/gtest.h>

#include "support/expect_error.hpp"
#include "support/small_tokenizers.hpp"
#include "tangram/files/json.hpp"
#include "tangram/text/tokenizer.hpp"

namespace tangram {
namespace {

using testing::Bytes;
using testing::expect_error;
using testing::Ids;
using testing::SmallTokenizers;

TEST_F(SmallTokenizers, NormalizersKeepTrackOfTheBytes) {
    const std::string model =
        R"({"type":"BPE","vocab":{"_":0,"a":1,"_a":2,"b":3,"<s>":4,"x":5,"y":6},"merges":["_ a"]})";
    const std::string prepend = R"({"type":"Prepend","prepend":"_"})";
    const std::string blanks = R"({"type":"Replace","pattern":{"String":" "},"content":"_"})";
    const std::string both =
        R"("normalizer":{"type":"Sequence","normalizers":[)" + prepend + "," + blanks + "]},";
    const auto encoding = make(model, both).encode("a ab b", true);
    EXPECT_EQ(encoding.ids, (Ids{2, 2, 3, 0, 3}));
    EXPECT_EQ(encoding.bytes, (Bytes{{0, 1}, {1, 3}, {3, 4}, {4, 5}, {5, 6}}));
    const auto lonely = make(model, both).encode("b", true);
    EXPECT_EQ(lonely.ids, (Ids{0, 3}));
    EXPECT_EQ(lonely.bytes, (Bytes{{0, 0}, {0, 1}}));
    EXPECT_TRUE(make(model, both).encode("", true).ids.empty());
    // Every stretch between added tokens is normalised for itself.
    const auto cut =
        make(model, added("<s>", 4, R"(,"normalized":false,"special":true)") + both).encode("a<s>a", true);
    EXPECT_EQ(cut.ids, (Ids{2, 4, 2}));
    EXPECT_EQ(cut.bytes, (Bytes{{0, 1}, {1, 4}, {4, 5}}));
    // More than one character, either way.
    const std::string longer =
        R"("normalizer":{"type":"Replace","pattern":{"String":"ab"},"content":"xyx"},)";
    const auto replaced = make(model, longer).encode("bab", true);
    EXPECT_EQ(replaced.ids, (Ids{3, 5, 6, 5}));
    EXPECT_EQ(replaced.bytes, (Bytes{{0, 1}, {1, 3}, {1, 3}, {1, 3}}));
    // Nothing is put in front of a text of which nothing is left.
    const std::string emptied = R"({"type":"Replace","pattern":{"String":"b"},"content":""},)" + prepend;
    EXPECT_TRUE(make(model, R"("normalizer":{"type":"Sequence","normalizers":[)" + emptied + "]},")
                    .encode("b", true)
                    .ids.empty());
    // Removed text belongs to no token.
    const auto removed =
        make(model, R"("normalizer":{"type":"Replace","pattern":{"String":"b"},"content":""},)")
            .encode("bxb", true);
    EXPECT_EQ(removed.ids, (Ids{5}));
    EXPECT_EQ(removed.bytes, (Bytes{{1, 2}}));
}

TEST_F(SmallTokenizers, NothingIsPutBeforeATextOfWhichNothingIsLeft) {
    const std::string strip = R"("normalizer":{"type":"Strip","strip_left":false,"strip_right":true},)";
    const std::string model = R"({"type":"BPE","vocab":{"a":0,"_":1,"\u0120":2},"merges":[]})";
    for (const char* const part : {R"("Metaspace","replacement":"_")", R"("ByteLevel")"}) {
        const Tokenizer tokenizer =
            make(model, strip + fmt::format(R"("pre_tokenizer":{{"type":{}}},)", part));
        EXPECT_TRUE(tokenizer.encode(" \n", true).ids.empty()) << part;
        EXPECT_EQ(tokenizer.encode("a ", true).ids.size(), 2U) << part;
    }
}

TEST_F(SmallTokenizers, EmptyMatchesPutTheContentIn) {
    const std::string model = R"({"type":"BPE","vocab":{"a":0,"b":1,"-":2,"\u00e9":3},"merges":[]})";
    const auto replaced = [&](const std::string& regex, const std::string& text) {
        return make(model, R"("normalizer":{"type":"Replace","pattern":{"Regex":")" + regex +
                               R"("},"content":"-"},)")
            .encode(text, true);
    };
    EXPECT_EQ(replaced("x*", "axb").ids, (Ids{2, 0, 2, 1, 2}));
    EXPECT_EQ(replaced("x*", "").ids, Ids{});
    EXPECT_EQ(replaced("^", "ab").ids, (Ids{2, 0, 1}));
    EXPECT_EQ(replaced("$", "ab\u00e9").ids, (Ids{0, 1, 3, 2}));
    EXPECT_EQ(replaced("$", "ab\u00e9").bytes, (Bytes{{0, 1}, {1, 2}, {2, 4}, {2, 4}}));
    EXPECT_EQ(replaced("(?=\u00e9)", "ab\u00e9").bytes, (Bytes{{0, 1}, {1, 2}, {2, 4}, {2, 4}}));
}

TEST_F(SmallTokenizers, SetsOfCharactersAreOnigurumas) {
    const std::string model =
        R"({"type":"BPE","vocab":{"a":0,"-":1,"_":2,"\u00b2":3,"\u200d":4,"+":5,"!":6,"\n":7,"\u000b":8,"w":9},"merges":[]})";
    const auto replaced = [&](const std::string& regex, const std::string& text) {
        const nlohmann::json normalizer = {
            {"type", "Replace"}, {"pattern", {{"Regex", regex}}}, {"content", "-"}};
        return make(model, fmt::format("\"normalizer\":{},", normalizer.dump())).encode(text, true).ids;
    };
    // Raised digits are word characters outside of brackets alone, joiners nowhere.
    const std::string text = "a_\u00b2\u200d+";
    EXPECT_EQ(replaced(R"(\w)", text), (Ids{1, 1, 1, 4, 5}));
    EXPECT_EQ(replaced(R"(\W)", text), (Ids{0, 2, 3, 1, 1}));
    EXPECT_EQ(replaced(R"([\w])", text), (Ids{1, 1, 3, 4, 5}));
    EXPECT_EQ(replaced(R"([^\w+])", text), (Ids{0, 2, 1, 1, 5}));
    EXPECT_EQ(replaced(R"([\W_])", text), (Ids{0, 1, 1, 1, 1}));
    EXPECT_EQ(replaced("[[:word:]]", text), (Ids{1, 1, 3, 4, 5}));
    EXPECT_EQ(replaced("[[:^word:]a]", text), (Ids{1, 2, 1, 1, 1}));
    EXPECT_EQ(replaced("[]w]\\w", "wa+"), (Ids{1, 5}));
    EXPECT_EQ(replaced("[[:punct:]]", "a+!"), (Ids{0, 1, 1}));
    EXPECT_EQ(replaced("[[:^punct:]]", "a+!"), (Ids{1, 5, 6}));
    EXPECT_EQ(replaced(R"(\v)", "\n\v"), (Ids{7, 1}));
    EXPECT_EQ(replaced(R"(\\y|w)", "wa"), (Ids{1, 0}));  // a backslash and a y
    for (const char* const construct : {R"(\O)", R"(\y)", R"(\Y)", R"((?#)", R"((?x)", R"(\c)"})
        expect_error(ExitStatus::input, ErrorKind::unsupported,
                     {"tokenizer.json", fmt::format("\"{}\"", construct)}, [&] { replaced(construct, "a"); });
}

}  // namespace
}  // namespace tangram
