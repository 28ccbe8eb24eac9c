#include "tokenizer_settings.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <map>
#include <optional>

#include "tangram/error.hpp"
#include "tangram/files/json.hpp"
#include "tangram/index.hpp"

namespace tangram {

namespace {

using nlohmann::json;

constexpr const char* agree =
    "make both files agree, or take the tokenizer as it was published (transformers' save_pretrained writes "
    "them so)";

/// Keys that change no token of one text: lengths and padding, decoding, chat templates, names and places,
/// what only transformers' slow tokenizers read.
constexpr std::array harmless{"additional_chat_templates",
                              "backend",
                              "boi_token",
                              "chat_template",
                              "clean_up_tokenization_spaces",
                              "device_map",
                              "do_basic_tokenize",
                              "eoi_token",
                              "errors",
                              "full_tokenizer_file",
                              "image_token",
                              "is_local",
                              "legacy",
                              "local_files_only",
                              "max_len",
                              "max_length",
                              "model_input_names",
                              "model_max_length",
                              "model_specific_special_tokens",
                              "name_or_path",
                              "never_split",
                              "pad_to_multiple_of",
                              "pad_token_type_id",
                              "padding",
                              "padding_side",
                              "processor_class",
                              "response_schema",
                              "return_tensors",
                              "return_token_type_ids",
                              "sp_model_kwargs",
                              "spaces_between_special_tokens",
                              "special_tokens_map_file",
                              "stride",
                              "tokenizer_file",
                              "trim_offsets",
                              "truncation",
                              "truncation_side",
                              "truncation_strategy",
                              "unk_id",
                              "use_default_system_prompt",
                              "use_fast",
                              "vocab_file",
                              "merges_file",
                              "vocab_size",
                              "wordpieces_prefix",
                              "transformers_version"};

/// In the order in which transformers adds them where tokenizer.json lacks them.
constexpr std::array special_tokens{"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};

/// Classes of the tokenizers that this program reads, without "Fast", and the model of each.
const std::map<std::string, std::string> classes{
    {"BertTokenizer", "WordPiece"},    {"DistilBertTokenizer", "WordPiece"},
    {"GemmaTokenizer", "BPE"},         {"GPT2Tokenizer", "BPE"},
    {"GPTNeoXTokenizer", "BPE"},       {"LlamaTokenizer", "BPE"},
    {"Qwen2Tokenizer", "BPE"},         {"RobertaTokenizer", "BPE"},
    {"CodeGenTokenizer", "BPE"},       {"CodeLlamaTokenizer", "BPE"},
    {"ElectraTokenizer", "WordPiece"}, {"XLMRobertaTokenizer", "Unigram"},
    {"CamembertTokenizer", "Unigram"}, {"PreTrainedTokenizer", ""},
    {"TokenizersBackend", ""}};

/// Classes whose fast tokenizers transformers 4 gives what stands around a text anew, from add_bos_token
/// (true where it is not set), add_eos_token (false) and the tokens' names, whatever tokenizer.json says:
/// update_post_processor of models/llama/tokenization_llama_fast.py, which the others copy. transformers 5
/// goes by tokenizer.json where there is one (tokenization_utils_base.py takes both keys off).
constexpr std::array made_anew{"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"};

json read_object(const std::filesystem::path& file, FilesRead& files) {
    std::error_code code;
    if (!std::filesystem::exists(file, code)) return json::object();
    json values = read_json(file, files);
    if (!values.is_object())
        throw Error(
            ExitStatus::input, ErrorKind::malformed,
            fmt::format("{}: not a JSON object; take the model's folder as it was published", file.string()));
    return values;
}

/// The text of a token that is written as a text or as an object; empty where it is neither.
std::string content(const json& token) {
    if (token.is_string()) return token.get<std::string>();
    if (token.is_object() && token.contains("content") && token["content"].is_string())
        return token["content"].get<std::string>();
    return "";
}

bool is_set(const json& object, const char* key, bool otherwise = false) {
    const auto found = object.find(key);
    return found != object.end() && found->is_boolean() ? found->get<bool>() : otherwise;
}

/// Calls visit(part) with a normalizer or pre_tokenizer and, of a Sequence, with what it holds.
void for_parts(const json& part, const char* list, const std::function<void(const json&)>& visit) {
    if (!part.is_object()) return;
    visit(part);
    if (part.contains(list) && part[list].is_array())
        for (const json& inner : part[list]) for_parts(inner, list, visit);
}

std::string type_of(const json& part) {
    return part.is_object() && part.contains("type") && part["type"].is_string()
               ? part["type"].get<std::string>()
               : std::string();
}

const json& part_of(const json& tokenizer, const char* key) {
    static const json none;
    const auto found = tokenizer.find(key);
    return found == tokenizer.end() ? none : *found;
}

}  // namespace

TokenizerSettings::TokenizerSettings(const std::filesystem::path& file, const json& tokenizer,
                                     FilesRead& files)
    : file_((file.parent_path() / "tokenizer_config.json").string()),
      tokenizer_(tokenizer),
      config_(read_object(file.parent_path() / "tokenizer_config.json", files)),
      special_(read_object(file.parent_path() / "special_tokens_map.json", files)),
      added_(read_object(file.parent_path() / "added_tokens.json", files)) {
    const json& tokens = part_of(tokenizer_, "added_tokens");
    if (tokens.is_array())
        for (const json& token : tokens) known_.emplace(content(token), &token);
}

const json* TokenizerSettings::ask(const std::string& key) {
    asked_.insert(key);
    const auto found = config_.find(key);
    return found == config_.end() ? nullptr : &*found;
}

std::optional<bool> TokenizerSettings::flag(const std::string& key) {
    const json* const value = ask(key);
    if (value == nullptr || value->is_null()) return std::nullopt;
    if (!value->is_boolean())
        throw Error(ExitStatus::input, ErrorKind::malformed,
                    fmt::format("{}: {} = {} is neither true nor false", file_, key, value->dump()));
    return value->get<bool>();
}

/// @param there  what the key would have to be for tokenizer.json; @param does  what tokenizer.json does
void TokenizerSettings::compare(const std::string& key, bool there, const std::string& does) {
    const std::optional<bool> value = flag(key);
    if (value && *value != there)
        throw Error(ExitStatus::input, ErrorKind::contradiction,
                    fmt::format("{}: {} = {}, but tokenizer.json {}; {}", file_, key, *value, does, agree));
}

std::string TokenizerSettings::special(const char* key) {
    const json* const value = ask(key);
    const std::string named = value == nullptr ? "" : content(*value);
    return named.empty() && special_.contains(key) ? content(special_[key]) : named;
}

void TokenizerSettings::add(const json& token, std::vector<json>& more) {
    const std::string text = content(token);
    if (text.empty()) return;
    const auto [known, is_new] = known_.emplace(text, nullptr);
    if (!is_new) {
        if (known->second == nullptr || !token.is_object()) return;
        const json& there = *known->second;
        const bool special = is_set(there, "special");
        for (const char* const key : {"single_word", "lstrip", "rstrip", "normalized"}) {
            // Of a special token transformers keeps tokenizer.json's "normalized".
            const bool normalized = std::string_view(key) == "normalized";
            if (normalized && (special || !token.contains(key))) continue;
            const bool does = is_set(there, key, normalized);
            if (is_set(token, key) != does)
                throw Error(ExitStatus::input, ErrorKind::contradiction,
                            fmt::format("{}: {} of the token \"{}\" is {}, in tokenizer.json {}; {}", file_,
                                        key, text, is_set(token, key), does, agree));
        }
        return;
    }
    json entry = token.is_object() ? token : json{{"content", text}, {"special", true}};
    entry.erase("id");
    if (!token.is_object()) entry["normalized"] = false;
    more.push_back(std::move(entry));
}

std::vector<json> TokenizerSettings::more_tokens() {
    std::vector<json> more;
    // By id, which says their order and nothing else.
    std::map<Index, json> by_id;
    const json* const decoder = ask("added_tokens_decoder");
    if (decoder != nullptr && decoder->is_object()) {
        for (const auto& [key, token] : decoder->items()) {
            Index id = -1;
            const char* const end = key.data() + key.size();
            if (const auto [stop, error] = std::from_chars(key.data(), end, id);
                error != std::errc() || stop != end || id < 0)
                throw Error(ExitStatus::input, ErrorKind::malformed,
                            fmt::format("{}: added_tokens_decoder: \"{}\" is not a token id", file_, key));
            by_id.emplace(id, token);
        }
    } else {
        for (const auto& [text, id] : added_.items()) {
            if (!id.is_number_integer()) continue;
            bool special = false;
            for (const char* const key : special_tokens)
                if (this->special(key) == text) special = true;
            by_id.emplace(id.get<Index>(),
                          json{{"content", text}, {"special", special}, {"normalized", !special}});
        }
    }
    for (const auto& [id, token] : by_id) add(token, more);
    const bool map_counts = decoder == nullptr;
    for (const char* const key : special_tokens) {
        const json* const named = ask(key);
        if (named != nullptr && !content(*named).empty())
            add(*named, more);
        else if (map_counts && special_.contains(key))
            add(special_[key], more);
    }
    for (const char* const key : {"additional_special_tokens", "extra_special_tokens"}) {
        const json* list = ask(key);
        if ((list == nullptr || list->is_null()) && map_counts && special_.contains(key))
            list = &special_[key];
        if (list != nullptr && list->is_structured())
            for (const json& token : *list) add(token, more);
    }
    if (!more.empty()) {
        std::vector<std::string> names;
        for (const json& token : more) names.push_back(content(token));
        warnings_.push_back(
            fmt::format("{}: tokenizer.json lacks the tokens {} that are named there; they are "
                        "added behind its own, as transformers does",
                        file_, names));
    }
    return more;
}

/// Of tokenizer_config.json, without "Fast"; empty: not named.
std::string TokenizerSettings::class_name() {
    const json* const value = ask("tokenizer_class");
    std::string name = value != nullptr && value->is_string() ? value->get<std::string>() : "";
    if (name.ends_with("Fast")) name.resize(name.size() - 4);
    return name;
}

/// Whether a key that is set decides what stands around a text, as in transformers 4; warns where its
/// versions differ. @param around  out: what stands there
bool TokenizerSettings::goes_by_the_key(const char* key, const char* token, std::vector<std::string>& around,
                                        const std::string& where) {
    if (std::ranges::find(made_anew, class_name()) == made_anew.end()) return false;
    const std::string named = special(token);
    if (named.empty()) return false;
    const std::optional<bool> value = flag(key);
    std::vector<std::string> anew;
    // null is no more than false there.
    if (value.value_or(std::string_view(key) == "add_bos_token" && ask(key) == nullptr))
        anew.push_back(named);
    if (anew == around) return true;
    const auto put = [](const std::vector<std::string>& tokens) {
        return tokens.empty() ? "nothing" : fmt::format("\"{}\"", fmt::join(tokens, "\", \""));
    };
    if (value)
        warnings_.push_back(fmt::format(
            "{}: {} = {} counts: {} stands {} every text, as transformers 4 has it for this tokenizer_class; "
            "tokenizer.json, by which transformers 5 goes, puts {} there",
            file_, key, *value, put(anew), where, put(around)));
    else
        warnings_.push_back(
            fmt::format("{}: has no {}; {} stands {} every text, as tokenizer.json and transformers 5 have "
                        "it; transformers 4 puts {} there for this tokenizer_class",
                        file_, key, put(around), where, put(anew)));
    if (value) around = std::move(anew);
    return true;
}

void TokenizerSettings::check_around(const char* key, const char* token, const char* else_token,
                                     std::vector<std::string>& around, const std::string& where) {
    if (goes_by_the_key(key, token, around, where)) return;
    std::string named = special(token);
    // Without a name: what stands there, unless it has another part.
    const std::string outer = around.empty() ? "" : where == "before" ? around.front() : around.back();
    if (named.empty() && outer != special(else_token)) named = outer;
    const bool there = !named.empty() && std::ranges::find(around, named) != around.end();
    compare(key, there,
            fmt::format("puts {} {} a text",
                        there           ? fmt::format("\"{}\"", named)
                        : named.empty() ? "no such token"
                                        : fmt::format("no \"{}\"", named),
                        where));
}

void TokenizerSettings::check_prefix_space() {
    bool matters = false, prefixes = false;
    for_parts(part_of(tokenizer_, "pre_tokenizer"), "pretokenizers", [&](const json& part) {
        const std::string type = type_of(part);
        if (type != "ByteLevel" && type != "Metaspace") return;
        matters = true;
        const bool never = type == "Metaspace" && part.contains("prepend_scheme")
                               ? part["prepend_scheme"] == "never"
                               : !is_set(part, "add_prefix_space", true);
        if (!never) prefixes = true;
    });
    for_parts(part_of(tokenizer_, "normalizer"), "normalizers", [&](const json& part) {
        if (type_of(part) == "Prepend") matters = prefixes = true;
    });
    if (matters)
        compare("add_prefix_space", prefixes,
                prefixes ? "puts a blank before a text" : "puts none before a text");
    const json* const value = ask("add_prefix_space");
    if (value == nullptr && prefixes && !config_.empty() &&
        type_of(part_of(tokenizer_, "pre_tokenizer")) == "ByteLevel")
        warnings_.push_back(fmt::format(
            "{}: has no add_prefix_space; a blank is put before every text, as tokenizer.json says, which "
            "transformers 4.46 to 4.57 do not",
            file_));
}

void TokenizerSettings::check_bert(const json& normalizer) {
    const bool lower = is_set(normalizer, "lowercase", true);
    const bool strips = is_set(normalizer, "strip_accents", lower);
    const bool chinese = is_set(normalizer, "handle_chinese_chars", true);
    compare("do_lower_case", lower, lower ? "writes letters small" : "keeps capital letters");
    compare("tokenize_chinese_chars", chinese,
            chinese ? "sets blanks around Chinese characters" : "sets no blanks around Chinese characters");
    const json* const accents = ask("strip_accents");
    if (accents != nullptr && accents->is_null() && strips != lower)
        throw Error(ExitStatus::input, ErrorKind::contradiction,
                    fmt::format("{}: strip_accents = null, which is do_lower_case, but tokenizer.json {}; {}",
                                file_, strips ? "takes accents off" : "keeps accents", agree));
    compare("strip_accents", strips, strips ? "takes accents off" : "keeps accents");
    if (config_.empty()) return;
    std::vector<std::string> unsaid;
    if (!lower && !config_.contains("do_lower_case")) unsaid.emplace_back("do_lower_case");
    if (!chinese && !config_.contains("tokenize_chinese_chars"))
        unsaid.emplace_back("tokenize_chinese_chars");
    if (strips != lower && !config_.contains("strip_accents")) unsaid.emplace_back("strip_accents");
    if (!unsaid.empty())
        warnings_.push_back(fmt::format(
            "{}: has no {}; tokenizer.json's setting counts, transformers 4 takes the default of its class",
            file_, fmt::join(unsaid, ", ")));
}

/// What transformers' fast tokenizers of other models than BERT do not heed.
void TokenizerSettings::check_case() {
    bool lower = false, strips = false;
    for_parts(part_of(tokenizer_, "normalizer"), "normalizers", [&](const json& part) {
        const std::string type = type_of(part);
        const bool bert = type == "BertNormalizer";
        const bool small = bert && is_set(part, "lowercase", true);
        lower = lower || small || type == "Lowercase";
        strips = strips || type == "StripAccents" || (bert && is_set(part, "strip_accents", small));
    });
    ask("tokenize_chinese_chars");
    for (const auto& [key, there] : {std::pair("do_lower_case", lower), {"strip_accents", strips}})
        if (const std::optional<bool> value = flag(key); value && *value != there)
            warnings_.push_back(fmt::format(
                "{}: {} = {} is not heeded, nor by transformers' fast tokenizers: tokenizer.json counts",
                file_, key, *value));
}

void TokenizerSettings::check_class(const std::string& model_type) {
    const json* const value = ask("tokenizer_class");
    const std::string name = class_name();
    if (name.empty()) return;
    const auto known = classes.find(name);
    if (known == classes.end()) {
        warnings_.push_back(fmt::format("{}: tokenizer_class = {} is not known; tokenizer.json counts", file_,
                                        value->dump()));
        return;
    }
    if (!known->second.empty() && known->second != model_type)
        throw Error(ExitStatus::input, ErrorKind::contradiction,
                    fmt::format("{}: tokenizer_class = {}, but the model of tokenizer.json is {}; {}", file_,
                                value->dump(), model_type, agree));
}

void TokenizerSettings::warn_of_unread() {
    std::vector<std::string> unread;
    for (const auto& [key, value] : config_.items())
        if (!asked_.contains(key) && std::ranges::find(harmless, key) == harmless.end() && !value.is_null())
            unread.push_back(key);
    if (!unread.empty())
        warnings_.push_back(fmt::format("{}: nothing reads {}", file_, fmt::join(unread, ", ")));
}

void TokenizerSettings::check(std::vector<std::string>& before, std::vector<std::string>& behind,
                              const std::string& model_type) {
    check_around("add_bos_token", "bos_token", "cls_token", before, "before");
    check_around("add_eos_token", "eos_token", "sep_token", behind, "behind");
    check_prefix_space();
    const json& normalizer = part_of(tokenizer_, "normalizer");
    if (type_of(normalizer) == "BertNormalizer")
        check_bert(normalizer);
    else
        check_case();
    check_class(model_type);
    if (flag("split_special_tokens").value_or(false))
        throw Error(
            ExitStatus::input, ErrorKind::unsupported,
            fmt::format("{}: split_special_tokens = true is not supported; special tokens in a text are "
                        "kept whole",
                        file_));
    warn_of_unread();
}

}  // namespace tangram
