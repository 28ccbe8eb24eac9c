#include "bpe.hpp"

#include <algorithm>
#include <limits>
#include <queue>

#include "utf8.hpp"

namespace tangram {

Bpe::Bpe(const JsonPart& model)
    : fuse_unknown_(model.flag("fuse_unk", false)),
      ignore_merges_(model.flag("ignore_merges", false)),
      prefix_(model.text("continuing_subword_prefix", "")),
      suffix_(model.text("end_of_word_suffix", "")),
      vocabulary_(read_vocabulary(model)) {
    if (model.has("dropout") && model.json["dropout"] != 0)
        model.refuse(
            ErrorKind::unsupported,
            "model: \"dropout\" is not supported, the kernel needs one tokenisation; set it to null");
    read_merges(model);
    if (model.has("unk_token")) {
        unknown_ = find(vocabulary_, model.text("unk_token"));
        if (!unknown_) model.refuse(ErrorKind::missing, "model: \"unk_token\" is not in the vocabulary");
    }
    if (!model.flag("byte_fallback", false)) return;
    if (!prefix_.empty() || !suffix_.empty())
        model.refuse(
            ErrorKind::unsupported,
            "model: \"byte_fallback\" with a continuing_subword_prefix or an end_of_word_suffix is not "
            "supported");
    for (std::size_t b = 0; b < 256; ++b) bytes_[b] = find(vocabulary_, fmt::format("<0x{:02X}>", b));
}

void Bpe::read_merges(const JsonPart& model) {
    std::int32_t rank = 0;
    for (const auto& merge : model.list("merges")) {
        std::string left, right;
        if (merge.is_string()) {
            const auto& text = merge.get_ref<const std::string&>();
            const auto space = text.find(' ');
            if (space == std::string::npos)
                model.refuse(ErrorKind::malformed, fmt::format("model: merges[{}] has no space", rank));
            left = text.substr(0, space);
            right = text.substr(space + 1);
        } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
            left = merge[0].get<std::string>();
            right = merge[1].get<std::string>();
        } else {
            model.refuse(ErrorKind::malformed,
                         fmt::format("model: merges[{}] is neither \"a b\" nor a pair", rank));
        }
        const auto a = find(vocabulary_, left), b = find(vocabulary_, right),
                   joined = find(vocabulary_,
                                 left + right.substr(right.starts_with(prefix_) ? prefix_.size() : 0));
        if (!a || !b || !joined)
            model.refuse(
                ErrorKind::missing,
                fmt::format("model: merges[{}]: \"{}\", \"{}\" or both together are not in the vocabulary",
                            rank, left, right));
        merges_.insert_or_assign(key(*a, *b),
                                 Merge{rank, *joined});  // of a pair that stands twice the last counts
        ++rank;
    }
}

std::vector<Token> Bpe::symbols(const NormalizedText& word) const {
    std::vector<Token> tokens;
    bool last_unknown = false;
    const auto known = [&](std::int32_t id, Range bytes) {
        tokens.push_back({id, word.source(bytes)});
        last_unknown = false;
    };
    for (Index i = 0; i < word.size();) {
        const Index first = i;
        next_code_point(word.text(), i);
        const Range symbol(first, i);
        const std::string_view spelling = word.text(symbol);
        const bool plain = (prefix_.empty() || first == 0) && (suffix_.empty() || i < word.size());
        const auto id = plain ? find(vocabulary_, spelling)
                              : find(vocabulary_, (first == 0 ? "" : prefix_) + std::string(spelling) +
                                                      (i < word.size() ? "" : suffix_));
        if (id) {
            known(*id, symbol);
            continue;
        }
        const auto byte = [&](std::size_t b) { return bytes_[static_cast<unsigned char>(spelling[b])]; };
        bool all = true;
        for (std::size_t b = 0; b < spelling.size(); ++b) all = all && byte(b);
        if (all) {
            for (std::size_t b = 0; b < spelling.size(); ++b) {
                const Index at = symbol.first + static_cast<Index>(b);
                known(*byte(b), {at, at + 1});
            }
            continue;
        }
        if (!unknown_) continue;  // as Hugging Face: dropped
        if (last_unknown && fuse_unknown_)
            tokens.back().source.second = word.source(symbol).second;
        else
            known(*unknown_, symbol);
        last_unknown = true;
    }
    return tokens;
}

void Bpe::encode(const NormalizedText& word, std::vector<Token>& out) const {
    if (ignore_merges_)
        if (const auto id = find(vocabulary_, word.text())) {
            out.push_back({*id, word.source({0, word.size()})});
            return;
        }
    std::vector<Token> tokens = symbols(word);
    merge(tokens, out);
}

void Bpe::merge(std::vector<Token>& tokens, std::vector<Token>& out) const {
    // A linked list of tokens; a queue entry is stale once either side has changed.
    struct Candidate {
        std::int32_t rank;
        std::size_t left;
        std::int32_t left_id, right_id, id;
        bool operator>(const Candidate& other) const {
            return std::pair(rank, left) > std::pair(other.rank, other.left);
        }
    };
    constexpr std::size_t none = std::numeric_limits<std::size_t>::max();
    const std::size_t count = tokens.size();
    std::vector<std::size_t> next(count), previous(count);
    std::vector<bool> alive(count, true);
    for (std::size_t i = 0; i < count; ++i) {
        next[i] = i + 1 < count ? i + 1 : none;
        previous[i] = i > 0 ? i - 1 : none;
    }
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
    const auto consider = [&](std::size_t left) {
        if (left == none || next[left] == none) return;
        const auto found = merges_.find(key(tokens[left].id, tokens[next[left]].id));
        if (found != merges_.end())
            queue.push({found->second.rank, left, tokens[left].id, tokens[next[left]].id, found->second.id});
    };
    for (std::size_t i = 0; i < count; ++i) consider(i);
    while (!queue.empty()) {
        const Candidate best = queue.top();
        queue.pop();
        const std::size_t left = best.left, right = alive[left] ? next[left] : none;
        if (right == none || tokens[left].id != best.left_id || tokens[right].id != best.right_id) continue;
        tokens[left].id = best.id;
        tokens[left].source.second = tokens[right].source.second;
        alive[right] = false;
        next[left] = next[right];
        if (next[right] != none) previous[next[right]] = left;
        consider(previous[left]);
        consider(left);
    }
    for (std::size_t i = 0; i < count; ++i)
        if (alive[i]) out.push_back(tokens[i]);
}

}  // namespace tangram
