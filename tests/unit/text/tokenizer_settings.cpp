#include <fmt/core.h>
#include <gtest/gtest.h>

#include "support/expect_error.hpp"
#include "support/temporary_folder.hpp"
#include "support/unrecorded.hpp"
#include "tangram/files/json.hpp"
#include "tangram/text/tokenizer.hpp"

namespace tangram {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;
using Ids = std::vector<std::int32_t>;

/// A tokenizer.json with other files beside it.
class TokenizerFolders : public ::testing::Test {
  protected:
    /// @param parts  of tokenizer.json beside its model
    Tokenizer make(const nlohmann::json& parts, const nlohmann::json& config,
                   const std::string& name = "tokenizer_config.json") {
        nlohmann::json all = parts;
        if (!all.contains("model"))
            all["model"] = {{"type", "BPE"},
                            {"vocab", {{"<s>", 0}, {"</s>", 1}, {"a", 2}, {" ", 3}}},
                            {"merges", nlohmann::json::array()}};
        folder_.write("tokenizer.json", all.dump());
        folder_.write(name, config.dump());
        return Tokenizer(folder_.path(), testing::Unrecorded());
    }
    Ids ids(const nlohmann::json& parts, const nlohmann::json& config, const std::string& text) {
        return make(parts, config).encode(text, true).ids;
    }
    void refused(const nlohmann::json& parts, const nlohmann::json& config, const std::string& word,
                 ErrorKind kind = ErrorKind::contradiction) {
        expect_error(ExitStatus::input, kind, {"tokenizer_config.json", word}, [&] { make(parts, config); });
    }
    void warns(const nlohmann::json& parts, const nlohmann::json& config, const std::string& word) {
        const Tokenizer tokenizer = make(parts, config);
        ASSERT_EQ(tokenizer.warnings().size(), word.empty() ? 0u : 1u) << config;
        if (word.empty()) return;
        EXPECT_NE(tokenizer.warnings()[0].find("tokenizer_config.json"), std::string::npos);
        EXPECT_NE(tokenizer.warnings()[0].find(word), std::string::npos) << tokenizer.warnings()[0];
    }

    const nlohmann::json plain_ = nlohmann::json::object();
    const nlohmann::json around_ = {
        {"post_processor",
         {{"type", "TemplateProcessing"},
          {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
          {"special_tokens", {{"<s>", {{"ids", {0}}}}}}}},
        {"added_tokens",
         {{{"id", 0}, {"content", "<s>"}, {"special", true}},
          {{"id", 1}, {"content", "</s>"}, {"special", true}}}}};
    const nlohmann::json names_ = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
    nlohmann::json named(const std::string& key, const nlohmann::json& value) const {
        nlohmann::json all = names_;
        all[key] = value;
        return all;
    }
    TemporaryFolder folder_;
};

TEST_F(TokenizerFolders, TokensAroundATextAreWhatTokenizerJsonPutsThere) {
    EXPECT_EQ(ids(around_, named("add_bos_token", true), "a"), (Ids{0, 2}));
    EXPECT_EQ(ids(around_, named("add_eos_token", false), "a"), (Ids{0, 2}));
    EXPECT_EQ(ids(around_, named("add_bos_token", nullptr), "a"), (Ids{0, 2}));
    refused(around_, named("add_bos_token", false), "add_bos_token");
    refused(around_, named("add_eos_token", true), "add_eos_token");
    refused(around_, {{"add_bos_token", false}}, "add_bos_token");
    refused(around_, {{"add_bos_token", true}, {"bos_token", "</s>"}}, "add_bos_token");
    refused(plain_, {{"add_bos_token", true}}, "add_bos_token");
    refused(around_, named("add_bos_token", 1), "add_bos_token", ErrorKind::malformed);
    // A [CLS] is no beginning of a sequence.
    nlohmann::json bert = around_;
    bert["model"] = {
        {"type", "BPE"}, {"vocab", {{"<s>", 0}, {"</s>", 1}, {"a", 2}}}, {"merges", nlohmann::json::array()}};
    EXPECT_EQ(ids(bert, {{"cls_token", "<s>"}, {"add_bos_token", false}}, "a"), (Ids{0, 2}));
}

TEST_F(TokenizerFolders, OfLlamasClassesTheKeysSayWhatStandsAroundAText) {
    nlohmann::json both = around_;
    both["post_processor"] = {{"type", "RobertaProcessing"}, {"cls", {"<s>", 0}}, {"sep", {"</s>", 1}}};
    nlohmann::json none = around_;
    none.erase("post_processor");
    for (const char* const name :
         {"LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "GemmaTokenizer"}) {
        const auto expect = [&](const nlohmann::json& parts, const nlohmann::json& keys, const Ids& expected,
                                const std::string& word) {
            nlohmann::json config = named("tokenizer_class", name);
            config.update(keys);
            EXPECT_EQ(ids(parts, config, "a"), expected) << config;
            warns(parts, config, word);
        };
        // What agrees, and what transformers 5 would do otherwise.
        expect(around_, {{"add_bos_token", true}, {"add_eos_token", false}}, {0, 2}, "");
        expect(none, {{"add_bos_token", true}}, {0, 2}, "add_bos_token = true");
        expect(around_, {{"add_bos_token", false}}, {2}, "add_bos_token = false");
        expect(around_, {{"add_eos_token", true}}, {0, 2, 1}, "add_eos_token = true");
        expect(both, {{"add_eos_token", false}}, {0, 2}, "add_eos_token = false");
        // Without the keys transformers 4 puts the first alone.
        expect(around_, plain_, {0, 2}, "");
        expect(none, plain_, {2}, "no add_bos_token");
        expect(both, plain_, {0, 2, 1}, "no add_eos_token");
        refused(none, {{"tokenizer_class", name}, {"add_bos_token", true}}, "add_bos_token");
    }
    warns(none, named("tokenizer_class", "PreTrainedTokenizerFast"), "");
    // A token that only an older file names is none of this tokenizer's.
    make(none, {{"bos_token", "<new>"}}, "special_tokens_map.json");
    expect_error(ExitStatus::input, ErrorKind::missing, {"tokenizer.json", "\"<new>\""}, [&] {
        make(none, {{"tokenizer_class", "LlamaTokenizer"},
                    {"add_bos_token", true},
                    {"added_tokens_decoder", plain_}});
    });
}

TEST_F(TokenizerFolders, ABlankBeforeATextIsWhatTokenizerJsonPutsThere) {
    const auto bytes = [](bool prefix) {
        return nlohmann::json{{"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", prefix}}}};
    };
    warns(bytes(true), {{"add_prefix_space", true}}, "");
    warns(bytes(false), {{"add_prefix_space", false}}, "");
    warns(bytes(false), plain_, "");
    warns(bytes(true), {{"model_max_length", 5}}, "add_prefix_space");
    refused(bytes(true), {{"add_prefix_space", false}}, "add_prefix_space");
    refused(bytes(false), {{"add_prefix_space", true}}, "add_prefix_space");
    refused({{"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {bytes(false)["pre_tokenizer"]}}}}},
            {{"add_prefix_space", true}}, "add_prefix_space");
    refused({{"normalizer", {{"type", "Prepend"}, {"prepend", "_"}}}}, {{"add_prefix_space", false}},
            "add_prefix_space");
    const auto marks = [](const std::string& scheme) {
        return nlohmann::json{
            {"pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", scheme}}}};
    };
    warns(marks("first"), {{"add_prefix_space", true}}, "");
    refused(marks("never"), {{"add_prefix_space", true}}, "add_prefix_space");
    // Neither knows such a blank.
    warns(plain_, {{"add_prefix_space", true}}, "");
}

TEST_F(TokenizerFolders, BertsNormalizerIsWhatTokenizerJsonSays) {
    const auto bert = [](const nlohmann::json& options) {
        nlohmann::json normalizer = options;
        normalizer["type"] = "BertNormalizer";
        return nlohmann::json{{"normalizer", normalizer}};
    };
    const nlohmann::json usual = {
        {"do_lower_case", true}, {"strip_accents", nullptr}, {"tokenize_chinese_chars", true}};
    warns(bert({{"lowercase", true}}), usual, "");
    for (const char* const key : {"do_lower_case", "strip_accents", "tokenize_chinese_chars"})
        refused(bert({{"lowercase", true}}), {{key, false}}, key);
    refused(bert({{"lowercase", false}}), {{"do_lower_case", true}}, "do_lower_case");
    refused(bert({{"lowercase", false}, {"strip_accents", true}}),
            {{"do_lower_case", false}, {"strip_accents", nullptr}}, "strip_accents");
    refused(bert({{"handle_chinese_chars", false}}), {{"tokenize_chinese_chars", true}},
            "tokenize_chinese_chars");
    warns(bert({{"lowercase", false}}), {{"do_lower_case", false}}, "");
    warns(bert({{"lowercase", false}}), {{"model_max_length", 5}}, "do_lower_case");
    // Of other models transformers' fast tokenizers do not heed it.
    warns(plain_, {{"do_lower_case", false}}, "");
    warns(plain_, {{"do_lower_case", true}}, "do_lower_case");
}

TEST_F(TokenizerFolders, TokensThatTokenizerJsonLacksAreAddedBehindItsOwn) {
    const nlohmann::json decoder = {{"10", {{"content", "<y>"}, {"special", false}, {"normalized", true}}},
                                    {"9", {{"content", "<x>"}, {"rstrip", true}, {"special", true}}}};
    const nlohmann::json config = {
        {"added_tokens_decoder", decoder}, {"pad_token", "<p>"}, {"bos_token", "<s>"}};
    const Tokenizer tokenizer = make(around_, config);
    EXPECT_EQ(tokenizer.encode("<x> a<y><p>", true).ids, (Ids{0, 4, 2, 5, 6}));
    ASSERT_EQ(tokenizer.warnings().size(), 1u);
    for (const char* const token : {"<x>", "<y>", "<p>"})
        EXPECT_NE(tokenizer.warnings()[0].find(token), std::string::npos) << tokenizer.warnings()[0];
    EXPECT_EQ(tokenizer.warnings()[0].find("<s>"), std::string::npos);
    // One that is there with other flags.
    for (const char* const flag : {"lstrip", "rstrip", "single_word"}) {
        refused(around_,
                {{"added_tokens_decoder", {{"0", {{"content", "<s>"}, {flag, true}, {"special", true}}}}}},
                flag);
        refused(around_, {{"bos_token", {{"content", "<s>"}, {flag, true}}}}, flag);
    }
    // Of a special one transformers keeps tokenizer.json's.
    warns(around_,
          {{"added_tokens_decoder", {{"0", {{"content", "<s>"}, {"normalized", true}, {"special", true}}}}}},
          "");
    refused(around_, {{"added_tokens_decoder", {{"x", {{"content", "<s>"}}}}}}, "\"x\"",
            ErrorKind::malformed);
}

TEST_F(TokenizerFolders, OlderFilesNameTokensToo) {
    make(around_, {{"<x>", 9}}, "added_tokens.json");
    EXPECT_EQ(make(around_, {{"mask_token", "<m>"}}, "special_tokens_map.json").encode("<x>a<m>", true).ids,
              (Ids{0, 4, 2, 5}));
    // Not where the newer key is.
    EXPECT_EQ(make(around_, {{"added_tokens_decoder", plain_}}).encode("<x>", true).ids, Ids{0});
    expect_error(ExitStatus::input, ErrorKind::malformed, {"special_tokens_map.json"},
                 [&] { make(around_, nlohmann::json::array(), "special_tokens_map.json"); });
}

TEST_F(TokenizerFolders, KeysThatNothingReadsAreSaidOnce) {
    warns(plain_,
          {{"model_max_length", 5},
           {"clean_up_tokenization_spaces", true},
           {"chat_template", "x"},
           {"new", nullptr}},
          "");
    warns(plain_, {{"new_key", 1}, {"newer_key", "x"}}, "new_key, newer_key");
    refused(plain_, {{"split_special_tokens", true}}, "split_special_tokens", ErrorKind::unsupported);
    warns(plain_, {{"split_special_tokens", false}}, "");
    warns(plain_, {{"tokenizer_class", "LlamaTokenizerFast"}}, "");
    warns(plain_, {{"tokenizer_class", "CodeGenTokenizer"}}, "");  // phi-2's
    warns(plain_, {{"tokenizer_class", "OddTokenizer"}}, "OddTokenizer");
    refused(plain_, {{"tokenizer_class", "ElectraTokenizer"}}, "tokenizer_class");
    refused(plain_, {{"tokenizer_class", "BertTokenizer"}}, "tokenizer_class");
    const nlohmann::json unigram =
        nlohmann::json::parse(R"({"model": {"type": "Unigram", "vocab": [["a", -1]]}})");
    for (const char* const name : {"XLMRobertaTokenizer", "CamembertTokenizerFast"}) {
        warns(unigram, {{"tokenizer_class", name}}, "");
        refused(plain_, {{"tokenizer_class", name}}, "tokenizer_class");
    }
    refused(unigram, {{"tokenizer_class", "RobertaTokenizer"}}, "tokenizer_class");
}

TEST_F(TokenizerFolders, OlderFilesLeaveTheModelsTypeOut) {
    const auto model = [](const char* json) {
        return nlohmann::json{{"model", nlohmann::json::parse(json)}};
    };
    const nlohmann::json bpe = model(R"({"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"],
                                         "continuing_subword_prefix": "", "unk_token": null})"),
                         word_piece = model(R"({"vocab": {"[UNK]": 0, "a": 1, "##b": 2}, "unk_token": "[UNK]",
                                                "continuing_subword_prefix": "##",
                                                "max_input_chars_per_word": 100})"),
                         unigram = model(R"({"vocab": [["<unk>", 0], ["ab", -1]], "unk_id": 0})");
    EXPECT_EQ(ids(bpe, {{"tokenizer_class", "GPT2Tokenizer"}}, "ab"), Ids{2});
    EXPECT_EQ(ids(word_piece, {{"tokenizer_class", "DistilBertTokenizer"}}, "ab"), (Ids{1, 2}));
    EXPECT_EQ(ids(unigram, {{"tokenizer_class", "XLMRobertaTokenizer"}}, "ab"), Ids{1});
    EXPECT_EQ(ids(model(R"({"vocab": [["a", -1], ["b", -1], ["ab", -1]]})"), plain_, "ab"), Ids{2});
    refused(word_piece, {{"tokenizer_class", "GPT2Tokenizer"}}, "WordPiece");
    expect_error(ExitStatus::input, ErrorKind::missing, {"tokenizer.json", "\"type\""},
                 [&] { make(model(R"({"vocab": {"[UNK]": 0}, "unk_token": "[UNK]"})"), plain_); });
}

TEST_F(TokenizerFolders, LongListsOfTokensAreNotQuadratic) {
    nlohmann::json parts = plain_, config = plain_;
    for (int t = 0; t < 100'000; ++t) {
        parts["added_tokens"].push_back({{"id", t + 4}, {"content", fmt::format("t{}", t)}});
        config["added_tokens_decoder"][std::to_string(t)] = {{"content", fmt::format("u{}", t)}};
    }
    EXPECT_EQ(make(parts, config).vocabulary_size(), 200'004);
}

}  // namespace
}  // namespace tangram
