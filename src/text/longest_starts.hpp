#pragma once
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace tangram {

/// Finds, of a set of texts, the longest that begins at each byte of another text, in time linear in that
/// text whatever the set: an automaton of the set's texts read backwards (Aho and Corasick 1975).
class LongestStarts {
  public:
    using Entry = std::pair<std::string_view, std::int32_t>;  ///< a text, not empty, and its number, >= 0

    LongestStarts() = default;
    /// @param entries  of equal texts the first counts; what they view need not outlive this
    explicit LongestStarts(const std::vector<Entry>& entries);

    /// Per byte of the text the number of the longest entry that begins there, or -1.
    std::vector<std::int32_t> find(std::string_view text) const;

  private:
    /// The end of some entry. Nodes stand by length; those of one parent side by side, by byte.
    struct Node {
        char byte;                    ///< its first
        std::int32_t children, past;  ///< nodes that are one byte longer: [children, past)
        std::int32_t shorter;         ///< the longest other node that begins it
        std::int32_t number;          ///< of the longest entry that begins it, or -1
    };

    std::int32_t child(std::int32_t node, char byte) const;
    std::int32_t longer(std::int32_t node, char byte) const;

    std::vector<Node> nodes_;
};

}  // namespace tangram
