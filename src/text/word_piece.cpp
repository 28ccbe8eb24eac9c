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
    std::vector<LongestStarts::Entry> first, continuing;
    const auto add = [&](std::vector<LongestStarts::Entry>& entries, std::string_view text, std::int32_t id) {
        entries.emplace_back(text, static_cast<std::int32_t>(found_.size()));
        found_.emplace_back(id, std::ssize(text));
    };
    for (const auto& [token, id] : vocabulary_) {
        const std::string_view text(token);
        if (!text.empty()) add(first, text, id);
        if (text.starts_with(prefix_) && text.size() > prefix_.size())
            add(continuing, text.substr(prefix_.size()), id);
    }
    first_ = LongestStarts(first);
    continuing_ = LongestStarts(continuing);
}

void WordPiece::encode(const NormalizedText& word, std::vector<Token>& out) const {
    const std::size_t before = out.size();
    const Index characters =
        word.size() - std::count_if(word.text().begin(), word.text().end(), is_trail_byte);
    bool spelt = characters <= longest_word_;
    if (spelt) {
        // Both are UTF-8: a token ends where a character does.
        std::vector<std::int32_t> starts = continuing_.find(word.text());
        starts.front() = first_.find(word.text()).front();
        for (Index first = 0; spelt && first < word.size();) {
            const std::int32_t found = starts[static_cast<std::size_t>(first)];
            if (spelt = found >= 0; !spelt) break;
            const auto [id, bytes] = found_[static_cast<std::size_t>(found)];
            out.push_back({id, word.source({first, first + bytes})});
            first += bytes;
        }
    }
    if (spelt) return;
    out.resize(before);
    out.push_back({unknown_, word.source({0, word.size()})});
}

}  // namespace tangram
