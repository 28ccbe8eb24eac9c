#include "pattern.hpp"

#include <algorithm>

#include "utf8.hpp"

namespace tangram {

namespace {

/// Refuses what Oniguruma (Ruby's syntax, as Hugging Face sets it) and ICU read differently: \h, \K, \R, \Q,
/// \E, \g, \O, \y, \Y, a + behind an interval, (?m), a difference of sets; and what would hide brackets: \c,
/// comments.
void refuse_ambiguous(const std::string& regex, const JsonPart& part) {
    UErrorCode status = U_ZERO_ERROR;
    icu::RegexMatcher matcher(
        icu::UnicodeString(R"(\\\\|\\[hHKRQEgOyYc]|[0-9,]\}\+|\(\?#|\(\?[a-z-]*[mx]|--)"), 0, status);
    const icu::UnicodeString text = icu::UnicodeString::fromUTF8(regex);
    matcher.reset(text);
    std::string construct;
    while (construct.empty() || construct == R"(\\)") {  // a backslash itself
        if (!matcher.find()) return;
        construct.clear();
        matcher.group(status).toUTF8String(construct);
    }
    part.refuse(ErrorKind::unsupported,
                fmt::format("{}: \"{}\" in the Regex \"{}\" is not supported", part.what, construct, regex));
}

/// The expression with what is another set of characters for Oniguruma than for ICU written as that set: its
/// word characters hold no joiners, and outside of brackets some Latin-1 numbers (fractions, raised digits);
/// its punctuation holds symbols; its \v is one character. Letters of any kind are the same, but for versions
/// of Unicode.
std::string with_sets_of_oniguruma(std::string_view regex) {
    const std::string word = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})", punctuation = R"(\p{P}\p{S})";
    const std::string bare_word = word + R"(\u00B2\u00B3\u00B9\u00BC-\u00BE)";
    std::string result;
    int depth = 0;  // of brackets
    const auto written = [&](std::string_view rest) -> std::pair<std::string_view, std::string> {
        if (rest.starts_with(R"(\w)")) return {R"(\w)", depth > 0 ? word : fmt::format("[{}]", bare_word)};
        if (rest.starts_with(R"(\W)")) return {R"(\W)", fmt::format("[^{}]", depth > 0 ? word : bare_word)};
        if (rest.starts_with(R"(\v)")) return {R"(\v)", R"(\x0B)"};
        if (rest.starts_with('\\')) return {rest.substr(0, 2), std::string(rest.substr(0, 2))};
        if (depth == 0) return {};
        for (const auto& [name, set] : {std::pair("word", word), {"punct", punctuation}})
            for (const bool other : {false, true}) {
                const std::string posix = fmt::format("[:{}{}:]", other ? "^" : "", name);
                if (rest.starts_with(posix))
                    return {rest.substr(0, posix.size()), other ? fmt::format("[^{}]", set) : set};
            }
        return {};
    };
    for (std::size_t i = 0; i < regex.size();) {
        const auto [construct, set] = written(regex.substr(i));
        if (!construct.empty()) {
            result += set;
            i += construct.size();
            continue;
        }
        if (regex[i] == '[') {
            ++depth;
            // A bracket that closes would close nothing at the beginning.
            for (const char first : {'[', '^', ']'})
                if (i < regex.size() && regex[i] == first) result += regex[i++];
            continue;
        }
        if (regex[i] == ']' && depth > 0) --depth;
        result += regex[i++];
    }
    return result;
}

}  // namespace

Pattern::Pattern(const std::string& text, Kind kind, const JsonPart& part)
    : file_(part.file), name_(fmt::format("{} \"{}\"", kind == Kind::literal ? "String" : "Regex", text)) {
    if (text.empty()) part.refuse(ErrorKind::degenerate, fmt::format("{} has an empty pattern", part.what));
    if (kind == Kind::of_file) refuse_ambiguous(text, part);
    // Ruby's lines: ^ and $ stand at each, and \n alone ends one.
    const std::uint32_t flags = kind == Kind::literal ? UREGEX_LITERAL : UREGEX_MULTILINE | UREGEX_UNIX_LINES;
    const std::string regex = kind == Kind::of_file ? with_sets_of_oniguruma(text) : text;
    UErrorCode status = U_ZERO_ERROR;
    UParseError where;
    pattern_.reset(icu::RegexPattern::compile(icu::UnicodeString::fromUTF8(regex), flags, where, status));
    if (U_FAILURE(status))
        part.refuse(ErrorKind::malformed, fmt::format("{}: {} is malformed at character {} ({})", part.what,
                                                      name_, where.offset, u_errorName(status)));
}

Pattern::Pattern(const JsonPart& part)
    : Pattern(part.at("pattern").text(part.at("pattern").has("Regex") ? "Regex" : "String"),
              part.at("pattern").has("Regex") ? Kind::of_file : Kind::literal, part) {}

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
