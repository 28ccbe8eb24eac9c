#include "bpe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <queue>

#include "tangram/error.hpp"

namespace tangram {

namespace {

[[noreturn]] void refuse(const std::string& file, const std::string& problem) {
    throw Error(ExitStatus::input, fmt::format("{}: {}", file, problem));
}

bool flag(const nlohmann::json& model, const char* key) {
    return model.contains(key) && model[key].is_boolean() && model[key].get<bool>();
}

}  // namespace

Bpe::Bpe(const nlohmann::json& model, const std::string& file) {
    if (!model.contains("vocab") || !model["vocab"].is_object()) refuse(file, "model.vocab is missing");
    if (!model.contains("merges") || !model["merges"].is_array()) refuse(file, "model.merges is missing");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
        if (model.contains(key) && model[key].is_string() && !model[key].get_ref<const std::string&>().empty())
            refuse(file, fmt::format("model.{} is not supported", key));
    if (model.contains("dropout") && model["dropout"].is_number() && model["dropout"].get<double>() != 0)
        refuse(file, "model.dropout is not supported: the kernel needs one tokenisation");
    for (const auto& [token, id] : model["vocab"].items()) {
        if (!id.is_number_unsigned() ||
            id.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max() - 1))
            refuse(file, fmt::format("model.vocab: the id of \"{}\" is not a token id", token));
        vocabulary_.emplace(token, id.get<std::int32_t>());
    }
    std::int32_t rank = 0;
    for (const auto& merge : model["merges"]) {
        std::string left, right;
        if (merge.is_string()) {
            const auto& text = merge.get_ref<const std::string&>();
            const auto space = text.find(' ');
            if (space == std::string::npos) refuse(file, fmt::format("model.merges[{}] has no space", rank));
            left = text.substr(0, space);
            right = text.substr(space + 1);
        } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
            left = merge[0].get<std::string>();
            right = merge[1].get<std::string>();
        } else {
            refuse(file, fmt::format("model.merges[{}] is neither \"a b\" nor a pair", rank));
        }
        const auto a = find(left), b = find(right), joined = find(left + right);
        if (!a || !b || !joined)
            refuse(file, fmt::format("model.merges[{}]: \"{}\" + \"{}\" is not in the vocabulary", rank, left, right));
        merges_.try_emplace(key(*a, *b), Merge{rank, *joined});
        ++rank;
    }
    if (model.contains("unk_token") && model["unk_token"].is_string()) {
        unknown_ = find(model["unk_token"].get<std::string>());
        if (!unknown_) refuse(file, "model.unk_token is not in the vocabulary");
    }
    fuse_unknown_ = flag(model, "fuse_unk");
    ignore_merges_ = flag(model, "ignore_merges");
    byte_fallback_ = flag(model, "byte_fallback");
    for (int b = 0; b < 256; ++b) byte_ids_[b] = find(fmt::format("<0x{:02X}>", b)).value_or(-1);
}

std::optional<std::int32_t> Bpe::find(std::string_view text) const {
    const auto found = vocabulary_.find(std::string(text));
    if (found == vocabulary_.end()) return std::nullopt;
    return found->second;
}

void Bpe::encode(const std::vector<Symbol>& word, std::vector<Token>& out) const {
    if (word.empty()) return;
    if (ignore_merges_) {
        std::string whole;
        for (const Symbol& symbol : word) whole += symbol.text;
        if (const auto id = find(whole)) {
            out.push_back({*id, word.front().first, word.back().last});
            return;
        }
    }
    std::vector<Token> tokens;
    bool last_unknown = false;
    for (const Symbol& symbol : word) {
        if (const auto id = find(symbol.text)) {
            tokens.push_back({*id, symbol.first, symbol.last});
            last_unknown = false;
            continue;
        }
        if (byte_fallback_) {
            const bool all = std::all_of(symbol.text.begin(), symbol.text.end(),
                                         [&](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; });
            if (all) {
                // Bytes of a character that the normaliser changed have no byte of their own: the whole range.
                const bool own = symbol.last - symbol.first == static_cast<Index>(symbol.text.size());
                for (std::size_t b = 0; b < symbol.text.size(); ++b) {
                    const Index first = own ? symbol.first + static_cast<Index>(b) : symbol.first;
                    tokens.push_back({byte_ids_[static_cast<unsigned char>(symbol.text[b])], first,
                                      own ? first + 1 : symbol.last});
                }
                last_unknown = false;
                continue;
            }
        }
        if (!unknown_) continue;  // as Hugging Face: dropped
        if (last_unknown && fuse_unknown_)
            tokens.back().last = symbol.last;
        else
            tokens.push_back({*unknown_, symbol.first, symbol.last});
        last_unknown = true;
    }

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
        tokens[left].last = tokens[right].last;
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
