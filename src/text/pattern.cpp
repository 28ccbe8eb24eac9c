#include "pattern.hpp"

#include <algorithm>

#include "utf8.hpp"

namespace tangram {

namespace {

/// Refuses what Oniguruma (Ruby's syntax, as Hugging Face sets it) and ICU read differently: \h, \K, \R, \Q,
/// \E, \g, a + behind an interval, (?m), a difference of sets.
void refuse_ambiguous(const std::string& regex, const JsonPart& part) {
    UErrorCode status = U_ZERO_ERROR;
    icu::RegexMatcher matcher(icu::UnicodeString(R"(\\[hHKRQEg]|[0-9,]\}\+|\(\?[a-z-]*m|--)"), 0, status);
    const icu::UnicodeString text = icu::UnicodeString::fromUTF8(regex);
    matcher.reset(text);
    if (!matcher.find()) return;
    std::string construct;
    matcher.group(status).toUTF8String(construct);
    part.refuse(ErrorKind::unsupported,
                fmt::format("{}: \"{}\" in the Regex \"{}\" is not supported", part.what, construct, regex));
}

}  // namespace

Pattern::Pattern(const std::string& text, bool literal, const JsonPart& part)
    : file_(part.file), name_(fmt::format("{} \"{}\"", literal ? "String" : "Regex", text)) {
    if (text.empty()) part.refuse(ErrorKind::degenerate, fmt::format("{} has an empty pattern", part.what));
    if (!literal) refuse_ambiguous(text, part);
    // Ruby's lines: ^ and $ stand at each, and \n alone ends one.
    const std::uint32_t flags = literal ? UREGEX_LITERAL : UREGEX_MULTILINE | UREGEX_UNIX_LINES;
    UErrorCode status = U_ZERO_ERROR;
    UParseError where;
    pattern_.reset(icu::RegexPattern::compile(icu::UnicodeString::fromUTF8(text), flags, where, status));
    if (U_FAILURE(status))
        part.refuse(ErrorKind::malformed, fmt::format("{}: {} is malformed at character {} ({})", part.what,
                                                      name_, where.offset, u_errorName(status)));
}

Pattern::Pattern(const JsonPart& part)
    : Pattern(part.at("pattern").text(part.at("pattern").has("Regex") ? "Regex" : "String"),
              !part.at("pattern").has("Regex"), part) {}

std::vector<Range> Pattern::matches(std::string_view text) const {
    UErrorCode status = U_ZERO_ERROR;
    UText utf8 = UTEXT_INITIALIZER;
    utext_openUTF8(&utf8, text.data(), std::ssize(text), &status);
    const std::unique_ptr<icu::RegexMatcher> matcher(pattern_->matcher(status));
    std::vector<Range> found;
    if (U_SUCCESS(status)) {
        // Ticks of 10 000 steps, counted and not measured: about half a second, and twice what the patterns
        // of real tokenizers need at most, 12 steps for each byte.
        const Index ticks = std::min(1000 + std::ssize(text) / 400, Index{100000});
        matcher->setTimeLimit(static_cast<std::int32_t>(ticks), status);
        matcher->reset(&utf8);
        Index end = -1;
        while (U_SUCCESS(status) && matcher->find(status)) {
            const Range match(matcher->start64(status), matcher->end64(status));
            if (match.first == match.second && match.first == end) continue;  // as Oniguruma's iterator
            found.push_back(match);
            end = match.second;
        }
    }
    utext_close(&utf8);
    if (U_FAILURE(status))
        throw Error(ExitStatus::input, ErrorKind::library,
                    fmt::format("{}: {} fails on a text of {} bytes ({}); shorten the text", file_, name_,
                                text.size(), u_errorName(status)));
    return found;
}

void Pattern::replace(NormalizedText& text, std::string_view content) const {
    const std::vector<Range> found = matches(text.text());
    if (found.empty()) return;
    Index last_character = text.size();  // where it begins
    while (last_character > 0 && is_trail_byte(text.text()[static_cast<std::size_t>(--last_character)])) {
    }
    auto next = found.begin();
    text.rewrite([&](Index first, std::string& becomes) {
        Index last = next == found.end() ? text.size() : next->first;
        if (last == first) {
            becomes = content;
            last = next++->second;
            if (first < last) return last;
            // An empty match puts the content before a character; one at the end, behind the last one.
            next_code_point(text.text(), last);
        } else if (last == text.size() && next != found.end() && first < last_character) {
            last = last_character;
        }
        becomes += text.text({first, last});
        if (last == text.size() && next != found.end()) becomes += content;
        return last;
    });
}

}  // namespace tangram
