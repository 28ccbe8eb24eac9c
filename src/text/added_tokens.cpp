#include "added_tokens.hpp"

#include <unicode/uchar.h>

#include <algorithm>
#include <utility>

#include "utf8.hpp"

namespace tangram {

namespace {

/// \w of Unicode's regular expressions (UTS 18).
bool is_word_character(UChar32 c) {
    return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL) ||
           (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
    std::ranges::stable_partition(tokens_, &AddedToken::special);
    std::vector<LongestStarts::Entry> contents;
    for (std::size_t t = 0; t < tokens_.size(); ++t)
        contents.emplace_back(tokens_[t].content, static_cast<std::int32_t>(t));
    contents_ = LongestStarts(contents);
}

void AddedTokens::cut(std::string_view text,
                      const std::function<void(Range, const AddedToken*)>& visit) const {
    const Index size = std::ssize(text);
    const std::vector<std::int32_t> found = contents_.find(text);
    Index stretch = 0, blanks_end = 0;  // of the last white space that a token took with it
    for (Index i = 0; i < size;) {
        const std::int32_t number = found[static_cast<std::size_t>(i)];
        if (number < 0) {
            ++i;
            continue;
        }
        const AddedToken* const token = &tokens_[static_cast<std::size_t>(number)];
        Index first = i, last = i + std::ssize(token->content);
        i = last;
        if (token->single_word) {
            Index next = last;
            if ((first > 0 && is_word_character(previous_code_point(text, first))) ||
                (last < size && is_word_character(next_code_point(text, next))))
                continue;  // no shorter token is tried
        }
        while (token->lstrip && first > stretch && u_isUWhiteSpace(previous_code_point(text, first))) {
            --first;
            while (is_trail_byte(text[static_cast<std::size_t>(first)])) --first;
        }
        if (token->rstrip) {
            for (Index next = last; blanks_end <= last && last < size; last = next)
                if (!u_isUWhiteSpace(next_code_point(text, next))) break;
            blanks_end = last = std::max(last, blanks_end);
        }
        if (stretch < first) visit({stretch, first}, nullptr);
        visit({first, last}, token);
        stretch = last;
    }
    if (stretch < size) visit({stretch, size}, nullptr);
}

}  // namespace tangram
