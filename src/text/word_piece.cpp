#include "word_piece.hpp"

#include <algorithm>

#include "utf8.hpp"

namespace tangram {

WordPiece::WordPiece(const JsonPart& model)
    : vocabulary_(read_vocabulary(model)),
      prefix_(model.text("continuing_subword_prefix", "##")),
      longest_word_(100) {
    if (model.has("max_input_chars_per_word")) {
        const auto& longest = model.json["max_input_chars_per_word"];
        if (!longest.is_number_unsigned() || longest.get<std::uint64_t>() > 1000000)
            model.refuse(fmt::format("model: max_input_chars_per_word = {} is not a count up to 1000000",
                                     longest.dump()));
        longest_word_ = longest.get<Index>();
    }
    const auto unknown = find(vocabulary_, model.text("unk_token", "[UNK]"));
    if (!unknown) model.refuse("model: \"unk_token\" is not in the vocabulary");
    unknown_ = *unknown;
    for (const auto& [token, id] : vocabulary_) longest_token_ = std::max(longest_token_, std::ssize(token));
}

void WordPiece::encode(const NormalizedText& word, std::vector<Token>& out) const {
    const std::size_t before = out.size();
    const auto starts = [&](Index b) { return !is_trail_byte(word.text()[static_cast<std::size_t>(b)]); };
    Index characters = 0;
    for (Index b = 0; b < word.size(); ++b) characters += starts(b) ? 1 : 0;
    Index first = characters > longest_word_ ? -1 : 0;
    std::string token;
    while (first >= 0 && first < word.size()) {
        token = first > 0 ? prefix_ : "";
        const Index spelt = std::ssize(token);
        Index last = std::min(word.size(), first + std::max(longest_token_ - spelt, Index{0}));
        token += word.text({first, last});
        std::optional<std::int32_t> id;
        for (; last > first; --last) {
            if (last < word.size() && !starts(last)) continue;
            id = find(vocabulary_,
                      std::string_view(token).substr(0, static_cast<std::size_t>(spelt + last - first)));
            if (id) break;
        }
        if (id) out.push_back({*id, word.source({first, last})});
        first = id ? last : -1;
    }
    if (first >= 0) return;
    out.resize(before);
    out.push_back({unknown_, word.source({0, word.size()})});
}

}  // namespace tangram
