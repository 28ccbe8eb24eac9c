#include <fmt/core.h>
#include <gtest/gtest.h>

#include "support/small_tokenizers.hpp"
#include "tangram/text/tokenizer.hpp"

namespace tangram {
namespace {

using testing::Bytes;
using testing::Ids;
using testing::SmallTokenizers;

TEST_F(SmallTokenizers, AddedTokensTakeWhatTheirFlagsSay) {
    const std::string model =
        R"({"type":"BPE","vocab":{"a":0," ":1,"<m>":2,"_":3,"\u00e9":4,"\u3000":5,"<m>a":6},"merges":[]})";
    const auto ids = [&](const std::string& flags, const std::string& text) {
        return make(model, added("<m>", 2, flags)).encode(text, true);
    };
    EXPECT_EQ(ids("", "a <m> a").ids, (Ids{0, 1, 2, 1, 0}));
    EXPECT_EQ(ids(R"(,"lstrip":true)", "a  <m> a").ids, (Ids{0, 2, 1, 0}));
    EXPECT_EQ(ids(R"(,"lstrip":true)", "a  <m> a").bytes, (Bytes{{0, 1}, {1, 6}, {6, 7}, {7, 8}}));
    EXPECT_EQ(ids(R"(,"rstrip":true)",
                  "a <m> \xE3\x80\x80"
                  "a")
                  .ids,
              (Ids{0, 1, 2, 0}));
    EXPECT_EQ(ids(R"(,"lstrip":true)", "a\xE3\x80\x80<m>").ids, (Ids{0, 2}));
    EXPECT_EQ(ids(R"(,"lstrip":true)", "a\xE3\x80\x80<m>").bytes, (Bytes{{0, 1}, {1, 7}}));
    EXPECT_EQ(ids(R"(,"lstrip":true,"rstrip":true)", "<m> <m> ").ids, (Ids{2, 2}));
    EXPECT_EQ(ids(R"(,"lstrip":true,"rstrip":true)", " <m> <m> ").bytes, (Bytes{{0, 5}, {5, 9}}));
    EXPECT_EQ(ids(R"(,"single_word":true)", "<m> <m>").ids, (Ids{2, 1, 2}));
    EXPECT_EQ(ids(R"(,"single_word":true)", "a<m>").ids,
              (Ids{0}));  // its characters are not in the vocabulary
    EXPECT_EQ(ids(R"(,"single_word":true)", "<m>_").ids, (Ids{3}));
    EXPECT_EQ(ids(R"(,"single_word":true)", "\xC3\xA9<m>").ids, (Ids{4}));
    // The longest of those that begin at one place.
    const std::string two = R"("added_tokens":[{"id":2,"content":"<m>"},{"id":6,"content":"<m>a"}],)";
    EXPECT_EQ(make(model, two).encode("<m>a<m>", true).ids, (Ids{6, 2}));
    // One in the white space that another took with it is found too, and text goes on behind it.
    const std::string blanks =
        R"("added_tokens":[{"id":2,"content":"<m>","rstrip":true},{"id":7,"content":"  "}],)";
    EXPECT_EQ(make(model, blanks).encode("<m>    a", true).ids, (Ids{2, 7, 7, 0}));
    EXPECT_EQ(make(model, blanks).encode("<m>     a", true).ids, (Ids{2, 7, 7, 1, 0}));
    const std::string both =
        R"("added_tokens":[{"id":2,"content":"<m>","rstrip":true},{"id":7,"content":"  ","rstrip":true}],)";
    EXPECT_EQ(make(model, both).encode("<m>     a", true).ids, (Ids{2, 7, 7, 0}));
    EXPECT_EQ(make(model, both).encode("<m>  a  <m> a", true).ids, (Ids{2, 7, 0, 7, 2, 0}));
    EXPECT_EQ(make(model, both).encode(std::string(2'000'000, ' '), true).ids.size(), 1'000'000u);
}

TEST_F(SmallTokenizers, NormalizedAddedTokensAreFoundInNormalizedText) {
    const std::string model = R"({"type":"BPE","vocab":{"_":0,"a":1,"m m":2,"m":3},"merges":[]})";
    const std::string blanks = R"("normalizer":{"type":"Replace","pattern":{"String":" "},"content":"_"},)";
    const auto found = make(model, added("m m", 2, R"(,"normalized":true)") + blanks).encode("a m m_m", true);
    EXPECT_EQ(found.ids, (Ids{1, 0, 2, 0, 3}));
    EXPECT_EQ(found.bytes, (Bytes{{0, 1}, {1, 2}, {2, 5}, {5, 6}, {6, 7}}));
    EXPECT_EQ(make(model, added("m m", 2, R"(,"normalized":false)") + blanks).encode("m_m", true).ids,
              (Ids{3, 0, 3}));
    EXPECT_EQ(make(model, added("m m", 2, R"(,"normalized":true)") + blanks).encode("m_m", true).ids,
              (Ids{2}));
    // Of two that are equal in normalized text the special one counts.
    const auto two = [&](bool first_special) {
        return make(model, fmt::format(
                               R"("added_tokens":[{{"id":4,"content":"m_m","normalized":true,"special":{}}},)"
                               R"({{"id":2,"content":"m m","normalized":true,"special":{}}}],)",
                               first_special, !first_special) +
                               blanks)
            .encode("m m", true)
            .ids;
    };
    EXPECT_EQ(two(true), Ids{4});
    EXPECT_EQ(two(false), Ids{2});
}

}  // namespace
}  // namespace tangram
