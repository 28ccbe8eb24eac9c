#include "tangram/text/tokenizer.hpp"

#include <fmt/format.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <array>

#include "bpe.hpp"
#include "byte_level.hpp"
#include "tangram/error.hpp"
#include "tangram/files/json.hpp"
#include "utf8.hpp"

namespace tangram {

namespace {

using nlohmann::json;

/// A token that is cut out of the text before anything else.
struct AddedToken {
    std::string content;
    std::int32_t id;
    bool single_word, lstrip, rstrip;
};

/// A character of the normalised text with the input bytes it came from.
struct NormalizedCharacter {
    std::string text;
    Index first, last;
};

struct Prepend {
    std::string text;
};
struct Replace {
    std::string pattern, content;
};

bool is_word_character(UChar32 c) {
    return u_isalnum(c) || c == '_' || (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_PC_MASK)) != 0;
}

}  // namespace

struct Tokenizer::State {
    std::string file;
    std::vector<AddedToken> added;
    std::vector<std::pair<std::optional<Prepend>, std::optional<Replace>>> normalizers;  // exactly one of each pair
    bool byte_level = false, add_prefix_space = false;
    std::optional<Bpe> bpe;
    std::vector<std::int32_t> prefix, suffix;  // what the post-processor puts around the sequence
    std::vector<std::string> tokens;           // by id
    std::array<std::string, 256> stand_ins;

    [[noreturn]] void refuse(const std::string& problem) const {
        throw Error(ExitStatus::input, fmt::format("{}: {}", file, problem));
    }
    std::string type_of(const json& part, const char* what) const {
        if (!part.is_object() || !part.contains("type") || !part["type"].is_string())
            refuse(fmt::format("{} has no type", what));
        return part["type"].get<std::string>();
    }
    std::string text_of(const json& part, const char* key, const char* what) const {
        if (!part.contains(key) || !part[key].is_string()) refuse(fmt::format("{} has no \"{}\"", what, key));
        return part[key].get<std::string>();
    }

    void read_normalizer(const json& part) {
        if (part.is_null()) return;
        const std::string type = type_of(part, "normalizer");
        if (type == "Sequence" && part.contains("normalizers") && part["normalizers"].is_array()) {
            for (const json& inner : part["normalizers"]) read_normalizer(inner);
        } else if (type == "Prepend") {
            normalizers.emplace_back(Prepend{text_of(part, "prepend", "normalizer Prepend")}, std::nullopt);
        } else if (type == "Replace" && part.contains("pattern") && part["pattern"].is_object() &&
                   part["pattern"].contains("String")) {
            const Replace replace{text_of(part["pattern"], "String", "normalizer Replace"),
                                  text_of(part, "content", "normalizer Replace")};
            const auto one_character = [](const std::string& text) {
                Index i = 0;
                if (!text.empty()) next_code_point(text, i);
                return i > 0 && i == std::ssize(text);
            };
            if (!one_character(replace.pattern) || !one_character(replace.content))
                refuse("normalizer Replace is supported from one character to one character");
            normalizers.emplace_back(std::nullopt, replace);
        } else {
            refuse(fmt::format("normalizer \"{}\" is not supported", type));
        }
    }

    void read_pre_tokenizer(const json& part) {
        if (part.is_null()) return;
        const std::string type = type_of(part, "pre_tokenizer");
        if (type != "ByteLevel") refuse(fmt::format("pre_tokenizer \"{}\" is not supported", type));
        if (part.contains("use_regex") && part["use_regex"] == false)
            refuse("pre_tokenizer ByteLevel with use_regex = false is not supported");
        byte_level = true;
        add_prefix_space = part.value("add_prefix_space", true);
    }

    void read_post_processor(const json& part) {
        if (part.is_null()) return;
        const std::string type = type_of(part, "post_processor");
        if (type == "ByteLevel") return;  // trims offsets only
        if (type != "TemplateProcessing") refuse(fmt::format("post_processor \"{}\" is not supported", type));
        if (!part.contains("single") || !part["single"].is_array()) refuse("post_processor has no \"single\"");
        bool behind = false;
        for (const json& piece : part["single"]) {
            if (piece.is_object() && piece.contains("Sequence")) {
                behind = true;
                continue;
            }
            if (!piece.is_object() || !piece.contains("SpecialToken"))
                refuse("post_processor: a piece of \"single\" is neither Sequence nor SpecialToken");
            const std::string id = text_of(piece["SpecialToken"], "id", "SpecialToken");
            const json& ids = part.value("special_tokens", json::object()).value(id, json::object()).value("ids", json());
            if (!ids.is_array()) refuse(fmt::format("post_processor: special token \"{}\" has no ids", id));
            for (const json& token : ids) {
                if (!token.is_number_unsigned()) refuse(fmt::format("post_processor: the ids of \"{}\" are not ids", id));
                (behind ? suffix : prefix).push_back(token.get<std::int32_t>());
            }
        }
    }

    void read_added_tokens(const json& list) {
        if (list.is_null()) return;
        if (!list.is_array()) refuse("added_tokens is not a list");
        for (const json& token : list) {
            if (!token.is_object() || !token.contains("id") || !token["id"].is_number_unsigned() ||
                token["id"].get<std::uint64_t>() > 0x7FFFFFFE)
                refuse("added_tokens: an entry has no id");
            if (token.value("normalized", false) && !normalizers.empty())
                refuse(fmt::format("added token \"{}\" with normalized = true is not supported beside a normalizer",
                                   text_of(token, "content", "added token")));
            added.push_back({text_of(token, "content", "added token"), token["id"].get<std::int32_t>(),
                             token.value("single_word", false), token.value("lstrip", false),
                             token.value("rstrip", false)});
            if (added.back().content.empty()) refuse("added_tokens: an entry is empty");
        }
    }

    /// The added token that starts at a byte, the longest of several; nullptr: none.
    const AddedToken* added_at(std::string_view text, std::size_t at) const {
        const AddedToken* best = nullptr;
        for (const AddedToken& token : added) {
            if (!text.substr(at).starts_with(token.content)) continue;
            if (best != nullptr && best->content.size() >= token.content.size()) continue;
            if (token.single_word) {
                auto end = static_cast<Index>(at + token.content.size());
                const UChar32 before = at > 0 ? previous_code_point(text, static_cast<Index>(at)) : ' ';
                const UChar32 after = end < std::ssize(text) ? next_code_point(text, end) : ' ';
                if (is_word_character(before) || is_word_character(after)) continue;
            }
            best = &token;
        }
        return best;
    }

    /// The characters of a text as they stand; `first + i` is the input byte of its byte i.
    static std::vector<NormalizedCharacter> characters_of(std::string_view text, Index first, bool has_bytes) {
        std::vector<NormalizedCharacter> characters;
        for (Index i = 0; i < std::ssize(text);) {
            const Index begin = i;
            next_code_point(text, i);
            characters.push_back({std::string(text.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(i - begin))),
                                  has_bytes ? first + begin : first, has_bytes ? first + i : first});
        }
        return characters;
    }

    std::vector<NormalizedCharacter> normalized(std::string_view text, Index start) const {
        std::vector<NormalizedCharacter> characters = characters_of(text, start, true);
        for (const auto& [prepend, replace] : normalizers) {
            if (replace) {
                for (auto& character : characters)
                    if (character.text == replace->pattern) character.text = replace->content;
            } else if (!characters.empty()) {
                const auto front = characters_of(prepend->text, start, false);
                characters.insert(characters.begin(), front.begin(), front.end());
            }
        }
        return characters;
    }

    /// Tokens of a stretch of text that holds no added token.
    void encode_stretch(std::string_view text, Index start, std::vector<Bpe::Token>& out) const {
        if (text.empty()) return;
        std::vector<Bpe::Symbol> word;
        if (!byte_level) {
            const auto characters = normalized(text, start);
            for (const NormalizedCharacter& c : characters) word.push_back({c.text, c.first, c.last});
            bpe->encode(word, out);
            return;
        }
        const bool prefixed = add_prefix_space && !text.starts_with(' ');
        std::string plain(prefixed ? 1 : 0, ' ');
        plain += text;  // no normalizer stands before ByteLevel (checked)
        const Index shift = start - (prefixed ? 1 : 0);
        for (const auto& [first, last] : gpt2_words(plain)) {
            word.clear();
            for (Index b = first; b < last; ++b) {
                const auto byte = static_cast<unsigned char>(plain[static_cast<std::size_t>(b)]);
                word.push_back({stand_ins[byte], std::max(start, b + shift), std::max(start, b + shift + 1)});
            }
            bpe->encode(word, out);
        }
    }
};

Tokenizer::Tokenizer(const std::filesystem::path& file) : state_(std::make_unique<State>()) {
    State& s = *state_;
    s.file = file.string();
    const json tokenizer = read_json(file);
    if (!tokenizer.is_object() || !tokenizer.contains("model")) s.refuse("no model; not a Hugging Face tokenizer.json");
    s.read_normalizer(tokenizer.value("normalizer", json()));
    s.read_pre_tokenizer(tokenizer.value("pre_tokenizer", json()));
    if (s.byte_level && !s.normalizers.empty()) s.refuse("a normalizer beside pre_tokenizer ByteLevel is not supported");
    const std::string type = tokenizer["model"].is_object() && !tokenizer["model"].contains("type")
                                 ? "BPE"  // older files leave it out
                                 : s.type_of(tokenizer["model"], "model");
    if (type != "BPE") s.refuse(fmt::format("model type \"{}\" is not supported; supported: BPE", type));
    s.bpe.emplace(tokenizer["model"], s.file);
    s.read_added_tokens(tokenizer.value("added_tokens", json()));
    s.read_post_processor(tokenizer.value("post_processor", json()));

    const auto name_token = [&](const std::string& text, std::int32_t id) {
        // Ids far beyond the vocabulary would ask for memory that the file does not justify.
        if (id >= 4 * (std::ssize(s.bpe->vocabulary()) + std::ssize(s.added)) + 65536)
            s.refuse(fmt::format("id {} of \"{}\" is far outside the vocabulary", id, text));
        if (std::ssize(s.tokens) <= id) s.tokens.resize(static_cast<std::size_t>(id) + 1);
        s.tokens[static_cast<std::size_t>(id)] = text;
    };
    for (const auto& [text, id] : s.bpe->vocabulary()) name_token(text, id);
    for (const AddedToken& token : s.added) name_token(token.content, token.id);
    for (int b = 0; b < 256; ++b)
        s.stand_ins[static_cast<std::size_t>(b)] = byte_stand_in(static_cast<unsigned char>(b));
}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

Encoding Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
    const State& s = *state_;
    if (text.size() > 0x7FFFFFF0)
        throw Error(ExitStatus::input, "a text of more than 2 GiB cannot be tokenised");
    std::vector<Bpe::Token> tokens;
    std::size_t stretch = 0;
    for (std::size_t i = 0; i < text.size();) {
        const AddedToken* const token = s.added_at(text, i);
        if (token == nullptr) {
            ++i;
            continue;
        }
        std::size_t first = i, last = i + token->content.size();
        const auto is_space = [&](std::size_t b) {
            return u_isUWhiteSpace(static_cast<unsigned char>(text[b])) && static_cast<unsigned char>(text[b]) < 0x80;
        };
        while (token->lstrip && first > stretch && is_space(first - 1)) --first;
        while (token->rstrip && last < text.size() && is_space(last)) ++last;
        s.encode_stretch(text.substr(stretch, first - stretch), static_cast<Index>(stretch), tokens);
        tokens.push_back({token->id, static_cast<Index>(first), static_cast<Index>(last)});
        i = stretch = last;
    }
    s.encode_stretch(text.substr(stretch), static_cast<Index>(stretch), tokens);

    Encoding encoding;
    const auto add_around = [&](const std::vector<std::int32_t>& ids, Index at) {
        for (const std::int32_t id : ids) {
            encoding.ids.push_back(id);
            encoding.bytes.emplace_back(at, at);
        }
    };
    if (add_special_tokens) add_around(s.prefix, 0);
    for (const Bpe::Token& token : tokens) {
        encoding.ids.push_back(token.id);
        encoding.bytes.emplace_back(token.first, token.last);
    }
    if (add_special_tokens) add_around(s.suffix, static_cast<Index>(text.size()));
    return encoding;
}

Index Tokenizer::vocabulary_size() const { return std::ssize(state_->tokens); }

std::string Tokenizer::token(std::int32_t id) const {
    if (id < 0 || id >= vocabulary_size()) return "";
    return state_->tokens[static_cast<std::size_t>(id)];
}

}  // namespace tangram
