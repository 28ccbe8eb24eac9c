#pragma once
#include <unicode/utf8.h>

#include <string_view>

#include "tangram/index.hpp"

namespace tangram {

// ICU's macros convert between integer widths by design.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"

/// The code point that starts at byte i, which moves behind it; negative where the bytes are not UTF-8.
inline UChar32 next_code_point(std::string_view text, Index& i) {
    const Index size = static_cast<Index>(text.size());
    UChar32 c = 0;
    U8_NEXT(text.data(), i, size, c);
    return c;
}

inline bool is_trail_byte(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

/// The code point that ends before byte i (> 0).
inline UChar32 previous_code_point(std::string_view text, Index i) {
    do --i;
    while (i > 0 && is_trail_byte(text[static_cast<std::size_t>(i)]));
    return next_code_point(text, i);
}

#pragma GCC diagnostic pop

}  // namespace tangram
