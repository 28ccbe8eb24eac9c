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

void AddedTokens::add(AddedToken token) {
    auto& candidates = by_first_byte_[static_cast<unsigned char>(token.content.front())];
    const auto shorter = std::find_if(candidates.begin(), candidates.end(), [&](const AddedToken& other) {
        return other.content.size() < token.content.size();
    });
    candidates.insert(shorter, std::move(token));
    empty_ = false;
}

const AddedToken* AddedTokens::longest_at(std::string_view rest) const {
    for (const AddedToken& token : by_first_byte_[static_cast<unsigned char>(rest.front())])
        if (rest.starts_with(token.content)) return &token;
    return nullptr;
}

void AddedTokens::cut(std::string_view text,
                      const std::function<void(Range, const AddedToken*)>& visit) const {
    const Index size = std::ssize(text);
    Index stretch = 0;
    for (Index i = 0; i < size;) {
        const AddedToken* const token = longest_at(text.substr(static_cast<std::size_t>(i)));
        if (token == nullptr) {
            ++i;
            continue;
        }
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
        for (Index next = last; token->rstrip && last < size; last = next)
            if (!u_isUWhiteSpace(next_code_point(text, next))) break;
        if (stretch < first) visit({stretch, first}, nullptr);
        visit({first, last}, token);
        i = stretch = last;
    }
    if (stretch < size) visit({stretch, size}, nullptr);
}

}  // namespace tangram
