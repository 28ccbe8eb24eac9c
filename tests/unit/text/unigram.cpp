#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "support/expect_error.hpp"
#include "support/small_tokenizers.hpp"

namespace tangram {
namespace {

using testing::Bytes;
using testing::expect_error;
using testing::Ids;
using SmallUnigrams = testing::SmallTokenizers;

/// Ids and bytes by Hugging Face's own library (tokenizers 0.22.2 and 0.23.2).
TEST_F(SmallUnigrams, UnigramTakesTheSpellingOfTheLargestSum) {
    const auto unigram = [&](const std::string& vocabulary) {
        return make(R"({"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],)" + vocabulary + "]}");
    };
    const std::string letters = R"(["a",0.0],["b",0.0],["c",0.0],["d",0.0],)";
    const auto sums = unigram(letters + R"(["cd",1.0],["ab",2.0],["abc",5.0],["abcd",10.0])");
    EXPECT_EQ(sums.encode("abcdacdxx", true).ids, (Ids{8, 1, 5, 0}));
    EXPECT_EQ(sums.encode("abcdacdxx", true).bytes, (Bytes{{0, 4}, {4, 5}, {5, 7}, {7, 9}}));
    EXPECT_EQ(sums.encode("abccd", true).ids, (Ids{7, 5}));
    // Of equal sums the longer last token.
    const auto equal = unigram(R"(["a",-1],["b",-1],["c",-1],["ab",-2],["bc",-2])");
    EXPECT_EQ(equal.encode("abc", true).ids, (Ids{1, 5}));
    EXPECT_EQ(equal.encode("ab", true).ids, Ids{4});
    EXPECT_EQ(unigram(R"(["a",-1],["aa",-2])").encode("aaaaa", true).ids, (Ids{1, 2, 2}));
    // Equal as the numbers that are written, and not as Hugging Face's reader of JSON rounds the third.
    const auto rounded =
        unigram(R"(["a",-13.4365234375],["b",-6.67572021484375e-06],["ab",-13.436530113220215])");
    EXPECT_EQ(rounded.encode("ab", true).ids, (Ids{1, 2}));
    const auto exact = unigram(R"(["a",-13.4375],["b",-0.0625],["ab",-13.5])");
    EXPECT_EQ(exact.encode("ab", true).ids, Ids{3});
}

TEST_F(SmallUnigrams, UnknownCharactersOfUnigram) {
    const auto encode = [&](const std::string& vocabulary, const std::string& options,
                            const std::string& text) {
        return make(R"({"type":"Unigram","unk_id":1,)" + options + R"("vocab":[["a",-1],["<unk>",0],)" +
                    vocabulary + "]}")
            .encode(text, true);
    };
    const std::string bytes = R"(["<0xC3>",-9],["<0xA9>",-9],["<0x3C>",-9],["<0xC4>",-9])";
    const std::string text =
        "a\xC3\xA9\xC3\xA9"
        "a\xC3\xBF";
    // Neighbours are one, whatever "fuse_unk" would say.
    const auto fused = encode(bytes, R"("fuse_unk":true,)", text);
    EXPECT_EQ(fused.ids, (Ids{0, 1, 0, 1}));
    EXPECT_EQ(fused.bytes, (Bytes{{0, 1}, {1, 5}, {5, 6}, {6, 8}}));
    const auto fallen = encode(bytes, R"("byte_fallback":true,)", text);
    EXPECT_EQ(fallen.ids, (Ids{0, 2, 3, 2, 3, 0, 1}));
    EXPECT_EQ(fallen.bytes, (Bytes{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 8}}));
    // One character without bytes takes its neighbours with it.
    EXPECT_EQ(encode(bytes, R"("byte_fallback":true,)", "\xC3\xA9\xC3\xBF").ids, Ids{1});
    // The unknown token's own text is unknown too, and with a neighbour no token.
    EXPECT_EQ(encode(bytes, R"("byte_fallback":true,)", "a<unk>").ids, (Ids{0, 1}));
    EXPECT_EQ(encode(bytes, R"("byte_fallback":true,)", "<unk>\xC3\xA9").ids, Ids{1});
    EXPECT_EQ(encode(bytes, "", "\xC3\xA9<unk>\xC3\xA9").bytes, (Bytes{{0, 9}}));
    // 10 below the lowest score: where scores are large, two unknown characters are more than the token that
    // they spell, which they are then all the same.
    const auto large = make(R"({"type":"Unigram","unk_id":0,"vocab":[["<unk>",25],["xy",24]]})");
    EXPECT_EQ(large.encode("xy", true).ids, Ids{1});
    EXPECT_EQ(large.encode("xyx", true).ids, Ids{0});
    // Without an unknown token what no token spells is an error.
    const auto none = make(R"({"type":"Unigram","unk_id":null,"vocab":[["a",-1],["b",-9],["bc",-2]]})");
    EXPECT_EQ(none.unknown(), std::nullopt);
    EXPECT_EQ(none.encode("abca", true).ids, (Ids{0, 2, 0}));
    expect_error(ExitStatus::input, ErrorKind::missing, {"tokenizer.json", "unk_id", "\"c\""},
                 [&] { none.encode("ac", true); });
}

TEST_F(SmallUnigrams, LongWordsOfUnigramAreNotQuadratic) {
    // Hours where each token is compared with each place, or each place with the longest token.
    std::string vocabulary = R"(["<unk>",0])";
    for (std::size_t k = 1; k <= 16; ++k) vocabulary += fmt::format(",[\"{}\",-1]", std::string(k, 'a'));
    vocabulary += ",[\"" + std::string(1 << 20, 'a') + "b\",-1]";
    const Tokenizer tokenizer = make(R"({"type":"Unigram","unk_id":0,"vocab":[)" + vocabulary + "]}");
    EXPECT_EQ(tokenizer.encode(std::string(1 << 20, 'a'), true).ids, Ids(1 << 16, 16));
    EXPECT_EQ(tokenizer.encode(std::string(1 << 20, 'a') + "b", true).ids, Ids{17});
}

TEST_F(SmallUnigrams, RefuseMalformedUnigramModels) {
    const auto bad = [&](ErrorKind kind, const std::string& inside, const std::string& name) {
        refused(kind, R"({"model":{"type":"Unigram",)" + inside + "}}", name);
    };
    bad(ErrorKind::missing, R"("unk_id":0)", "vocab");
    bad(ErrorKind::malformed, R"("vocab":{"a":0})", "vocab");
    bad(ErrorKind::malformed, R"("vocab":[["a",0],["b"]])", "vocab[1]");
    bad(ErrorKind::malformed, R"("vocab":[["a","0"]])", "vocab[0]");
    bad(ErrorKind::malformed, R"("vocab":[["a",null]])", "vocab[0]");
    bad(ErrorKind::malformed, R"("vocab":[[0,0]])", "vocab[0]");
    for (const char* const score : {"NaN", "Infinity", "-Infinity"})
        bad(ErrorKind::out_of_range, fmt::format(R"("vocab":[["a",0],["b",{}]])", score), "vocab[1]");
    bad(ErrorKind::unsupported, R"("vocab":[["a",0],["b",0],["a",1]])", "vocab[2]: \"a\"");
    bad(ErrorKind::malformed, R"("vocab":[["a",0]],"unk_id":-1)", "unk_id");
    bad(ErrorKind::malformed, R"("vocab":[["a",0]],"unk_id":"a")", "unk_id");
    bad(ErrorKind::out_of_range, R"("vocab":[["a",0]],"unk_id":1)", "unk_id");
    bad(ErrorKind::malformed, R"("vocab":[["a",0]],"byte_fallback":1)", "byte_fallback");
    // What would change tokens and is not in Hugging Face's format.
    bad(ErrorKind::unsupported, R"("vocab":[["a",0]],"fuse_unk":false)", "\"fuse_unk\"");
    bad(ErrorKind::unsupported, R"("vocab":[["a",0]],"alpha":0.1)", "\"alpha\"");
    EXPECT_EQ(make(R"({"type":"Unigram","vocab":[["a",0]],"dropout":null})").encode("a", true).ids, Ids{0});
}

/// A charsmap in base64: a double array and its replacements.
std::string charsmap(const std::vector<std::uint32_t>& units, const std::string& replacements) {
    std::string bytes;
    const auto add = [&](std::uint32_t unit) {
        for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(unit >> shift & 0xFF));
    };
    add(static_cast<std::uint32_t>(4 * units.size()));
    for (const std::uint32_t unit : units) add(unit);
    bytes += replacements;
    const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    for (std::size_t b = 0; b < bytes.size(); b += 3) {
        std::uint32_t three = 0;
        for (std::size_t k = 0; k < 3; ++k)
            three = three << 8 | (b + k < bytes.size() ? static_cast<unsigned char>(bytes[b + k]) : 0U);
        for (std::size_t k = 0; k < 4; ++k)
            text.push_back(b + k > bytes.size() ? '=' : digits[three >> (18 - 6 * k) & 63]);
    }
    return text;
}

TEST_F(SmallUnigrams, PrecompiledMapsFromCharacterToCharacter) {
    // Of one entry: the unit of "a" stands at 1 ^ 'a', says "a", that a text ends there, and that its own
    // units are 2 away; the first of those holds where the replacement begins.
    const auto units = [](std::uint32_t at, std::uint32_t away, std::uint32_t value) {
        std::vector<std::uint32_t> all(256, 0xFF);
        all[0] = 1U << 10;
        all[at] = away << 10 | 1U << 8 | 'a';
        if ((at ^ away) < all.size()) all[at ^ away] = 0x80000000U | value;
        return all;
    };
    const auto encode = [&](const std::string& map, const std::string& text) {
        return make(R"({"type":"BPE","vocab":{"a":0,"b":1,"c":2,"x":3},"merges":[]})",
                    R"("normalizer":{"type":"Precompiled","precompiled_charsmap":")" + map + "\"},")
            .encode(text, true);
    };
    const std::string replacements("xx\0bcx\0", 7);
    EXPECT_EQ(encode(charsmap(units(1 ^ 'a', 2, 3), replacements), "bab").ids, (Ids{1, 1, 2, 3, 1}));
    EXPECT_EQ(encode(charsmap(units(1 ^ 'a', 2, 3), replacements), "bab").bytes,
              (Bytes{{0, 1}, {1, 2}, {1, 2}, {1, 2}, {2, 3}}));
    EXPECT_EQ(encode(charsmap(units(1 ^ 'a', 2, 2), replacements), "bab").ids, (Ids{1, 1}));
    EXPECT_EQ(encode(charsmap(units(1 ^ 'a', 2, 7), replacements), "bab").ids, (Ids{1, 1}));
    const auto bad = [&](const std::string& map, const std::string& name, const std::string& text = "a") {
        expect_error(ExitStatus::input, ErrorKind::malformed,
                     {"tokenizer.json", "Precompiled", "precompiled_charsmap", name},
                     [&] { encode(map, text); });
    };
    bad("AAAA!AAA", "base64");
    bad("AAA", "base64");
    bad("AAB=", "base64");
    bad("", "size");
    bad("AAAAAA==", "0 of its 4 bytes");
    bad("CAAAAAAAAAA=", "8 of its 8 bytes");
    bad(charsmap(units(1 ^ 'a', 2, 3), "\xFF"), "UTF-8");
    // Where a text comes there.
    bad(charsmap(units(1 ^ 'a', 1 << 20, 3), replacements), "outside its array");
    EXPECT_EQ(encode(charsmap(units(1 ^ 'a', 1 << 20, 3), replacements), "b").ids, Ids{1});
    bad(charsmap(units(1 ^ 'a', 2, 8), replacements), "outside its replacements");
    bad(charsmap(units(1 ^ 'a', 2, 1), "\xC3\xA9"), "outside its replacements");
}

}  // namespace
}  // namespace tangram
