#include "normalizers.hpp"

#include <unicode/brkiter.h>
#include <unicode/locid.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "pattern.hpp"
#include "precompiled_charsmap.hpp"
#include "utf8.hpp"

namespace tangram {

namespace {

/// A normalizer that changes one character at a time.
/// @param change  called with the character's code point and the string that it becomes, empty at first;
///                false: the character stays
template <class Change>
Normalizer characters(Change change) {
    return [change = std::move(change)](NormalizedText& text) {
        text.rewrite([&](Index first, std::string& becomes) {
            Index last = first;
            const UChar32 c = next_code_point(text.text(), last);
            if (!change(c, becomes)) becomes = text.text({first, last});
            return last;
        });
    };
}

void append(std::string& text, UChar32 c) { icu::UnicodeString(c).toUTF8String(text); }

/// Lower case of a character alone: a final sigma is none.
bool lower(UChar32 c, std::string& becomes) {
    if (c < 0x80) {
        if (c < 'A' || c > 'Z') return false;
        becomes.assign(1, static_cast<char>(c - 'A' + 'a'));
        return true;
    }
    icu::UnicodeString text(c);
    text.toLower(icu::Locale::getRoot()).toUTF8String(becomes);
    return true;
}

/// Removes the characters whose general category lies in the mask.
Normalizer without(std::uint32_t mask) {
    return characters([mask](UChar32 c, std::string&) { return (U_GET_GC_MASK(c) & mask) != 0; });
}

using Form = const icu::Normalizer2* (*)(UErrorCode&);

/// The text decomposed as the form has it, accents in canonical order: equal to the text for every form, and
/// in linear time, where ICU alone orders many accents of one character in quadratic time.
icu::UnicodeString decomposed(const icu::Normalizer2& form, const icu::UnicodeString& text) {
    icu::UnicodeString result, one;
    std::vector<std::pair<std::uint8_t, UChar32>> accents;  // of one character, with their classes
    const auto end_character = [&] {
        std::ranges::stable_sort(accents, {}, &std::pair<std::uint8_t, UChar32>::first);
        for (const auto& accent : accents) result.append(accent.second);
        accents.clear();
    };
    for (std::int32_t i = 0; i < text.length(); i = text.moveIndex32(i, 1)) {
        const UChar32 c = text.char32At(i);
        if (!form.getDecomposition(c, one)) one.setTo(c);
        for (std::int32_t k = 0; k < one.length(); k = one.moveIndex32(k, 1)) {
            const UChar32 part = one.char32At(k);
            const std::uint8_t order = form.getCombiningClass(part);
            if (order == 0) end_character();
            accents.emplace_back(order, part);
            if (order == 0) end_character();
        }
    }
    end_character();
    return result;
}

/// One of Unicode's normalisation forms, applied between its boundaries: every byte of a stretch that changes
/// comes from the whole of it.
Normalizer unicode_form(Form get, const JsonPart& part) {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* const form = get(status);
    if (U_FAILURE(status))
        part.refuse(ErrorKind::library,
                    fmt::format("ICU has no normalisation data ({})", u_errorName(status)));
    return [form, file = part.file](NormalizedText& text) {
        text.rewrite([&](Index first, std::string& becomes) {
            Index last = first;
            next_code_point(text.text(), last);
            for (Index next = last; next < text.size(); last = next)
                if (form->hasBoundaryBefore(next_code_point(text.text(), next))) break;
            const std::string_view old = text.text({first, last});
            if (old.size() == 1) {  // ASCII
                becomes.assign(1, old.front());
                return last;
            }
            if (old.size() > 1 << 28)
                throw Error(ExitStatus::input, ErrorKind::unsupported,
                            fmt::format("{}: a text has {} bytes of accents on one character; remove them",
                                        file, old.size()));
            icu::UnicodeString wide = icu::UnicodeString::fromUTF8(
                icu::StringPiece(old.data(), static_cast<std::int32_t>(old.size())));
            constexpr std::size_t many = 256;
            if (old.size() > many) wide = decomposed(*form, wide);
            UErrorCode error = U_ZERO_ERROR;
            form->normalize(wide, error).toUTF8String(becomes);
            return last;
        });
    };
}

/// Chinese characters as BERT counts them; one block begins 256 later than in Unicode, as in Hugging Face's
/// library.
bool is_chinese(UChar32 c) {
    for (const auto& [first, last] : {std::pair<UChar32, UChar32>{0x4E00, 0x9FFF},
                                      {0x3400, 0x4DBF},
                                      {0x20000, 0x2A6DF},
                                      {0x2A700, 0x2B73F},
                                      {0x2B740, 0x2B81F},
                                      {0x2B920, 0x2CEAF},
                                      {0xF900, 0xFAFF},
                                      {0x2F800, 0x2FA1F}})
        if (c >= first && c <= last) return true;
    return false;
}

void bert(const JsonPart& part, std::vector<Normalizer>& out) {
    const bool lowercase = part.flag("lowercase", true);
    if (part.flag("clean_text", true))
        out.push_back(characters([](UChar32 c, std::string& becomes) {
            const bool blank = c == '\t' || c == '\n' || c == '\r';  // the controls that are kept
            if (!blank &&
                (c == 0xFFFD || (U_GET_GC_MASK(c) & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK)) != 0))
                return true;
            if (!blank && !u_isUWhiteSpace(c)) return false;
            becomes.assign(1, ' ');
            return true;
        }));
    if (part.flag("handle_chinese_chars", true))
        out.push_back(characters([](UChar32 c, std::string& becomes) {
            if (!is_chinese(c)) return false;
            becomes.assign(1, ' ');
            append(becomes, c);
            becomes.push_back(' ');
            return true;
        }));
    if (part.flag("strip_accents", lowercase)) {
        out.push_back(unicode_form(icu::Normalizer2::getNFDInstance, part));
        out.push_back(without(U_GC_MN_MASK));
    }
    if (lowercase) out.push_back(characters(lower));
}

void strip(NormalizedText& text, bool left, bool right) {
    Index first = 0, last = text.size();
    for (Index next = first; left && first < last; first = next)
        if (!u_isUWhiteSpace(next_code_point(text.text(), next))) break;
    while (right && last > first && u_isUWhiteSpace(previous_code_point(text.text(), last))) {
        --last;
        while (is_trail_byte(text.text()[static_cast<std::size_t>(last)])) --last;
    }
    text = text.part({first, last});
}

/// The ends of a text's grapheme clusters, one after the other.
class GraphemeClusters {
  public:
    /// @param iterator  of characters as people see them. @param text  must outlive this
    /// @param file      that messages name
    GraphemeClusters(const icu::BreakIterator& iterator, std::string_view text, const std::string& file)
        : iterator_(iterator.clone()) {
        UErrorCode status = U_ZERO_ERROR;
        utf8_.adoptInstead(utext_openUTF8(nullptr, text.data(), std::ssize(text), &status));
        if (iterator_) iterator_->setText(utf8_.getAlias(), status);
        if (!iterator_ || U_FAILURE(status) || std::ssize(text) > std::numeric_limits<std::int32_t>::max())
            throw Error(
                ExitStatus::input, ErrorKind::library,
                fmt::format("{}: ICU finds no characters in a text of {} bytes ({}); shorten the text", file,
                            text.size(), u_errorName(status)));
    }

    Index next() { return iterator_->next(); }

  private:
    icu::LocalUTextPointer utf8_;
    std::unique_ptr<icu::BreakIterator> iterator_;
};

/// SentencePiece's map of characters as Hugging Face's library applies it: a grapheme cluster of up to 5
/// bytes is looked up whole, what is longer or not in the map character by character.
Normalizer precompiled(const JsonPart& part) {
    UErrorCode status = U_ZERO_ERROR;
    const std::shared_ptr<const icu::BreakIterator> iterator(
        icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), status));
    if (U_FAILURE(status))
        part.refuse(ErrorKind::library,
                    fmt::format("ICU has no rules for characters ({})", u_errorName(status)));
    return [iterator, map = PrecompiledCharsmap(part), file = part.file](NormalizedText& text) {
        GraphemeClusters clusters(*iterator, text.text(), file);
        constexpr Index longest = 5;
        Index end = 0;  // of the cluster
        text.rewrite([&](Index first, std::string& becomes) {
            if (first == end) {
                end = clusters.next();
                const auto whole = end - first <= longest ? map.find(text.text({first, end})) : std::nullopt;
                if (whole) {
                    becomes = *whole;
                    return end;
                }
            }
            Index last = first;
            next_code_point(text.text(), last);
            const std::string_view character = text.text({first, last});
            becomes = map.find(character).value_or(character);
            return last;
        });
    };
}

void add_normalizers(const JsonPart& part, std::vector<Normalizer>& out) {
    if (part.is_null()) return;
    const std::string type = part.type();
    const JsonPart named{part.json, part.file, fmt::format("{} \"{}\"", part.what, type)};
    if (type == "Sequence") {
        for (const auto& inner : part.list("normalizers"))
            add_normalizers({inner, part.file, part.what}, out);
    } else if (type == "Prepend") {
        out.emplace_back([front = named.text("prepend")](NormalizedText& text) {
            if (!text.text().empty()) text.prepend(front);
        });
    } else if (type == "Replace") {
        out.emplace_back([pattern = Pattern(named), content = named.text("content")](NormalizedText& text) {
            pattern.replace(text, content);
        });
    } else if (type == "BertNormalizer") {
        bert(named, out);
    } else if (type == "Lowercase") {
        out.push_back(characters(lower));
    } else if (type == "NFC") {
        out.push_back(unicode_form(icu::Normalizer2::getNFCInstance, named));
    } else if (type == "NFD") {
        out.push_back(unicode_form(icu::Normalizer2::getNFDInstance, named));
    } else if (type == "NFKC") {
        out.push_back(unicode_form(icu::Normalizer2::getNFKCInstance, named));
    } else if (type == "NFKD") {
        out.push_back(unicode_form(icu::Normalizer2::getNFKDInstance, named));
    } else if (type == "Precompiled") {
        out.push_back(precompiled(named));
    } else if (type == "StripAccents") {
        out.push_back(without(U_GC_M_MASK));
    } else if (type == "Strip") {
        out.emplace_back([left = named.flag("strip_left", true), right = named.flag("strip_right", true)](
                             NormalizedText& text) { strip(text, left, right); });
    } else {
        part.refuse_type();
    }
}

}  // namespace

std::vector<Normalizer> read_normalizers(const JsonPart& part) {
    std::vector<Normalizer> normalizers;
    add_normalizers(part, normalizers);
    return normalizers;
}

}  // namespace tangram
