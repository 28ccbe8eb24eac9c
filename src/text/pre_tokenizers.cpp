#include "pre_tokenizers.hpp"

#include <algorithm>
#include <array>

#include "pattern.hpp"

namespace tangram {

std::array<std::string, 256> byte_stand_ins() {
    std::array<std::string, 256> result;
    unsigned int next = 256;
    for (unsigned int b = 0; b < 256; ++b) {
        const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        const unsigned int code = printable ? b : next++;
        if (code >= 0x80) result[b].push_back(static_cast<char>(0xC0 | (code >> 6)));
        result[b].push_back(static_cast<char>(code < 0x80 ? code : 0x80 | (code & 0x3F)));
    }
    return result;
}

namespace {

/// What becomes of the matches of a split and of the text between them.
enum class Behavior { removed, isolated, contiguous, merged_with_previous, merged_with_next };

Behavior read_behavior(const JsonPart& part) {
    const std::string name = part.text("behavior");
    // Older files write it in lower case.
    if (name == "Removed" || name == "removed") return Behavior::removed;
    if (name == "Isolated" || name == "isolated") return Behavior::isolated;
    if (name == "Contiguous" || name == "contiguous") return Behavior::contiguous;
    if (name == "MergedWithPrevious" || name == "merged_with_previous") return Behavior::merged_with_previous;
    if (name == "MergedWithNext" || name == "merged_with_next") return Behavior::merged_with_next;
    part.refuse(ErrorKind::unsupported, fmt::format("{}: behavior \"{}\" is not supported", part.what, name));
}

struct Split {
    Pattern pattern;
    Behavior behavior;
    bool invert = false;  ///< the text between matches counts as the matches

    std::vector<Range> words(const std::string& text) const {
        // Matches and what stands between them, in turn.
        std::vector<std::pair<Range, bool>> pieces;
        Index end = 0;
        for (const Range& match : pattern.matches(text)) {
            if (end < match.first) pieces.push_back({{end, match.first}, invert});
            pieces.push_back({match, !invert});
            end = match.second;
        }
        if (end < std::ssize(text)) pieces.push_back({{end, std::ssize(text)}, invert});
        std::vector<Range> result;
        const bool backwards = behavior == Behavior::merged_with_next;
        if (backwards) std::reverse(pieces.begin(), pieces.end());
        bool previous = false;
        for (const auto& [range, match] : pieces) {
            const bool joins = behavior == Behavior::contiguous             ? match == previous
                               : behavior == Behavior::merged_with_previous ? match && !previous
                               : behavior == Behavior::merged_with_next     ? match && !previous
                                                                            : false;
            previous = match;
            if (behavior == Behavior::removed && match) continue;
            if (!joins || result.empty())
                result.push_back(range);
            else if (backwards)
                result.back().first = range.first;
            else
                result.back().second = range.second;
        }
        if (backwards) std::reverse(result.begin(), result.end());
        return result;
    }

    void operator()(std::vector<NormalizedText>& pieces) const {
        std::vector<NormalizedText> result;
        for (NormalizedText& piece : pieces) {
            const std::vector<Range> all = words(piece.text());
            if (all.size() == 1 && all[0] == Range(0, piece.size())) {
                result.push_back(std::move(piece));
                continue;
            }
            for (const Range& word : all)
                if (word.first < word.second) result.push_back(piece.part(word));
        }
        pieces = std::move(result);
    }
};

template <class Change>
PreTokenizer each(Change change) {
    return [change = std::move(change)](std::vector<NormalizedText>& pieces) {
        for (NormalizedText& piece : pieces) change(piece);
    };
}

void byte_level(const JsonPart& part, std::vector<PreTokenizer>& out) {
    if (part.flag("add_prefix_space", true))
        out.push_back(each([](NormalizedText& text) {
            if (!text.text().starts_with(' ')) text.prepend(" ");
        }));
    if (part.flag("use_regex", true))
        out.push_back(Split{
            Pattern(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", part),
            Behavior::isolated});
    out.push_back(each([stand_ins = byte_stand_ins()](NormalizedText& text) {
        text.rewrite([&](Index first, std::string& becomes) {
            becomes = stand_ins[static_cast<unsigned char>(text.text()[static_cast<std::size_t>(first)])];
            return first + 1;
        });
    }));
}

/// SentencePiece's blanks: each becomes a visible mark, and (split) begins a word.
void metaspace(const JsonPart& part, std::vector<PreTokenizer>& out) {
    const std::string mark = part.text("replacement");
    if (mark.empty())
        part.refuse(ErrorKind::degenerate, "pre_tokenizer \"Metaspace\" has an empty replacement");
    const std::string scheme = part.text("prepend_scheme", "always");
    if (scheme != "always" && scheme != "first" && scheme != "never")
        part.refuse(
            ErrorKind::unsupported,
            fmt::format("pre_tokenizer \"Metaspace\": prepend_scheme \"{}\" is not supported", scheme));
    const bool first_only = scheme == "first";
    const bool never =
        scheme == "never" || !part.flag("add_prefix_space", true);  // the latter in older files
    out.push_back(each([mark, first_only, never, blank = Pattern::literal(" ", part)](NormalizedText& text) {
        blank.replace(text, mark);
        if (never || (first_only && text.start() != 0) || text.text().starts_with(mark)) return;
        text.prepend(mark);
    }));
    if (part.flag("split", true))
        out.push_back(Split{Pattern::literal(mark, part), Behavior::merged_with_next});
}

void add_pre_tokenizers(const JsonPart& part, std::vector<PreTokenizer>& out) {
    if (part.is_null()) return;
    const std::string type = part.type();
    const JsonPart named{part.json, part.file, fmt::format("{} \"{}\"", part.what, type)};
    const auto split = [&](const char* regex, Behavior behavior, bool invert = false) {
        out.push_back(Split{Pattern(regex, named), behavior, invert});
    };
    if (type == "Sequence") {
        for (const auto& inner : part.list("pretokenizers"))
            add_pre_tokenizers({inner, part.file, part.what}, out);
    } else if (type == "ByteLevel") {
        byte_level(named, out);
    } else if (type == "Metaspace") {
        metaspace(part, out);
    } else if (type == "Split") {
        out.push_back(Split{Pattern(named), read_behavior(named), named.flag("invert", false)});
    } else if (type == "BertPreTokenizer") {
        split(R"([\p{P}[\p{S}&&\p{ASCII}]]|[^\s\p{P}[\p{S}&&\p{ASCII}]]+)", Behavior::removed, true);
    } else if (type == "Punctuation") {
        out.push_back(Split{Pattern(R"([\p{P}[\p{S}&&\p{ASCII}]])", named),
                            named.has("behavior") ? read_behavior(named) : Behavior::isolated});
    } else if (type == "Digits") {
        split(R"(\p{N})", named.flag("individual_digits", false) ? Behavior::isolated : Behavior::contiguous);
    } else if (type == "Whitespace") {
        split(R"(\w+|[^\w\s]+)", Behavior::removed, true);
    } else if (type == "WhitespaceSplit") {
        split(R"(\s)", Behavior::removed);
    } else if (type == "CharDelimiterSplit") {
        out.push_back(Split{Pattern::literal(named.text("delimiter"), named), Behavior::removed});
    } else {
        part.refuse_type();
    }
}

}  // namespace

std::vector<PreTokenizer> read_pre_tokenizers(const JsonPart& part) {
    std::vector<PreTokenizer> pre_tokenizers;
    add_pre_tokenizers(part, pre_tokenizers);
    return pre_tokenizers;
}

}  // namespace tangram
