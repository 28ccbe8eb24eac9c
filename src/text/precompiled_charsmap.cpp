#include "precompiled_charsmap.hpp"

#include <algorithm>

#include "tangram/files/table.hpp"
#include "utf8.hpp"

namespace tangram {

namespace {

constexpr std::string_view base64_digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes of a text in base64 (RFC 4648), with its padding; nullopt where it is none.
std::optional<std::string> from_base64(std::string_view text) {
    if (text.size() % 4 != 0) return std::nullopt;
    std::size_t padding = 0;
    while (padding < 2 && text.ends_with('=')) {
        text.remove_suffix(1);
        ++padding;
    }
    std::string bytes;
    std::uint32_t bits = 0;
    int held = 0;
    for (const char c : text) {
        const std::size_t digit = base64_digits.find(c);
        if (digit == std::string_view::npos) return std::nullopt;
        bits = bits << 6 | static_cast<std::uint32_t>(digit);
        held += 6;
        if (held < 8) continue;
        held -= 8;
        bytes.push_back(static_cast<char>(bits >> held & 0xFF));
        bits &= (1U << held) - 1;
    }
    if (bits != 0) return std::nullopt;
    return bytes;
}

std::uint32_t little_endian(std::string_view bytes) {
    std::uint32_t value = 0;
    for (std::size_t b = 4; b-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[b]);
    return value;
}

// A unit of darts-clone's double array (Aoe, 1989): the byte that leads to its node, whether a text ends
// there, and how far the node's own units are. A unit of a text's end holds its value alone.
bool is_byte(std::uint32_t unit, unsigned char byte) { return (unit & 0x800000FFU) == byte; }
bool ends_text(std::uint32_t unit) { return (unit >> 8 & 1U) != 0; }
std::size_t offset(std::uint32_t unit) { return std::size_t{unit >> 10} << ((unit & 0x200U) >> 6); }
std::size_t value(std::uint32_t unit) { return unit & 0x7FFFFFFFU; }

}  // namespace

PrecompiledCharsmap::PrecompiledCharsmap(const JsonPart& part) : file_(part.file) {
    const std::optional<std::string> bytes = from_base64(part.text("precompiled_charsmap"));
    if (!bytes) refuse("is not base64");
    const std::string_view all = *bytes;
    constexpr std::size_t word = 4;
    if (all.size() < word) refuse("has no size");
    const std::size_t size = little_endian(all);
    if (size == 0 || size % word != 0 || size > all.size() - word)
        refuse(fmt::format("says that {} of its {} bytes are its array", size, all.size()));
    for (std::size_t b = word; b <= size; b += word) units_.push_back(little_endian(all.substr(b, word)));
    replacements_ = all.substr(word + size);
    if (!is_utf8(replacements_)) refuse("has replacements that are not UTF-8");
}

void PrecompiledCharsmap::refuse(const std::string& problem) const {
    throw Error(ExitStatus::input, ErrorKind::malformed,
                fmt::format("{}: normalizer \"Precompiled\": precompiled_charsmap {}; take the tokenizer as "
                            "it was published",
                            file_, problem));
}

std::uint32_t PrecompiledCharsmap::unit(std::size_t node) const {
    if (node >= units_.size()) refuse("points outside its array");
    return units_[node];
}

std::string_view PrecompiledCharsmap::replacement(std::size_t first) const {
    if (first > replacements_.size() || (first < replacements_.size() && is_trail_byte(replacements_[first])))
        refuse("points outside its replacements");
    const std::size_t last = std::min(replacements_.find('\0', first), replacements_.size());
    return std::string_view(replacements_).substr(first, last - first);
}

std::optional<std::string_view> PrecompiledCharsmap::find(std::string_view text) const {
    std::size_t node = offset(unit(0));
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        node ^= byte;
        const std::uint32_t there = unit(node);
        if (byte == 0 || !is_byte(there, byte)) return std::nullopt;
        node ^= offset(there);
        if (ends_text(there)) return replacement(value(unit(node)));
    }
    return std::nullopt;
}

}  // namespace tangram
