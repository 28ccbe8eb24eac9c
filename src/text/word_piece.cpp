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
        constexpr std::uint64_t most = 10000;
        if (!longest.is_number_unsigned() || longest.get<std::uint64_t>() > most)
            model.refuse(ErrorKind::out_of_range,
                         fmt::format("model: max_input_chars_per_word = {} is not a count up to {}",
                                     longest.dump(), most));
        longest_word_ = longest.get<Index>();
    }
    const auto unknown = find(vocabulary_, model.text("unk_token", "[UNK]"));
    if (!unknown) model.refuse(ErrorKind::missing, "model: \"unk_token\" is not in the vocabulary");
    unknown_ = *unknown;
    std::vector<LongestPrefix::Entry> first, continuing;
    for (const auto& [token, id] : vocabulary_) {
        const std::string_view text(token);
        if (!text.empty()) first.emplace_back(text, id);
        if (text.starts_with(prefix_) && text.size() > prefix_.size())
            continuing.emplace_back(text.substr(prefix_.size()), id);
    }
    first_ = LongestPrefix(std::move(first));
    continuing_ = LongestPrefix(std::move(continuing));
}

void WordPiece::encode(const NormalizedText& word, std::vector<Token>& out) const {
    const std::size_t before = out.size();
    const Index characters =
        word.size() - std::count_if(word.text().begin(), word.text().end(), is_trail_byte);
    Index first = characters > longest_word_ ? -1 : 0;
    while (first >= 0 && first < word.size()) {
        // Both are UTF-8: a token ends where a character does.
        const auto token = (first > 0 ? continuing_ : first_).longest(word.text({first, word.size()}));
        if (!token) {
            first = -1;
            break;
        }
        const Index last = first + std::ssize(token->first);
        out.push_back({token->second, word.source({first, last})});
        first = last;
    }
    if (first >= 0) return;
    out.resize(before);
    out.push_back({unknown_, word.source({0, word.size()})});
}

}  // namespace tangram
