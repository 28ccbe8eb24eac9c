#include "byte_level.hpp"

#include <unicode/uchar.h>

#include "utf8.hpp"

namespace tangram {

namespace {

enum class Class { letter, number, space, other };

Class class_of(UChar32 c) {
    if (u_isUWhiteSpace(c)) return Class::space;
    const auto category = U_GET_GC_MASK(c);
    if ((category & U_GC_L_MASK) != 0) return Class::letter;
    if ((category & U_GC_N_MASK) != 0) return Class::number;
    return Class::other;
}

struct Character {
    Index first;
    Class kind;
    UChar32 code;
};

}  // namespace

std::string byte_stand_in(unsigned char byte) {
    const auto printable = [](unsigned int b) {
        return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
    };
    unsigned int code = byte;
    if (!printable(byte)) {
        code = 256;
        for (unsigned int b = 0; b < byte; ++b) code += printable(b) ? 0 : 1;
    }
    if (code < 0x80) return std::string(1, static_cast<char>(code));
    return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

std::vector<std::pair<Index, Index>> gpt2_words(std::string_view text) {
    std::vector<Character> characters;
    const auto size = static_cast<Index>(text.size());
    for (Index i = 0; i < size;) {
        const Index first = i;
        const UChar32 c = next_code_point(text, i);
        characters.push_back({first, class_of(c), c});
    }
    const std::size_t count = characters.size();
    const auto begin_of = [&](std::size_t i) { return i < count ? characters[i].first : size; };
    const auto run_end = [&](std::size_t i, Class kind) {
        while (i < count && characters[i].kind == kind) ++i;
        return i;
    };
    const auto contraction = [&](std::size_t i) -> std::size_t {
        const std::string_view rest = text.substr(static_cast<std::size_t>(begin_of(i)));
        for (const std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"})
            if (rest.starts_with(ending)) return ending.size();
        return 0;
    };
    std::vector<std::pair<Index, Index>> words;
    for (std::size_t i = 0; i < count;) {
        std::size_t end = i;
        if (const std::size_t length = characters[i].code == '\'' ? contraction(i) : 0; length > 0) {
            end = i + length;  // all ASCII
        } else {
            const std::size_t start = characters[i].code == ' ' ? i + 1 : i;
            if (start < count && characters[start].kind != Class::space) {
                end = run_end(start, characters[start].kind);
            } else {
                end = run_end(i, Class::space);
                // \s+(?!\S): the last space of a run is left to the word that follows, if the run has more
                // than one.
                if (end < count && end - i > 1) --end;
            }
        }
        words.emplace_back(begin_of(i), begin_of(end));
        i = end;
    }
    return words;
}

}  // namespace tangram
