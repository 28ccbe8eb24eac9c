#pragma once
#include <string_view>

namespace tangram {

/// Whether a name fits a pattern, which may begin and end with * for any text.
inline bool matches(std::string_view pattern, std::string_view name) {
    const bool open_before = pattern.starts_with('*'), open_behind = pattern.ends_with('*');
    if (open_before) pattern.remove_prefix(1);
    if (open_behind) pattern.remove_suffix(1);
    if (open_before && open_behind) return name.find(pattern) != std::string_view::npos;
    return open_before ? name.ends_with(pattern) : open_behind ? name.starts_with(pattern) : name == pattern;
}

}  // namespace tangram
