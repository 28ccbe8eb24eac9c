#include "bpe.hpp"

#include <algorithm>
#include <limits>
#include <queue>

#include "byte_level.hpp"
#include "utf8.hpp"

namespace tangram {

Bpe::Bpe(const JsonPart& model, bool byte_level) : byte_level_(byte_level) {
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
        if (model.has(key) && !model.text(key).empty())
            model.refuse(fmt::format("model: \"{}\" is not supported", key));
    if (model.has("dropout") && model.json["dropout"] != 0)
        model.refuse(
            "model: \"dropout\" is not supported, the kernel needs one tokenisation; set it to null");
    if (!model.at("vocab").json.is_object()) model.refuse("model: \"vocab\" is not an object");
    for (const auto& [token, id] : model.at("vocab").json.items())
        vocabulary_.emplace(token,
                            JsonPart{id, model.file, fmt::format("model: vocab of \"{}\"", token)}.id());
    read_merges(model);
    if (model.has("unk_token")) {
        unknown_ = find(model.text("unk_token"));
        if (!unknown_) model.refuse("model: \"unk_token\" is not in the vocabulary");
    }
    fuse_unknown_ = model.flag("fuse_unk", false);
    ignore_merges_ = model.flag("ignore_merges", false);
    byte_fallback_ = model.flag("byte_fallback", false);
    for (std::size_t b = 0; b < 256; ++b) {
        stand_ins_[b] = byte_stand_in(static_cast<unsigned char>(b));
        bytes_[b] = find(byte_level_ ? stand_ins_[b] : fmt::format("<0x{:02X}>", b));
    }
}

void Bpe::read_merges(const JsonPart& model) {
    std::int32_t rank = 0;
    for (const auto& merge : model.list("merges")) {
        std::string left, right;
        if (merge.is_string()) {
            const auto& text = merge.get_ref<const std::string&>();
            const auto space = text.find(' ');
            if (space == std::string::npos) model.refuse(fmt::format("model: merges[{}] has no space", rank));
            left = text.substr(0, space);
            right = text.substr(space + 1);
        } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
            left = merge[0].get<std::string>();
            right = merge[1].get<std::string>();
        } else {
            model.refuse(fmt::format("model: merges[{}] is neither \"a b\" nor a pair", rank));
        }
        const auto a = find(left), b = find(right), joined = find(left + right);
        if (!a || !b || !joined)
            model.refuse(
                fmt::format("model: merges[{}]: \"{}\", \"{}\" or both together are not in the vocabulary",
                            rank, left, right));
        merges_.insert_or_assign(key(*a, *b),
                                 Merge{rank, *joined});  // of a pair that stands twice the last counts
        ++rank;
    }
}

std::optional<std::int32_t> Bpe::find(std::string_view text) const {
    const auto found = vocabulary_.find(text);
    if (found == vocabulary_.end()) return std::nullopt;
    return found->second;
}

std::vector<Token> Bpe::symbols(const NormalizedText& text, Range word) const {
    std::vector<Token> tokens;
    bool last_unknown = false;
    const auto known = [&](std::int32_t id, Range bytes) {
        tokens.push_back({id, text.source(bytes)});
        last_unknown = false;
    };
    for (Index i = word.first; i < word.second;) {
        const Index first = i;
        if (byte_level_)
            ++i;
        else
            next_code_point(text.text(), i);
        const Range symbol(first, i);
        const std::string_view spelling = std::string_view(text.text())
                                              .substr(static_cast<std::size_t>(symbol.first),
                                                      static_cast<std::size_t>(symbol.second - symbol.first));
        const auto byte = [&](std::size_t b) { return bytes_[static_cast<unsigned char>(spelling[b])]; };
        if (const auto id = byte_level_ ? byte(0) : find(spelling)) {
            known(*id, symbol);
            continue;
        }
        if (byte_fallback_ && !byte_level_) {
            bool all = true;
            for (std::size_t b = 0; b < spelling.size(); ++b) all = all && byte(b);
            if (all) {
                for (std::size_t b = 0; b < spelling.size(); ++b) {
                    const Index at = symbol.first + static_cast<Index>(b);
                    known(*byte(b), {at, at + 1});
                }
                continue;
            }
        }
        if (!unknown_) continue;  // as Hugging Face: dropped
        if (last_unknown && fuse_unknown_)
            tokens.back().source.second = text.source(symbol).second;
        else
            known(*unknown_, symbol);
        last_unknown = true;
    }
    return tokens;
}

void Bpe::encode(const NormalizedText& text, Range word, std::vector<Token>& out) const {
    if (ignore_merges_) {
        std::string whole;
        for (Index b = word.first; b < word.second; ++b) {
            const char byte = text.text()[static_cast<std::size_t>(b)];
            if (byte_level_)
                whole += stand_ins_[static_cast<unsigned char>(byte)];
            else
                whole += byte;
        }
        if (const auto id = find(whole)) {
            out.push_back({*id, text.source(word)});
            return;
        }
    }
    std::vector<Token> tokens = symbols(text, word);
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
