#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "longest_starts.hpp"
#include "normalized_text.hpp"

namespace tangram {

/// A token that is cut out of the text before the model sees it.
struct AddedToken {
    std::string content;  ///< not empty
    std::int32_t id;
    bool single_word;  ///< only where no word character stands beside it
    bool lstrip;       ///< takes the white space on its left with it
    bool rstrip;       ///< takes the white space on its right with it
    bool special;      ///< of equal contents one of these counts
};

/// Finds added tokens in a text: from the left, the longest of those that begin at one place, as Hugging Face
/// does. One in the white space that another took with it is found too.
class AddedTokens {
  public:
    AddedTokens() = default;
    /// @param tokens  of equal contents the first of the special ones counts, or the first: as in the library
    ///                up to 0.22 (0.23 takes one by chance)
    explicit AddedTokens(std::vector<AddedToken> tokens);

    bool empty() const { return tokens_.empty(); }

    /// Cuts a text up, in time linear in it. @param visit  called in order with each piece and its token
    /// (nullptr: text between tokens); pieces overlap where a token lies in another's white space
    void cut(std::string_view text, const std::function<void(Range, const AddedToken*)>& visit) const;

  private:
    std::vector<AddedToken> tokens_;
    LongestStarts contents_;
};

}  // namespace tangram
