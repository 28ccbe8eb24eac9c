#include "longest_starts.hpp"

#include <algorithm>
#include <string>

namespace tangram {

LongestStarts::LongestStarts(const std::vector<Entry>& entries) {
    std::vector<std::pair<std::string, std::int32_t>> backwards;
    for (const auto& [text, number] : entries)
        backwards.emplace_back(std::string(text.rbegin(), text.rend()), number);
    std::stable_sort(backwards.begin(), backwards.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    backwards.erase(std::unique(backwards.begin(), backwards.end(),
                                [](const auto& a, const auto& b) { return a.first == b.first; }),
                    backwards.end());
    struct Span {
        std::size_t first, last, length;  // the entries that end with a node, and its length
    };
    std::vector<Span> spans{{0, backwards.size(), 0}};
    nodes_.push_back({0, 0, 0, 0, -1});
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
        auto [first, last, length] = spans[n];
        if (first < last && backwards[first].first.size() == length)
            nodes_[n].number = backwards[first++].second;
        else if (n > 0)
            nodes_[n].number = nodes_[static_cast<std::size_t>(nodes_[n].shorter)].number;
        nodes_[n].children = static_cast<std::int32_t>(nodes_.size());
        while (first < last) {
            const char byte = backwards[first].first[length];
            std::size_t past = first;
            while (past < last && backwards[past].first[length] == byte) ++past;
            const std::int32_t shorter = n == 0 ? 0 : longer(nodes_[n].shorter, byte);
            nodes_.push_back({byte, 0, 0, shorter, -1});
            spans.push_back({first, past, length + 1});
            first = past;
        }
        nodes_[n].past = static_cast<std::int32_t>(nodes_.size());
    }
}

std::int32_t LongestStarts::child(std::int32_t node, char byte) const {
    const auto& [unused, children, past, shorter, number] = nodes_[static_cast<std::size_t>(node)];
    const auto unsigned_byte = [](const Node& n) { return static_cast<unsigned char>(n.byte); };
    const auto found = std::ranges::lower_bound(nodes_.begin() + children, nodes_.begin() + past,
                                                static_cast<unsigned char>(byte), {}, unsigned_byte);
    return found != nodes_.begin() + past && found->byte == byte
               ? static_cast<std::int32_t>(found - nodes_.begin())
               : -1;
}

/// The longest node that begins the byte and the node's text behind it; the empty one where there is no
/// other.
std::int32_t LongestStarts::longer(std::int32_t node, char byte) const {
    while (true) {
        if (const std::int32_t found = child(node, byte); found >= 0) return found;
        if (node == 0) return 0;
        node = nodes_[static_cast<std::size_t>(node)].shorter;
    }
}

std::vector<std::int32_t> LongestStarts::find(std::string_view text) const {
    std::vector<std::int32_t> found(text.size(), -1);
    if (nodes_.size() < 2) return found;
    std::int32_t node = 0;
    for (std::size_t i = text.size(); i-- > 0;) {
        node = longer(node, text[i]);
        found[i] = nodes_[static_cast<std::size_t>(node)].number;
    }
    return found;
}

}  // namespace tangram
