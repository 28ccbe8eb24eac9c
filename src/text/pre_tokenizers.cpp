#include "pre_tokenizers.hpp"

#include "byte_level.hpp"

namespace tangram {

namespace {

PreTokenizer byte_level(const JsonPart& part) {
    PreTokenizer result;
    result.byte_level = true;
    if (part.flag("add_prefix_space", true))
        result.change = [](NormalizedText& text) {
            if (!text.text().starts_with(' ')) text.prepend(" ");
        };
    if (part.flag("use_regex", true)) result.split = gpt2_words;
    return result;
}

/// SentencePiece's blanks: each becomes a visible mark, and (split) begins a word.
PreTokenizer metaspace(const JsonPart& part) {
    const std::string mark = part.text("replacement");
    if (mark.empty()) part.refuse("pre_tokenizer \"Metaspace\" has an empty replacement");
    const std::string scheme =
        part.has("prepend_scheme") ? part.text("prepend_scheme") : std::string("always");
    if (scheme != "always" && scheme != "first" && scheme != "never")
        part.refuse(
            fmt::format("pre_tokenizer \"Metaspace\": prepend_scheme \"{}\" is not supported", scheme));
    const bool first_only = scheme == "first";
    const bool never =
        scheme == "never" || !part.flag("add_prefix_space", true);  // the latter in older files
    PreTokenizer result;
    result.change = [mark, first_only, never](NormalizedText& text) {
        text.replace(" ", mark);
        if (never || (first_only && text.start() != 0) || text.text().starts_with(mark)) return;
        text.prepend(mark);
    };
    if (part.flag("split", true))
        result.split = [mark](std::string_view text) {
            std::vector<Range> words;
            for (std::size_t first = 0; first < text.size();) {
                const std::size_t last = std::min(
                    text.find(mark, first + (text.substr(first).starts_with(mark) ? mark.size() : 0)),
                    text.size());
                words.emplace_back(static_cast<Index>(first), static_cast<Index>(last));
                first = last;
            }
            return words;
        };
    return result;
}

}  // namespace

PreTokenizer read_pre_tokenizer(const JsonPart& part) {
    if (part.is_null()) return {};
    const std::string type = part.type();
    if (type == "ByteLevel") return byte_level(part);
    if (type == "Metaspace") return metaspace(part);
    if (type == "Sequence") {
        std::vector<PreTokenizer> inner;  // all are read, so that an unknown one is named
        for (const auto& each : part.list("pretokenizers"))
            inner.push_back(read_pre_tokenizer({each, part.file, part.what}));
        if (inner.size() > 1) part.refuse("pre_tokenizer \"Sequence\" of several is not supported");
        return inner.empty() ? PreTokenizer{} : inner.front();
    }
    part.refuse_type();
}

}  // namespace tangram
