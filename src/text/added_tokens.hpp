#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "normalized_text.hpp"

namespace tangram {

/// A token that is cut out of the text before the model sees it.
struct AddedToken {
    std::string content;  ///< not empty
    std::int32_t id;
    bool single_word;  ///< only where no word character stands beside it
    bool lstrip;       ///< takes the white space on its left with it
    bool rstrip;       ///< takes the white space on its right with it
};

/// Finds added tokens in a text: from the left, the longest of those that begin at one place, as Hugging Face
/// does.
class AddedTokens {
  public:
    void add(AddedToken token);
    bool empty() const { return empty_; }

    /// Cuts a text up. @param visit  called in order with each piece and its token (nullptr: text between
    /// tokens)
    void cut(std::string_view text, const std::function<void(Range, const AddedToken*)>& visit) const;

  private:
    const AddedToken* longest_at(std::string_view rest) const;

    std::array<std::vector<AddedToken>, 256> by_first_byte_;  // the longest first
    bool empty_ = true;
};

}  // namespace tangram
