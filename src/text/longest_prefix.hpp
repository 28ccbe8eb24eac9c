#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace tangram {

/// Finds, among texts, the longest that another text begins with: one binary search, whatever their lengths.
class LongestPrefix {
  public:
    using Entry = std::pair<std::string_view, std::int32_t>;  ///< a text, not empty, and its number

    LongestPrefix() = default;
    /// @param entries  of equal texts the first counts; what they view must outlive this
    explicit LongestPrefix(std::vector<Entry> entries) : entries_(std::move(entries)) {
        std::stable_sort(entries_.begin(), entries_.end(),
                         [](const Entry& a, const Entry& b) { return a.first < b.first; });
        entries_.erase(std::unique(entries_.begin(), entries_.end(),
                                   [](const Entry& a, const Entry& b) { return a.first == b.first; }),
                       entries_.end());
        // In this order the texts that begin an entry stand before it, each beginning the next.
        shorter_.resize(entries_.size());
        for (std::size_t e = 0; e < entries_.size(); ++e) {
            std::size_t candidate = e;  // counted from 1, so that 0 is none
            while (candidate > 0 && !entries_[e].first.starts_with(entries_[candidate - 1].first))
                candidate = shorter_[candidate - 1];
            shorter_[e] = candidate;
        }
    }

    std::optional<Entry> longest(std::string_view text) const {
        const auto behind =
            std::upper_bound(entries_.begin(), entries_.end(), text,
                             [](std::string_view one, const Entry& entry) { return one < entry.first; });
        auto candidate = static_cast<std::size_t>(behind - entries_.begin());
        if (candidate == 0) return std::nullopt;
        // What begins the text begins this entry too, as far as both are the same.
        const std::string_view nearest = entries_[candidate - 1].first;
        const auto same =
            std::mismatch(nearest.begin(), nearest.end(), text.begin(), text.end()).first - nearest.begin();
        while (candidate > 0 && std::ssize(entries_[candidate - 1].first) > same)
            candidate = shorter_[candidate - 1];
        if (candidate == 0) return std::nullopt;
        return entries_[candidate - 1];
    }

  private:
    std::vector<Entry> entries_;  // by text
    /// Of each the longest other that begins it, counted from 1; 0: none.
    std::vector<std::size_t> shorter_;
};

}  // namespace tangram
