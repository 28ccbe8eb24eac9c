#include "tangram/text/tokenizer.hpp"

#include "added_tokens.hpp"
#include "bpe.hpp"
#include "json_parts.hpp"
#include "normalizers.hpp"
#include "pre_tokenizers.hpp"
#include "tangram/files/json.hpp"
#include "tangram/files/table.hpp"
#include "tokenizer_settings.hpp"
#include "unigram.hpp"
#include "word_piece.hpp"

namespace tangram {

namespace {

/// What stands around every sequence.
struct PostProcessor {
    std::vector<std::int32_t> prefix, suffix;

    /// Puts another's tokens around these.
    void surround(const PostProcessor& outer, const JsonPart& part) {
        prefix.insert(prefix.begin(), outer.prefix.begin(), outer.prefix.end());
        suffix.insert(suffix.end(), outer.suffix.begin(), outer.suffix.end());
        check(part);
    }
    void check(const JsonPart& part) const {
        constexpr std::size_t most = 1000;
        if (prefix.size() + suffix.size() > most)
            part.refuse(
                ErrorKind::unsupported,
                fmt::format("post_processor: more than {} tokens around every text; take the tokenizer "
                            "as it was published",
                            most));
    }
};

/// The ids of a special token of TemplateProcessing.
std::vector<std::int32_t> special_ids(const JsonPart& part, const std::string& token) {
    const JsonPart entry{part.at("special_tokens").at(token.c_str()).json, part.file,
                         fmt::format("post_processor: special token \"{}\"", token)};
    std::vector<std::int32_t> ids;
    for (const auto& id : entry.list("ids")) ids.push_back(JsonPart{id, part.file, entry.what}.id());
    return ids;
}

/// ["</s>", 2] of RobertaProcessing and BertProcessing.
std::int32_t pair_id(const JsonPart& part, const char* key) {
    const auto& pair = part.list(key);
    if (pair.size() != 2)
        part.refuse(ErrorKind::malformed,
                    fmt::format("post_processor: \"{}\" is not a token and its id", key));
    return JsonPart{pair[1], part.file, part.what}.id();
}

PostProcessor read_post_processor(const JsonPart& part) {
    PostProcessor result;
    if (part.is_null()) return result;
    const std::string type = part.type();
    if (type == "Sequence") {
        for (const auto& inner : part.list("processors"))
            result.surround(read_post_processor({inner, part.file, part.what}), part);
    } else if (type == "RobertaProcessing" || type == "BertProcessing") {
        result.prefix.push_back(pair_id(part, "cls"));
        result.suffix.push_back(pair_id(part, "sep"));
    } else if (type == "TemplateProcessing") {
        int sequences = 0;
        for (const auto& piece : part.list("single")) {
            const JsonPart inner{piece, part.file, "post_processor: a piece of \"single\""};
            if (inner.has("Sequence")) {
                ++sequences;
                continue;
            }
            auto& side = sequences == 0 ? result.prefix : result.suffix;
            const auto ids = special_ids(part, inner.at("SpecialToken").text("id"));
            side.insert(side.end(), ids.begin(), ids.end());
            result.check(part);
        }
        if (sequences != 1)
            part.refuse(ErrorKind::unsupported, "post_processor: \"single\" must hold the sequence once");
    } else if (type != "ByteLevel") {  // which changes Hugging Face's offsets only
        part.refuse_type();
    }
    return result;
}

/// Older files leave the type out: what no other model has tells. (A prefix of pieces within a word does not:
/// GPT-2's older file has an empty one.)
std::string type_of_model(const JsonPart& model) {
    if (model.has("type")) return model.type();
    if (model.has("unk_id") || (model.has("vocab") && model.json["vocab"].is_array())) return "Unigram";
    if (model.has("merges")) return "BPE";
    if (model.has("max_input_chars_per_word")) return "WordPiece";
    model.refuse(ErrorKind::missing,
                 "model has no \"type\", nor what would tell it (\"merges\", \"max_input_chars_per_word\", "
                 "\"unk_id\"); take the tokenizer as it was published, or write its type there");
}

std::unique_ptr<TokenModel> read_model(const JsonPart& model, const std::string& type) {
    if (type == "BPE") return std::make_unique<Bpe>(model);
    if (type == "WordPiece") return std::make_unique<WordPiece>(model);
    if (type == "Unigram") return std::make_unique<Unigram>(model);
    model.refuse(ErrorKind::unsupported,
                 fmt::format("model \"{}\" is not supported; supported: BPE, WordPiece, Unigram", type));
}

}  // namespace

struct Tokenizer::State {
    std::string file;
    AddedTokens plain_added, normalized_added;  // found before and behind the normalizers
    std::vector<Normalizer> normalizers;
    std::vector<PreTokenizer> pre_tokenizers;
    std::unique_ptr<TokenModel> model;
    PostProcessor post_processor;
    std::vector<std::string> tokens;  // by id
    Vocabulary ids;                   // of all tokens, added ones included
    std::optional<std::string> mask;
    std::vector<std::string> warnings;

    void normalize(NormalizedText& text) const {
        for (const Normalizer& normalizer : normalizers) normalizer(text);
    }

    void name_token(const std::string& text, std::int32_t id, Index count, const JsonPart& part) {
        // Ids far beyond the vocabulary would ask for memory that the file does not justify.
        if (id >= 4 * count + 65536)
            part.refuse(ErrorKind::out_of_range,
                        fmt::format("id {} of \"{}\" is far outside the vocabulary", id, text));
        const auto [known, is_new] = ids.emplace(text, id);
        if (!is_new && known->second != id)
            part.refuse(ErrorKind::contradiction,
                        fmt::format("\"{}\" has the ids {} and {}", text, known->second, id));
        if (std::ssize(tokens) <= id) tokens.resize(static_cast<std::size_t>(id) + 1);
        std::string& named = tokens[static_cast<std::size_t>(id)];
        if (!named.empty() && named != text)
            part.refuse(ErrorKind::contradiction,
                        fmt::format("\"{}\" and \"{}\" have the same id {}", named, text, id));
        named = text;
    }

    /// Tokens that the vocabulary lacks get the ids behind it and behind one another, as in Hugging Face's
    /// library, whatever the file says.
    /// @param more  entries behind the file's own, without ids
    void read_added_tokens(const JsonPart& tokenizer, const std::vector<nlohmann::json>& more) {
        std::vector<nlohmann::json> list;
        if (tokenizer.has("added_tokens")) {
            const auto& stored = tokenizer.list("added_tokens");
            list.assign(stored.begin(), stored.end());
        }
        const std::size_t stored = list.size();
        list.insert(list.end(), more.begin(), more.end());
        const Index count = std::ssize(model->vocabulary()) + std::ssize(list);
        auto next = static_cast<std::int32_t>(model->vocabulary().size());
        Index renumbered = 0;
        std::string first_renumbered;
        std::vector<AddedToken> plain_tokens, normalized_tokens;
        for (std::size_t t = 0; t < list.size(); ++t) {
            const JsonPart part{list[t], file, "added token"};
            AddedToken token{part.text("content"),
                             0,
                             part.flag("single_word", false),
                             part.flag("lstrip", false),
                             part.flag("rstrip", false),
                             part.flag("special", false)};
            const std::int32_t written =
                t < stored ? JsonPart{part.at("id").json, file, "added token"}.id() : -1;
            if (token.content.empty()) continue;  // as Hugging Face: found nowhere
            const auto known = ids.find(token.content);
            token.id = known != ids.end() ? known->second : next;
            next = std::max(next, token.id + 1);
            if (written >= 0 && written != token.id && ++renumbered == 1)
                first_renumbered =
                    fmt::format("\"{}\" is {}, not {} as the file says", token.content, token.id, written);
            name_token(token.content, token.id, count, part);
            const bool normalized = part.flag("normalized", !token.special);
            if (normalized) {
                Growth growth(token.content, file);
                NormalizedText content(token.content, 0, growth);
                normalize(content);
                token.content = content.text();
                if (token.content.empty()) continue;
            }
            (normalized ? normalized_tokens : plain_tokens).push_back(std::move(token));
        }
        if (renumbered > 0)
            warnings.push_back(fmt::format(
                "{}: the id of the added token {} ({} such tokens): Hugging Face's library numbers "
                "added tokens behind the vocabulary, without gaps",
                file, first_renumbered, renumbered));
        plain_added = AddedTokens(std::move(plain_tokens));
        normalized_added = AddedTokens(std::move(normalized_tokens));
    }

    std::vector<std::string> names(const std::vector<std::int32_t>& which) const {
        std::vector<std::string> found;
        for (const std::int32_t id : which)
            found.push_back(id < std::ssize(tokens) ? tokens[static_cast<std::size_t>(id)] : "");
        return found;
    }

    /// The ids of tokens around every text, where they are others than those that stand there.
    void name_around(const std::vector<std::string>& tokens_around, std::vector<std::int32_t>& which,
                     const JsonPart& tokenizer) const {
        if (tokens_around == names(which)) return;
        which.clear();
        for (const std::string& token : tokens_around) {
            const auto found = ids.find(token);
            if (found == ids.end())
                tokenizer.refuse(ErrorKind::missing,
                                 fmt::format("has no token \"{}\", which tokenizer_config.json puts around "
                                             "every text; take the tokenizer as it was published",
                                             token));
            which.push_back(found->second);
        }
    }

    /// Tokens of a stretch of normalised text that holds no added token.
    void encode_stretch(NormalizedText text, std::vector<Token>& out) const {
        if (text.size() == 0) return;  // pre-tokenizers put nothing before it, as in Hugging Face's library
        std::vector<NormalizedText> words;
        words.push_back(std::move(text));
        for (const PreTokenizer& pre_tokenizer : pre_tokenizers) pre_tokenizer(words);
        for (const NormalizedText& word : words)
            if (word.size() > 0) model->encode(word, out);
    }

    std::vector<Token> encode(std::string_view input) const {
        std::vector<Token> out;
        Growth growth(input, file);
        plain_added.cut(input, [&](Range plain, const AddedToken* token) {
            if (token != nullptr) {
                out.push_back({token->id, plain});
                return;
            }
            NormalizedText text(input.substr(static_cast<std::size_t>(plain.first),
                                             static_cast<std::size_t>(plain.second - plain.first)),
                                plain.first, growth);
            normalize(text);
            // Begins where the first character that the normalizers left did.
            if (normalized_added.empty()) return encode_stretch(text.part({0, text.size()}), out);
            normalized_added.cut(text.text(), [&](Range part, const AddedToken* inner) {
                if (inner != nullptr)
                    out.push_back({inner->id, text.source(part)});
                else
                    encode_stretch(text.part(part), out);
            });
        });
        return out;
    }
};

Tokenizer::Tokenizer(const std::filesystem::path& folder_or_file, FilesRead& files)
    : state_(std::make_unique<State>()) {
    State& s = *state_;
    std::error_code code;
    const bool is_folder = std::filesystem::is_directory(folder_or_file, code);
    const std::filesystem::path path = is_folder ? folder_or_file / "tokenizer.json" : folder_or_file;
    s.file = path.string();
    if (path.filename() == "tokenizer.json" && !std::filesystem::exists(path, code))
        throw Error(ExitStatus::input, ErrorKind::missing,
                    fmt::format("{}: no such file; transformers writes it: python3 -c \"from transformers "
                                "import AutoTokenizer; AutoTokenizer.from_pretrained('{}')"
                                ".save_pretrained('{}')\"",
                                s.file, path.parent_path().string(), path.parent_path().string()));
    const nlohmann::json json = read_json(path, files);
    const nlohmann::json none;
    const JsonPart tokenizer{json, s.file, "the file"};
    const auto part = [&](const char* key) {
        return JsonPart{tokenizer.has(key) ? json[key] : none, s.file, key};
    };
    if (!tokenizer.has("model"))
        tokenizer.refuse(ErrorKind::missing, "no model; not a Hugging Face tokenizer.json");
    s.normalizers = read_normalizers(part("normalizer"));
    s.pre_tokenizers = read_pre_tokenizers(part("pre_tokenizer"));
    const std::string type = type_of_model(part("model"));
    s.model = read_model(part("model"), type);
    for (const auto& [text, id] : s.model->vocabulary())
        s.name_token(text, id, std::ssize(s.model->vocabulary()), part("model"));
    TokenizerSettings settings(path, json, files);
    s.read_added_tokens(tokenizer, settings.more_tokens());
    s.post_processor = read_post_processor(part("post_processor"));
    std::vector<std::string> before = s.names(s.post_processor.prefix),
                             behind = s.names(s.post_processor.suffix);
    settings.check(before, behind, type);
    s.name_around(before, s.post_processor.prefix, tokenizer);
    s.name_around(behind, s.post_processor.suffix, tokenizer);
    s.warnings.insert(s.warnings.end(), settings.warnings().begin(), settings.warnings().end());
    for (const std::string& mask :
         {settings.special("mask_token"), std::string("[MASK]"), std::string("<mask>")})
        if (!s.mask && !mask.empty() && find(mask)) s.mask = mask;
}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Encoding Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
    const State& s = *state_;
    if (!is_utf8(text))
        throw Error(ExitStatus::input, ErrorKind::malformed, "a text that is not UTF-8 cannot be tokenised");
    Encoding encoding;
    for (const Token& token : s.encode(text)) {
        encoding.ids.push_back(token.id);
        encoding.bytes.push_back(token.source);
    }
    return add_special_tokens ? with_special_tokens(std::move(encoding), std::ssize(text)) : encoding;
}

Encoding Tokenizer::with_special_tokens(Encoding encoding, Index bytes) const {
    const auto& [prefix, suffix] = state_->post_processor;
    encoding.ids.insert(encoding.ids.begin(), prefix.begin(), prefix.end());
    encoding.bytes.insert(encoding.bytes.begin(), prefix.size(), Range(0, 0));
    encoding.ids.insert(encoding.ids.end(), suffix.begin(), suffix.end());
    encoding.bytes.insert(encoding.bytes.end(), suffix.size(), Range(bytes, bytes));
    return encoding;
}

const std::vector<std::int32_t>& Tokenizer::suffix() const { return state_->post_processor.suffix; }

Index Tokenizer::vocabulary_size() const { return std::ssize(state_->tokens); }

std::optional<std::int32_t> Tokenizer::find(std::string_view token) const {
    const auto found = state_->ids.find(token);
    if (found == state_->ids.end()) return std::nullopt;
    return found->second;
}

std::optional<std::int32_t> Tokenizer::unknown() const { return state_->model->unknown(); }

std::optional<std::string> Tokenizer::mask_token() const { return state_->mask; }

const std::vector<std::string>& Tokenizer::warnings() const { return state_->warnings; }

std::string Tokenizer::token(std::int32_t id) const {
    if (id < 0 || id >= vocabulary_size()) return "";
    return state_->tokens[static_cast<std::size_t>(id)];
}

}  // namespace tangram
