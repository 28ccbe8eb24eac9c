#pragma once
#include <unicode/regex.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "json_parts.hpp"
#include "normalized_text.hpp"

namespace tangram {

/// What a tokenizer.json looks for in a text: a regular expression, or a string as it stands.
class Pattern {
  public:
    /// @param part  an object whose "pattern" is {"Regex": ...} or {"String": ...}
    /// @throws Error(input) naming the file and the pattern that is malformed, or that Hugging Face's
    ///         library (Oniguruma) would read otherwise than ICU does
    explicit Pattern(const JsonPart& part);
    /// An expression as ICU reads it. @param part  whose file messages name
    Pattern(const std::string& regex, const JsonPart& part) : Pattern(regex, Kind::of_icu, part) {}
    static Pattern literal(const std::string& text, const JsonPart& part) {
        return {text, Kind::literal, part};
    }

    /// Its matches from the left, none overlapping another, in bytes. Time and memory of a match are bounded.
    /// @throws Error(input) naming file and pattern where the bound is passed
    std::vector<Range> matches(std::string_view text) const;
    /// Every match by `content`.
    void replace(NormalizedText& text, std::string_view content) const;

  private:
    enum class Kind { literal, of_icu, of_file };
    Pattern(const std::string& text, Kind kind, const JsonPart& part);

    std::string file_, name_;
    std::shared_ptr<const icu::RegexPattern> pattern_;
};

}  // namespace tangram
