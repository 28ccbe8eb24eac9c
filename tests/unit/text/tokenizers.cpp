#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unicode/normalizer2.h>
#include <unicode/unistr.h>

#include <cstdlib>
#include <map>
#include <random>

#include "support/expect_error.hpp"
#include "support/small_tokenizers.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"
#include "tangram/files/json.hpp"
#include "tangram/text/tokenizer.hpp"

namespace tangram {
namespace {

using testing::Bytes;
using testing::expect_error;
using testing::Ids;
using testing::SmallTokenizers;
using testing::TemporaryFolder;

const std::filesystem::path data = TANGRAM_TEST_DATA;

/// Ids of every text of a fixture that the npm package @huggingface/tokenizers made
/// (tools/reference/tokenizers.mjs).
void compare(const std::filesystem::path& model, const std::filesystem::path& fixture) {
    const Tokenizer tokenizer(model, testing::Unrecorded());
    const nlohmann::json reference = read_json(fixture, testing::Unrecorded());
    ASSERT_GT(reference["texts"].size(), 200U);
    ASSERT_EQ(reference["texts"].size(), reference["ids"].size());
    for (std::size_t i = 0; i < reference["texts"].size(); ++i) {
        const auto text = reference["texts"][i].get<std::string>();
        const Encoding encoding = tokenizer.encode(text, true);
        EXPECT_EQ(encoding.ids, reference["ids"][i].get<Ids>()) << text;
        // The tokens' bytes follow one another and cover the text.
        ASSERT_EQ(encoding.bytes.size(), encoding.ids.size());
        Index end = 0;
        for (const auto& [first, last] : encoding.bytes) {
            EXPECT_EQ(first, end) << text;
            EXPECT_LE(first, last) << text;
            end = last;
        }
        EXPECT_EQ(end, std::ssize(text)) << text;
    }
}

TEST(Tokenizers, ByteLevelBpeAsHuggingFaceDoesIt) {
    compare(data / "neo-mini", data / "text" / "neo-mini.json");
}

TEST(Tokenizers, BpeWithByteFallbackAsHuggingFaceDoesIt) {
    const char* const models = std::getenv("TANGRAM_MODELS");
    if (models == nullptr)
        GTEST_SKIP() << "TANGRAM_MODELS is not set: stories260k's tokenizer is not compared";
    compare(std::filesystem::path(models) / "stories260k", data / "text" / "stories260k.json");
}

class TokenizerKinds : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenizerKinds, AsHuggingFaceDoesIt) {
    // Ids by Hugging Face's own library (tools/reference/tokenizer_kinds.cjs).
    const nlohmann::json kinds = read_json(data / "text" / "kinds.json", testing::Unrecorded()),
                         &kind = kinds[GetParam()];
    nlohmann::json json =
        read_json(data / kind["base"].get<std::string>() / "tokenizer.json", testing::Unrecorded());
    json.merge_patch(kind["patch"]);
    const TemporaryFolder folder;
    const Tokenizer tokenizer(folder.write("tokenizer.json", json.dump()), testing::Unrecorded());
    ASSERT_EQ(kinds["texts"].size(), kind["ids"].size());
    ASSERT_GT(kind["ids"].size(), 150U);
    for (std::size_t i = 0; i < kind["ids"].size(); ++i) {
        const auto text = kinds["texts"][i].get<std::string>();
        const Encoding encoding = tokenizer.encode(text, true);
        EXPECT_EQ(encoding.ids, kind["ids"][i].get<Ids>()) << text;
        // Bytes inside the text, in order; normalizers may leave some of it out.
        Index end = 0;
        for (const auto& [first, last] : encoding.bytes) {
            EXPECT_LE(end, last) << text;
            EXPECT_LE(first, last) << text;
            EXPECT_LE(last, std::ssize(text)) << text;
            end = std::max(end, last);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Families, TokenizerKinds,
                         ::testing::Values("bert", "bert-cased", "roberta", "gpt-neox", "llama3", "qwen2",
                                           "gemma", "xlm-roberta", "camembert", "unigram-bytes"),
                         [](const auto& parameters) {
                             std::string name = parameters.param;
                             std::erase(name, '-');
                             return name;
                         });

TEST(Tokenizers, GiveTheBytesOfEveryToken) {
    const Tokenizer tokenizer(data / "neo-mini" / "tokenizer.json", testing::Unrecorded());
    const std::string text = "caf\xC3\xA9 was great<|endoftext|> bad";
    const Encoding encoding = tokenizer.encode(text, false);
    for (std::size_t t = 0; t < encoding.ids.size(); ++t) {
        const auto [first, last] = encoding.bytes[t];
        std::string piece =
            text.substr(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first));
        if (piece.starts_with(' ')) piece.replace(0, 1, "\xC4\xA0");
        if (piece.find('\xC3') == std::string::npos) {
            EXPECT_EQ(tokenizer.token(encoding.ids[t]), piece);
        }
    }
}

TEST(Tokenizers, AreAskedForByTheCommandThatWritesThem) {
    const TemporaryFolder folder;
    folder.write("vocab.json", "{}");
    for (const auto& path : {folder.path(), folder.path() / "tokenizer.json"})
        expect_error(ExitStatus::input, ErrorKind::missing,
                     {"tokenizer.json", "AutoTokenizer.from_pretrained('" + folder.path().string() + "')"},
                     [&] { Tokenizer(path, testing::Unrecorded()); });
}

TEST(Tokenizers, FindTokensByTextAndId) {
    const Tokenizer tokenizer(data / "neo-mini", testing::Unrecorded());
    EXPECT_EQ(tokenizer.vocabulary_size(), 2048);
    EXPECT_EQ(tokenizer.find("<|endoftext|>"), 0);
    EXPECT_EQ(tokenizer.find("no such token"), std::nullopt);
    for (std::int32_t id = 0; id < 2048; ++id) EXPECT_EQ(tokenizer.find(tokenizer.token(id)), id);
    EXPECT_EQ(tokenizer.token(-1), "");
    EXPECT_EQ(tokenizer.token(2048), "");
}

TEST(Tokenizers, RefuseTextsThatAreNotUtf8) {
    const Tokenizer tokenizer(data / "neo-mini", testing::Unrecorded());
    for (const char* text : {"\xFF", "a\xC3", "\xE2\x82", "\xED\xA0\x80"})
        expect_error(ExitStatus::input, ErrorKind::malformed, {"UTF-8"},
                     [&] { tokenizer.encode(text, true); });
}

TEST_F(SmallTokenizers, MergeTheLowestRankFirstAndTheLeftmostOfEquals) {
    EXPECT_EQ(make(letters_ + R"("merges":["a b","b c"]})").encode("abc", true).ids, (Ids{2, 3}));
    EXPECT_EQ(make(letters_ + R"("merges":["b c","a b"]})").encode("abc", true).ids, (Ids{0, 4}));
    EXPECT_EQ(make(letters_ + R"("merges":[["b","c"],["a","b"],["ab","c"]]})").encode("abcab", true).ids,
              (Ids{0, 4, 2}));
    EXPECT_EQ(make(letters_ + R"("merges":["b c","a bc"]})").encode("abc", true).ids, (Ids{6}));
    // "a b" was a candidate before both sides changed: it is none between "abc" and "b".
    EXPECT_EQ(make(letters_ + R"("merges":["b c","a bc","a b"]})").encode("abcb", true).ids, (Ids{6, 1}));
    // A pair that stands twice has its last rank.
    EXPECT_EQ(make(letters_ + R"("merges":["a b","b c","a b"]})").encode("abc", true).ids, (Ids{0, 4}));
    const auto aaa = make(R"({"type":"BPE","vocab":{"a":0,"aa":1},"merges":["a a"]})").encode("aaaaa", true);
    EXPECT_EQ(aaa.ids, (Ids{1, 1, 0}));
    EXPECT_EQ(aaa.bytes, (Bytes{{0, 2}, {2, 4}, {4, 5}}));
    // Older files name no type.
    EXPECT_EQ(make(R"({"vocab":{"a":0,"aa":1},"merges":["a a"]})").encode("aa", true).ids, (Ids{1}));
}

TEST_F(SmallTokenizers, LongWordsAreNotQuadratic) {
    // A million symbols that merge two by two: under a second, and hours where every merge looks at the whole
    // word.
    std::string vocabulary = R"("a":0)", merges, piece = "a";
    for (int i = 1; i <= 10; ++i) {
        merges += fmt::format("{}[\"{}\",\"{}\"]", i > 1 ? "," : "", piece, piece);
        piece += piece;
        vocabulary += fmt::format(",\"{}\":{}", piece, i);
    }
    const Tokenizer tokenizer =
        make(R"({"type":"BPE","vocab":{)" + vocabulary + R"(},"merges":[)" + merges + "]}");
    const Encoding encoding = tokenizer.encode(std::string(1 << 20, 'a'), true);
    EXPECT_EQ(encoding.ids, Ids(1 << 10, 10));
    EXPECT_EQ(encoding.bytes.back(), std::pair(Index{(1 << 20) - 1024}, Index{1 << 20}));
}

TEST_F(SmallTokenizers, TheLongestTokenIsTaken) {
    // Of random tokens of two letters, many of which begin others; spelt as a search through all of them
    // does.
    std::mt19937 random(1);
    const auto text = [&](std::size_t most) {
        std::string letters(1 + random() % most, 'a');
        for (char& letter : letters) letter = random() % 3 == 0 ? 'b' : 'a';
        return letters;
    };
    for (int repeat = 0; repeat < 20; ++repeat) {
        std::map<std::string, std::int32_t> tokens{{"[UNK]", 0}};
        for (int t = 0; t < 60; ++t)
            tokens.emplace(std::string(random() % 2, '#') + text(7), std::ssize(tokens));
        nlohmann::json model = {{"type", "WordPiece"}, {"continuing_subword_prefix", "#"}, {"vocab", tokens}};
        nlohmann::json list = nlohmann::json::array();
        std::map<std::int32_t, std::string> by_id;
        for (const auto& [content, id] : tokens) by_id[id] = content;
        for (const auto& [id, content] : by_id) list.push_back({{"id", id}, {"content", content}});
        const Tokenizer words = make(model.dump());
        const Tokenizer added =
            make(R"({"type":"BPE","vocab":{},"merges":[]})", "\"added_tokens\":" + list.dump() + ",");
        const auto longest = [&](const std::string& rest, const std::string& prefix) {
            auto best = tokens.end();
            for (auto t = tokens.begin(); t != tokens.end(); ++t)
                if ((prefix + rest).starts_with(t->first) && t->first.size() > prefix.size() &&
                    (best == tokens.end() || t->first.size() > best->first.size()))
                    best = t;
            return best;
        };
        for (int w = 0; w < 50; ++w) {
            const std::string word = text(30);
            Ids spelt, cut;
            for (std::size_t i = 0; i < word.size();) {
                const std::string prefix = i > 0 ? "#" : "";
                const auto token = longest(word.substr(i), prefix);
                if (token == tokens.end()) {
                    spelt = {0};
                    break;
                }
                spelt.push_back(token->second);
                i += token->first.size() - prefix.size();
            }
            for (std::size_t i = 0; i < word.size();) {
                const auto token = longest(word.substr(i), "");
                if (token != tokens.end()) cut.push_back(token->second);
                i += token != tokens.end() ? token->first.size() : 1;
            }
            EXPECT_EQ(words.encode(word, true).ids, spelt) << word;
            EXPECT_EQ(added.encode(word, true).ids, cut) << word;
        }
    }
}

TEST_F(SmallTokenizers, LongTokensOfWordPieceAreNotCubic) {
    // Hours where every length of every stretch is looked up.
    const std::string model =
        R"({"type":"WordPiece","continuing_subword_prefix":"","max_input_chars_per_word":)";
    const std::string vocabulary = R"(,"vocab":{"[UNK]":0,"a":1,")" + std::string(10000, 'b') + R"(":2,")" +
                                   std::string(9999, 'a') + "b\":3}}";
    const Tokenizer tokenizer =
        make(model + "10000" + vocabulary, R"("pre_tokenizer":{"type":"WhitespaceSplit"},)");
    std::string text;
    for (int word = 0; word < 10; ++word) text += std::string(10000, 'a') + " ";
    EXPECT_EQ(tokenizer.encode(text, true).ids, Ids(100'000, 1));
    EXPECT_EQ(tokenizer.encode(std::string(10001, 'a'), true).ids, Ids{0});
    expect_error(ExitStatus::input, ErrorKind::out_of_range,
                 {"tokenizer.json", "max_input_chars_per_word = 10001", "10000"},
                 [&] { make(model + "10001" + vocabulary); });
}

TEST_F(SmallTokenizers, ManyAddedTokensAreNotQuadratic) {
    // Minutes where each token is compared with all others.
    std::string list;
    for (int t = 0; t < 200'000; ++t)
        list += fmt::format(R"({}{{"id":{},"content":"a{:06}","normalized":{}}})", t > 0 ? "," : "", t + 2, t,
                            t % 2 == 0);
    const Tokenizer tokenizer =
        make(R"({"type":"BPE","vocab":{"a":0,"b":1},"merges":[]})", "\"added_tokens\":[" + list + "],");
    EXPECT_EQ(tokenizer.encode("ba000000a199999", true).ids, (Ids{1, 2, 200'001}));
    EXPECT_EQ(tokenizer.encode(std::string(100'000, 'a'), true).ids, Ids(100'000, 0));
}

TEST_F(SmallTokenizers, LongAddedTokensAreNotQuadratic) {
    // Hours where each byte of the text is compared with them; each begins the next.
    std::string list;
    for (int t = 0; t < 2000; ++t)
        list += fmt::format(R"({{"id":{},"content":"{}"}},)", t + 2,
                            std::string(static_cast<std::size_t>(t + 2), 'b'));
    list += fmt::format(R"({{"id":2002,"content":"{}b"}})", std::string(1 << 20, 'a'));
    const Tokenizer tokenizer =
        make(R"({"type":"BPE","vocab":{"a":0,"b":1},"merges":[]})", "\"added_tokens\":[" + list + "],");
    EXPECT_EQ(tokenizer.encode(std::string(1 << 21, 'a'), true).ids, Ids(1 << 21, 0));
    EXPECT_EQ(tokenizer.encode("bb" + std::string(1 << 20, 'a') + "bbb", true).ids, (Ids{2, 2002, 2}));
    std::string text;
    for (int k = 0; k < 1 << 20; ++k) text += "ab";
    EXPECT_EQ(tokenizer.encode(text, true).ids.size(), text.size());
}

TEST_F(SmallTokenizers, ManyAccentsAreNotQuadratic) {
    // Of classes 220, 230 and 1 in turn, on one letter; in canonical order the classes stand one after the
    // other. Minutes where each is inserted among those before it.
    const std::string below = "\xCC\xA3", above = "\xCC\x81", over = "\xCC\xB4";
    std::string text = "a";
    for (int k = 0; k < 200'000; ++k) text += above + below + over;
    const std::string vocabulary =
        R"({"type":"BPE","vocab":{"a":0,"\u0323":1,"\u0301":2,"\u0334":3,"\u1ea1":4,"\u00e1":5},"merges":[]})";
    const auto encode = [&](const char* form, const std::string& content) {
        return make(vocabulary, fmt::format(R"("normalizer":{{"type":"{}"}},)", form))
            .encode(content, true)
            .ids;
    };
    Ids expected{0};
    for (const int id : {3, 1, 2}) expected.insert(expected.end(), 200'000, id);
    for (const char* const form : {"NFD", "NFKD"}) EXPECT_EQ(encode(form, text), expected) << form;
    // Composed: the letter takes the first accent of the lowest class that it composes with.
    Ids composed{4};
    composed.insert(composed.end(), 200'000, 3);
    composed.insert(composed.end(), 199'999, 1);
    composed.insert(composed.end(), 200'000, 2);
    for (const char* const form : {"NFC", "NFKC"}) EXPECT_EQ(encode(form, text), composed) << form;
    EXPECT_EQ(encode("NFC", "a" + above), Ids{5});
}

TEST_F(SmallTokenizers, LongRunsOfAccentsAreNormalisedAsShortOnes) {
    // Random marks of all kinds: as ICU has it, that orders them by itself.
    std::mt19937 random(7);
    const std::vector<std::string> marks{"\xCC\x81",     "\xCC\xA3",     "\xCC\xB4",     "\xCD\x85",
                                         "\xCD\x84",     "\xE0\xA6\xBE", "\xCC\x88",     "\xCC\x9B",
                                         "\xE1\x85\xA1", "\xE1\x86\xA8", "\xEF\xBE\x9E", "\xE3\x82\x9A"};
    const auto bytes = [&](const char* form) {
        std::string vocabulary;
        for (int b = 0; b < 256; ++b)
            vocabulary += fmt::format("{}\"<0x{:02X}>\":{}", b > 0 ? "," : "", b, b);
        return make(R"({"type":"BPE","byte_fallback":true,"merges":[],"vocab":{)" + vocabulary + "}}",
                    fmt::format(R"("normalizer":{{"type":"{}"}},)", form));
    };
    for (const char* const form : {"NFD", "NFC", "NFKD", "NFKC"}) {
        const Tokenizer tokenizer = bytes(form);
        UErrorCode status = U_ZERO_ERROR;
        const icu::Normalizer2* const reference = icu::Normalizer2::getInstance(
            nullptr, std::string_view(form).starts_with("NFK") ? "nfkc" : "nfc",
            std::string_view(form).ends_with('D') ? UNORM2_DECOMPOSE : UNORM2_COMPOSE, status);
        ASSERT_TRUE(U_SUCCESS(status));
        for (int repeat = 0; repeat < 50; ++repeat) {
            std::string text = repeat % 2 == 0 ? "a" : "\xE1\x84\x80";
            while (text.size() < 600) text += marks[random() % marks.size()];
            std::string expected;
            reference->normalize(icu::UnicodeString::fromUTF8(text), status).toUTF8String(expected);
            std::string found;
            for (const std::int32_t id : tokenizer.encode(text, true).ids) found += static_cast<char>(id);
            EXPECT_EQ(found, expected) << form;
        }
    }
}

TEST_F(SmallTokenizers, NumberAddedTokensBehindTheVocabulary) {
    // As Hugging Face's library: a token of the vocabulary keeps its id, others follow without gaps.
    const std::string vocabulary = R"({"type":"BPE","vocab":{"a":0,"b":1},"merges":[]})";
    const Tokenizer gap = make(vocabulary, R"("added_tokens":[{"id":7,"content":"<x>"},{"id":1,"content":"b"},
        {"id":3,"content":"<y>"}],)");
    EXPECT_EQ(gap.encode("<x>b<y>", true).ids, (Ids{2, 1, 3}));
    EXPECT_EQ(gap.vocabulary_size(), 4);
    ASSERT_EQ(gap.warnings().size(), 1u);
    for (const char* const word : {"tokenizer.json", "\"<x>\"", "2", "7"})
        EXPECT_NE(gap.warnings()[0].find(word), std::string::npos) << gap.warnings()[0];
    EXPECT_EQ(make(vocabulary, added("a", 5, "")).encode("a", true).ids, Ids{0});
    EXPECT_TRUE(make(vocabulary, added("<x>", 2, "")).warnings().empty());
}

TEST_F(SmallTokenizers, PatternsThatTryEverythingAreRefused) {
    const auto split = [&](const std::string& regex, const std::string& text) {
        return make(R"({"type":"BPE","vocab":{"a":0,"b":1," ":2},"merges":[]})",
                    R"("pre_tokenizer":{"type":"Split","behavior":"Isolated","pattern":{"Regex":")" + regex +
                        "\"}},")
            .encode(text, true)
            .ids.size();
    };
    // 2^n steps for n letters: some hundred, some ten million, more than there is time for.
    EXPECT_EQ(split("(a+)+$", "aaaaaaaab"), 9u);
    for (const std::size_t letters : {24u, 60u})
        expect_error(ExitStatus::input, ErrorKind::library,
                     {"tokenizer.json", "(a+)+$", fmt::format("{} bytes", letters + 1)},
                     [&] { split("(a+)+$", std::string(letters, 'a') + "b"); });
    // A line of a megabyte with patterns of real tokenizers, each letter a word.
    std::string line;
    for (int word = 0; word < 500'000; ++word) line += "a ";
    for (
        const char* regex :
        {R"('s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+)",
         R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)"})
        EXPECT_EQ(split(regex, line), line.size());
}

TEST_F(SmallTokenizers, TextsThatGrowWithoutEndAreRefused) {
    const std::string model = R"({"type":"BPE","vocab":{"a":0,"\u0120":1},"merges":[]})";
    const auto many = [](const std::string& part, int count) {
        std::string list = part;
        for (int i = 1; i < count; ++i) list += "," + part;
        return list;
    };
    const auto normalizers = [&](const std::string& list) {
        return make(model, R"("normalizer":{"type":"Sequence","normalizers":[)" + list + "]},");
    };
    const auto pre_tokenizers = [&](const std::string& list) {
        return make(model, R"("pre_tokenizer":{"type":"Sequence","pretokenizers":[)" + list + "]},");
    };
    const auto grows = [](const Tokenizer& tokenizer, const std::string& text) {
        expect_error(ExitStatus::input, ErrorKind::out_of_range,
                     {"tokenizer.json", std::to_string(text.size())}, [&] { tokenizer.encode(text, true); });
    };
    const std::string doubled = R"({"type":"Replace","pattern":{"String":"a"},"content":"aa"})";
    grows(normalizers(many(doubled, 60)), "a");
    grows(normalizers(many(doubled, 7)), std::string(50'000, 'a'));
    EXPECT_EQ(normalizers(many(doubled, 6)).encode("aaa", true).ids.size(), 192u);
    EXPECT_EQ(normalizers(many(doubled, 5)).encode(std::string(100'000, 'a'), true).ids.size(), 3'200'000u);
    const std::string prepended = R"({"type":"Prepend","prepend":")" + std::string(10'000, 'a') + "\"}";
    grows(normalizers(many(prepended, 60)), "a");
    grows(make(model, R"("normalizer":{"type":"Replace","pattern":{"String":"a"},"content":")" +
                          std::string(100'000, 'a') + "\"},"),
          std::string(50'000, 'a'));
    // Pre-tokenizers, also where the text is cut up between them.
    const std::string bytes = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})";
    grows(pre_tokenizers(many(bytes, 60)), " ");
    const std::string marks = R"({"type":"Metaspace","replacement":" )" + std::string(100, ' ') +
                              R"(","split":false},)" +
                              R"({"type":"Split","pattern":{"String":" "},"behavior":"Isolated"})";
    grows(pre_tokenizers(many(marks, 20)), " a");
    // The contents of added tokens too.
    expect_error(ExitStatus::input, ErrorKind::out_of_range, {"tokenizer.json"}, [&] {
        make(model, added("a", 0, R"(,"normalized":true)") +
                        R"("normalizer":{"type":"Sequence","normalizers":[)" + many(doubled, 60) + "]},");
    });
}

TEST_F(SmallTokenizers, PostProcessorsAddAThousandTokensAtMost) {
    const std::string model = R"({"type":"BPE","vocab":{"a":0},"merges":[]})";
    const auto around = [&](int pieces, int ids) {
        nlohmann::json single = nlohmann::json::array(), special;
        for (int p = 0; p < pieces; ++p) single.push_back({{"SpecialToken", {{"id", "s"}}}});
        single.push_back({{"Sequence", {{"id", "A"}}}});
        special["s"] = {{"ids", Ids(static_cast<std::size_t>(ids), 0)}};
        const nlohmann::json processor = {
            {"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", special}};
        return make(model, "\"post_processor\":" + processor.dump() + ",").encode("a", true).ids.size();
    };
    EXPECT_EQ(around(10, 100), 1001u);
    for (const auto& [pieces, ids] : {std::pair(1, 1001), std::pair(1001, 1), std::pair(50'000, 100'000)})
        expect_error(ExitStatus::input, ErrorKind::unsupported, {"tokenizer.json", "post_processor", "1000"},
                     [&] { around(pieces, ids); });
    std::string list = R"({"type":"BertProcessing","sep":["a",0],"cls":["a",0]})";
    for (int i = 0; i < 10; ++i) list += "," + list;
    expect_error(
        ExitStatus::input, ErrorKind::unsupported, {"tokenizer.json", "post_processor", "1000"},
        [&] { make(model, R"("post_processor":{"type":"Sequence","processors":[)" + list + "]},"); });
}

TEST_F(SmallTokenizers, IgnoreMergesTakesWholeWords) {
    EXPECT_EQ(make(letters_ + R"("merges":["b c"],"ignore_merges":true})").encode("abc", true).ids, (Ids{6}));
    EXPECT_EQ(make(letters_ + R"("merges":["b c"],"ignore_merges":false})").encode("abc", true).ids,
              (Ids{0, 4}));
}

TEST_F(SmallTokenizers, UnknownCharacters) {
    const std::string vocabulary =
        R"({"type":"BPE","vocab":{"a":0,"?":1,"<0xC3>":2,"<0xA9>":3},"merges":[],)";
    const std::string text =
        "a\xC3\xA9\xC3\xBF\xC3\xBF"
        "a";  // the bytes of y diaeresis are not both there
    const auto dropped = make(vocabulary + R"("unk_token":null})").encode(text, true);
    EXPECT_EQ(dropped.ids, (Ids{0, 0}));
    EXPECT_EQ(dropped.bytes, (Bytes{{0, 1}, {7, 8}}));
    const auto unknown = make(vocabulary + R"("unk_token":"?","fuse_unk":false})").encode(text, true);
    EXPECT_EQ(unknown.ids, (Ids{0, 1, 1, 1, 0}));
    EXPECT_EQ(unknown.bytes, (Bytes{{0, 1}, {1, 3}, {3, 5}, {5, 7}, {7, 8}}));
    const auto fused = make(vocabulary + R"("unk_token":"?","fuse_unk":true})").encode(text, true);
    EXPECT_EQ(fused.ids, (Ids{0, 1, 0}));
    EXPECT_EQ(fused.bytes, (Bytes{{0, 1}, {1, 7}, {7, 8}}));
    const auto bytes =
        make(vocabulary + R"("unk_token":"?","fuse_unk":true,"byte_fallback":true})").encode(text, true);
    EXPECT_EQ(bytes.ids, (Ids{0, 2, 3, 1, 0}));
    EXPECT_EQ(bytes.bytes, (Bytes{{0, 1}, {1, 2}, {2, 3}, {3, 7}, {7, 8}}));
}

TEST_F(SmallTokenizers, PostProcessors) {
    const std::string model = R"({"type":"BPE","vocab":{"a":0,"<s>":1,"</s>":2},"merges":[]})";
    const std::string around =
        R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
        {"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"e","type_id":0}}],
        "special_tokens":{"<s>":{"id":"<s>","ids":[1]},"e":{"id":"e","ids":[2,2]}}})";
    const auto encode = [&](const std::string& processor, bool special = true) {
        return make(model, "\"post_processor\":" + processor + ",").encode("aa", special);
    };
    EXPECT_EQ(encode(around).ids, (Ids{1, 0, 0, 2, 2}));
    EXPECT_EQ(encode(around).bytes, (Bytes{{0, 0}, {0, 1}, {1, 2}, {2, 2}, {2, 2}}));
    EXPECT_EQ(encode(around, false).ids, (Ids{0, 0}));
    EXPECT_EQ(encode(R"({"type":"ByteLevel","trim_offsets":true})").ids, (Ids{0, 0}));
    const std::string roberta =
        R"({"type":"RobertaProcessing","sep":["</s>",2],"cls":["<s>",1],"trim_offsets":true})";
    EXPECT_EQ(encode(roberta).ids, (Ids{1, 0, 0, 2}));
    EXPECT_EQ(encode(R"({"type":"Sequence","processors":[{"type":"ByteLevel"},)" + around + "]}").ids,
              (Ids{1, 0, 0, 2, 2}));
    const std::string other = R"({"type":"BertProcessing","sep":["a",0],"cls":["</s>",2]})";
    EXPECT_EQ(encode(R"({"type":"Sequence","processors":[)" + roberta + "," + other + "]}").ids,
              (Ids{2, 1, 0, 0, 2, 0}));
    const auto bad = [&](ErrorKind kind, const std::string& processor, const std::string& name) {
        expect_error(ExitStatus::input, kind, {"tokenizer.json", name}, [&] { encode(processor); });
    };
    bad(ErrorKind::unsupported, R"({"type":"Other"})", "\"Other\"");
    bad(ErrorKind::unsupported, R"({"type":"TemplateProcessing","single":[]})", "single");
    bad(ErrorKind::malformed, R"({"type":"TemplateProcessing","single":"$A"})", "single");
    bad(ErrorKind::missing,
        R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}},{"Sequence":{"id":"A"}}],"special_tokens":{}})",
        "\"x\"");
    bad(ErrorKind::malformed,
        R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}],"special_tokens":{"x":{"ids":[-1]}}})",
        "-1");
    bad(ErrorKind::malformed, R"({"type":"RobertaProcessing","sep":["</s>"],"cls":["<s>",1]})", "sep");
}

TEST_F(SmallTokenizers, RefuseByNameWhatTheyDoNotKnow) {
    const std::string model = R"("model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})";
    refused(ErrorKind::unsupported, R"({"model":{"type":"WordLevel","vocab":{}}})", "\"WordLevel\"");
    refused(ErrorKind::missing, R"({"model":{"type":"WordPiece","vocab":{}}})", "unk_token");
    refused(ErrorKind::missing, R"({"normalizer":{"type":"Precompiled"},)" + model,
            "normalizer \"Precompiled\" has no \"precompiled_charsmap\"");
    refused(ErrorKind::unsupported,
            R"({"normalizer":{"type":"Sequence","normalizers":[{"type":"Nmt"}]},)" + model,
            "normalizer \"Nmt\"");
    refused(ErrorKind::malformed,
            R"({"normalizer":{"type":"Replace","pattern":{"Regex":"a("},"content":"b"},)" + model, "a(");
    refused(ErrorKind::unsupported, R"({"pre_tokenizer":{"type":"UnicodeScripts"},)" + model,
            "pre_tokenizer \"UnicodeScripts\"");
    refused(ErrorKind::missing,
            R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split"}]},)" + model, "Split");
    refused(ErrorKind::unsupported,
            R"({"pre_tokenizer":{"type":"Split","pattern":{"String":"a"},"behavior":"Sideways"},)" + model,
            "Sideways");
    refused(ErrorKind::missing, R"({"pre_tokenizer":{},)" + model, "pre_tokenizer has no \"type\"");
    refused(ErrorKind::malformed,
            R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":"yes"},)" + model, "add_prefix_space");
    refused(ErrorKind::missing, R"({"pre_tokenizer":"ByteLevel",)" + model, "pre_tokenizer");
}

TEST_F(SmallTokenizers, RefuseMalformedModels) {
    const auto bad = [&](ErrorKind kind, const std::string& inside, const std::string& name) {
        refused(kind, R"({"model":{"type":"BPE",)" + inside + "}}", name);
    };
    bad(ErrorKind::missing, R"("vocab":{"a":0},"merges":["a b"])", "merges[0]");
    bad(ErrorKind::malformed, R"("vocab":{"a":0},"merges":["ab"])", "merges[0]");
    bad(ErrorKind::malformed, R"("vocab":{"a":0},"merges":[["a"]])", "merges[0]");
    bad(ErrorKind::malformed, R"("vocab":{"a":0},"merges":[3])", "merges[0]");
    bad(ErrorKind::malformed, R"("vocab":{"a":0},"merges":{})", "merges");
    bad(ErrorKind::missing, R"("vocab":{"a":0})", "merges");
    bad(ErrorKind::missing, R"("merges":[])", "vocab");
    bad(ErrorKind::malformed, R"("vocab":["a"],"merges":[])", "vocab");
    bad(ErrorKind::malformed, R"("vocab":{"a":-1},"merges":[])", "\"a\"");
    bad(ErrorKind::malformed, R"("vocab":{"a":"0"},"merges":[])", "\"a\"");
    bad(ErrorKind::malformed, R"("vocab":{"a":2147483648},"merges":[])", "\"a\"");
    bad(ErrorKind::out_of_range, R"("vocab":{"a":2147480000},"merges":[])", "2147480000");
    bad(ErrorKind::missing, R"("vocab":{"a":0},"merges":[],"unk_token":"<unk>")", "unk_token");
    bad(ErrorKind::unsupported, R"("vocab":{"a":0},"merges":[],"dropout":0.1)", "dropout");
    bad(ErrorKind::malformed, R"("vocab":{"a":0},"merges":[],"byte_fallback":1)", "byte_fallback");
    const std::string model = R"("model":{"type":"BPE","vocab":{"a":0},"merges":[]}})";
    refused(ErrorKind::missing, R"({"added_tokens":[{"id":1}],)" + model, "content");
    refused(ErrorKind::missing, R"({"added_tokens":[{"content":"x"}],)" + model, "\"id\"");
    refused(ErrorKind::malformed, R"({"added_tokens":{},)" + model, "added_tokens");
    refused(ErrorKind::missing, "[]", "model");
    refused(ErrorKind::missing, "{}", "model");
    refused(ErrorKind::malformed, "{", "byte");
    refused(ErrorKind::missing, R"({"model":3})", "model");
    std::string deep;
    for (int i = 0; i < 150; ++i) deep += R"({"type":"Sequence","normalizers":[)";
    refused(ErrorKind::unsupported, "{\"normalizer\":" + deep, "");
    expect_error(ExitStatus::input, ErrorKind::missing, {"absent", "tokenizer.json"}, [&] {
        Tokenizer tokenizer(folder_.path() / "absent" / "tokenizer.json", testing::Unrecorded());
    });
}

}  // namespace
}  // namespace tangram
