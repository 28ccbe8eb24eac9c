#include "tangram/text/labelled_text.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "pre_tokenizers.hpp"
#include "tangram/drawing.hpp"
#include "tangram/error.hpp"
#include "tangram/files/nearest.hpp"
#include "tangram/files/table.hpp"
#include "utf8.hpp"

namespace tangram {

namespace {

/// A template cut into literal texts and columns, in turn: literal, column, literal, ..., literal.
struct Template {
    std::vector<std::string> literals;
    std::vector<std::size_t> columns;
};

[[noreturn]] void refuse_template(ErrorKind kind, const LabelledText& options, const std::string& problem) {
    throw Error(ExitStatus::study, kind, fmt::format("data.template = \"{}\": {}", options.prompt, problem));
}

Template parse_template(const LabelledText& options, const Table& table) {
    Template result;
    std::string literal;
    const std::string& prompt = options.prompt;
    for (std::size_t i = 0; i < prompt.size(); ++i) {
        const char c = prompt[i];
        if ((c == '{' || c == '}') && i + 1 < prompt.size() && prompt[i + 1] == c) {
            literal += c;
            ++i;
        } else if (c == '}') {
            refuse_template(ErrorKind::malformed, options,
                            "a \"}\" closes nothing; write \"}}\" for a brace that stays");
        } else if (c == '{') {
            const auto end = prompt.find('}', i);
            if (end == std::string::npos)
                refuse_template(ErrorKind::malformed, options,
                                "a \"{\" is not closed; write \"{{\" for a brace that stays");
            const std::string name = prompt.substr(i + 1, end - i - 1);
            result.literals.push_back(std::exchange(literal, ""));
            result.columns.push_back(table.column(name == "text" ? options.text : name));
            i = end;
        } else {
            literal += c;
        }
    }
    result.literals.push_back(literal);
    if (result.columns.empty())
        refuse_template(ErrorKind::missing, options, "names no column; write for example \"{text} It was\"");
    return result;
}

/// A filled template and where in it the columns' texts and the mask token stand (bytes).
struct Filled {
    std::string text;
    std::vector<std::pair<Index, Index>> columns;
    Index mask = -1;  ///< its first byte; -1: there is none
};

constexpr std::string_view written_mask = "[MASK]";

/// @param mask  the text of the mask token, which takes the place of [MASK]; empty: nothing does
Filled fill(const Template& prompt, const std::vector<std::string>& row, const std::string& mask) {
    Filled filled;
    const auto add = [&](const std::string& literal) {
        const auto at = mask.empty() ? std::string::npos : literal.find(written_mask);
        filled.text += literal.substr(0, at);
        if (at == std::string::npos) return;
        filled.mask = std::ssize(filled.text);
        filled.text += mask + literal.substr(at + written_mask.size());
    };
    add(prompt.literals[0]);
    for (std::size_t c = 0; c < prompt.columns.size(); ++c) {
        const Index first = std::ssize(filled.text);
        filled.text += row[prompt.columns[c]];
        filled.columns.emplace_back(first, std::ssize(filled.text));
        add(prompt.literals[c + 1]);
    }
    return filled;
}

/// The mask token's text where the outputs are read at it, else empty. @throws Error(study) where the
/// template does not fit the model
std::string mask_of(const LabelledText& options, const Template& prompt, const Tokenizer& tokenizer) {
    Index written = 0;
    for (const std::string& literal : prompt.literals)
        for (auto at = literal.find(written_mask); at != std::string::npos;
             at = literal.find(written_mask, at + 1))
            ++written;
    if (options.reading != Reading::mask_token) {
        if (written > 0 && !tokenizer.find(written_mask))
            refuse_template(ErrorKind::contradiction, options,
                            "holds [MASK], but this model is not read at a masked token; end it where the "
                            "label word would follow");
        return "";
    }
    const std::optional<std::string> mask = tokenizer.mask_token();
    if (!mask)
        throw Error(ExitStatus::input, ErrorKind::missing,
                    "the model is a masked one, but its tokenizer has no mask token; take the "
                    "model's folder with tokenizer_config.json as it was published");
    if (written != 1)
        refuse_template(ErrorKind::contradiction, options,
                        fmt::format("holds [MASK] {} times; this masked model predicts the label word at "
                                    "one, write for example \"{{text}} It was [MASK].\"",
                                    written));
    return *mask;
}

/// The place of the template's mask token among the tokens.
std::int32_t mask_place(const Encoding& encoding, const Filled& filled, std::int32_t mask_id,
                        const std::string& where) {
    for (std::size_t t = 0; t < encoding.ids.size(); ++t)
        if (encoding.ids[t] == mask_id && encoding.bytes[t].first <= filled.mask &&
            filled.mask < encoding.bytes[t].second)
            return static_cast<std::int32_t>(t);
    throw Error(
        ExitStatus::study, ErrorKind::unsupported,
        fmt::format("data.template: the tokenizer does not make one token of its [MASK] ({}); set blanks "
                    "around it",
                    where));
}

bool is_blank(const std::string& text) { return text.find_first_not_of(" \t\r\n") == std::string::npos; }

std::string list(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) {
    std::string text;
    for (const std::int32_t id : ids)
        text += fmt::format("{}\"{}\" ({})", text.empty() ? "" : ", ", tokenizer.token(id), id);
    return text;
}

/// The tokens that a label word adds behind a filled template, whose own tokens are `before`: one, or as many
/// as there are where answers are scored.
std::vector<std::int32_t> added_ids(const Tokenizer& tokenizer, const std::vector<std::int32_t>& before,
                                    const std::string& filled, const std::string& word, bool scores_answers,
                                    const std::string& where) {
    const std::vector<std::int32_t> after = tokenizer.encode(filled + word, false).ids;
    const auto differs = std::mismatch(before.begin(), before.end(), after.begin(), after.end()).second;
    const bool behind = after.size() > before.size() && differs - after.begin() == std::ssize(before);
    if (behind && (scores_answers || differs + 1 == after.end())) return {differs, after.end()};
    if (scores_answers)
        throw Error(
            ExitStatus::study, ErrorKind::unsupported,
            fmt::format(
                "data.label_words: \"{}\" behind the template ({}) changes the template's own tokens; "
                "found {}; begin the word with a blank, or end the template otherwise",
                word, where, differs == after.end() ? "none" : list(tokenizer, {differs, after.end()})));
    throw Error(
        ExitStatus::study, ErrorKind::unsupported,
        fmt::format(
            "data.label_words: \"{}\" behind the template ({}) is not one more token; found {}; choose a "
            "word that is one token of this model (most begin with a blank), or set data.score = "
            "\"log-likelihood\" for words of several",
            word, where, differs == after.end() ? "none" : list(tokenizer, {differs, after.end()})));
}

/// The label words' tokens behind the filled templates, the same behind all of them.
class LabelWords {
  public:
    LabelWords(const LabelledText& options, const Tokenizer& tokenizer)
        : options_(options), tokenizer_(tokenizer) {}

    /// Behind every text anew: without a fixed end of the template a word may join what stands before it.
    void see(const std::vector<std::int32_t>& before, const std::string& filled, const std::string& where) {
        for (std::size_t c = 0; c < options_.label_words.size(); ++c) {
            const std::string& word = options_.label_words[c];
            std::vector<std::int32_t> ids =
                added_ids(tokenizer_, before, filled, word, options_.scores_answers, where);
            if (words_.size() == c) words_.push_back(std::move(ids));
            // One more token is the word's text and the same everywhere.
            else if (ids != words_[c])
                throw Error(
                    ExitStatus::study, ErrorKind::unsupported,
                    fmt::format("data.label_words: \"{}\" is {} behind the first text and {} behind the "
                                "template at {}; end the template with a fixed text or begin the word "
                                "with a blank",
                                word, list(tokenizer_, words_[c]), list(tokenizer_, ids), where));
        }
    }
    Index longest() const {
        Index most = 0;
        for (const auto& ids : words_) most = std::max(most, std::ssize(ids));
        return most;
    }
    /// All of them, one after the other, and where each begins.
    void put(std::vector<std::int32_t>& ids, std::vector<Index>& offsets) const {
        offsets = {0};
        ids.clear();
        for (const auto& word : words_) {
            ids.insert(ids.end(), word.begin(), word.end());
            offsets.push_back(std::ssize(ids));
        }
    }

  private:
    const LabelledText& options_;
    const Tokenizer& tokenizer_;
    std::vector<std::vector<std::int32_t>> words_;
};

/// The special tokens behind every text that stand in the way of the template's next token, which a causal
/// model is asked for where labels have words or a column holds the answers: a causal model is read at its
/// last token, and behind an end of the sequence nothing follows. A classifier reads it as it was trained.
Index taken_off(const LabelledText& options, const Tokenizer& tokenizer) {
    const bool next_token = !options.label_words.empty() || !options.completion.empty();
    return next_token && options.reading == Reading::last_token ? std::ssize(tokenizer.suffix()) : 0;
}

/// Cuts an encoding where a byte of the text behind the filled template begins.
/// @return the tokens of that text
std::vector<std::int32_t> split_off(Encoding& encoding, Index boundary) {
    std::size_t first = 0;
    while (first < encoding.ids.size() && encoding.bytes[first].second <= boundary) ++first;
    std::vector<std::int32_t> ids(encoding.ids.begin() + static_cast<Index>(first), encoding.ids.end());
    encoding.ids.resize(first);
    encoding.bytes.resize(first);
    return ids;
}

/// The one token that a label word is alone, for a masked model.
std::int32_t masked_label_id(const Tokenizer& tokenizer, const std::string& word) {
    const std::vector<std::int32_t> ids = tokenizer.encode(word, false).ids;
    if (ids.size() == 1 && ids.front() != tokenizer.unknown()) return ids.front();
    throw Error(
        ExitStatus::study, ErrorKind::unsupported,
        fmt::format("data.label_words: \"{}\" is not one token of this masked model; found {}; choose a "
                    "word that is",
                    word, ids.empty() ? "none" : list(tokenizer, ids)));
}

/// The labels of a table's rows.
class Labels {
  public:
    Labels(const LabelledText& options, const Table& table)
        : options_(options),
          table_(table),
          column_(table.column(options.label)),
          count_(std::ssize(options.label_words)) {
        if (!options.label_names.empty()) check_names();
        if (options.labels.empty()) return;
        if (options.label_words.empty()) count_ = std::ssize(options.labels);
        if (count_ != std::ssize(options.labels))
            throw Error(ExitStatus::study, ErrorKind::contradiction,
                        fmt::format("data.labels names {} labels, data.label_words has {} words; give "
                                    "one word per label",
                                    options.labels.size(), count_));
    }

    /// Of a row; nothing where its text is none.
    std::optional<std::int32_t> find(std::size_t row) const {
        const std::string& text = table_.rows[row][column_];
        Index label = place(options_.labels.empty() ? options_.label_names : options_.labels, text);
        if (label >= 0 || !options_.labels.empty()) {
            // A name.
        } else if (text == "True" || text == "true" || text == "False" || text == "false") {
            label = text[0] == 'T' || text[0] == 't' ? 1 : 0;
        } else {
            // pandas writes a column of integers in which some were missing as 1.0.
            const auto point = std::min(text.find('.'), text.size());
            const bool whole =
                point == text.size() ||
                (point + 1 < text.size() && text.find_first_not_of('0', point + 1) == std::string::npos);
            const char* const end = text.data() + point;
            if (const auto [stop, error] = std::from_chars(text.data(), end, label);
                error != std::errc() || stop != end || !whole)
                label = -1;
        }
        if (label < 0 || label >= (count_ > 0 ? count_ : most_labels)) return std::nullopt;
        return static_cast<std::int32_t>(label);
    }
    std::int32_t of(std::size_t row) const {
        if (const auto label = find(row)) return *label;
        const std::string& text = table_.rows[row][column_];
        const bool any_integer = options_.labels.empty() && count_ == 0;
        throw Error(
            ExitStatus::input, any_integer ? ErrorKind::malformed : ErrorKind::unknown_name,
            fmt::format("{}: line {}: label \"{}\" {}", table_.file, table_.lines[row], text, advice(text)));
    }
    /// How many there are, where neither names nor words say: as many as the rows of the table have, drawn
    /// or not. Into label_count and absent_label.
    void count(LabelledExamples& result) const {
        result.label_count = result.absent_label = count_;
        if (count_ > 0) return;
        std::set<Index> seen;
        for (std::size_t row = 0; row < table_.rows.size(); ++row)
            if (const auto label = find(row)) seen.insert(*label);
        result.label_count = seen.empty() ? 0 : *seen.rbegin() + 1;
        while (seen.contains(result.absent_label)) ++result.absent_label;
    }

  private:
    /// -1: it is none of them
    static Index place(const std::vector<std::string>& names, const std::string& text) {
        const auto found = std::ranges::find(names, text);
        return found == names.end() ? -1 : found - names.begin();
    }
    /// A trained head's labels. @throws Error(study) where data.labels does not fit them, or is needed to
    /// tell a name from a number
    void check_names() {
        const std::vector<std::string>& names = options_.label_names;
        count_ = std::ssize(names);
        const auto refuse = [&](ErrorKind kind, const std::string& problem) {
            throw Error(ExitStatus::study, kind,
                        fmt::format("data.labels: the model's id2label names {} labels ({}){}", names.size(),
                                    fmt::join(names, ", "), problem));
        };
        if (!options_.labels.empty() && std::ssize(options_.labels) != count_)
            refuse(ErrorKind::contradiction,
                   fmt::format(", data.labels {}; give the column's name of each", options_.labels.size()));
        const auto lower = [](std::string text) {
            for (char& c : text)
                if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
            return text;
        };
        for (Index label = 0; label < count_; ++label) {
            const std::string& name = names[static_cast<std::size_t>(label)];
            if (options_.labels.empty()) {
                if (name.find_first_not_of("0123456789") == std::string::npos &&
                    name != std::to_string(label))
                    refuse(
                        ErrorKind::contradiction,
                        fmt::format("; whether \"{}\" is a name or a number is not clear: give the column's "
                                    "name of each label as data.labels, in this order",
                                    name));
                continue;
            }
            for (Index other = 0; other < count_; ++other)
                if (other != label && lower(options_.labels[static_cast<std::size_t>(other)]) == lower(name))
                    refuse(ErrorKind::contradiction,
                           ", data.labels has them in another order; give its order");
        }
    }
    std::string advice(const std::string& text) const {
        if (!options_.labels.empty())
            return fmt::format("is not in data.labels; did you mean \"{}\"? Else add it there{}",
                               nearest(text, options_.labels),
                               options_.label_words.empty() ? "" : " and its word to data.label_words");
        if (!options_.label_names.empty())
            return fmt::format("is no label of the model (0 to {}, or {}); name the column's in data.labels",
                               count_ - 1, fmt::join(options_.label_names, ", "));
        if (count_ > 0)
            return fmt::format(
                "has no word; data.label_words gives words for 0, the first, to {}; name the column's "
                "labels, "
                "in the order of their words, in data.labels",
                count_ - 1);
        return "is not an integer 0, 1, ...; name the labels in data.labels";
    }

    const LabelledText& options_;
    const Table& table_;
    std::size_t column_;
    Index count_;
};

/// Removes tokens that lie wholly inside a column's text, the last of the longest column first, until
/// max_length holds for them and `behind` more; of a completion those but the first are a column too.
/// @return whether anything was cut
bool truncate(Encoding& encoding, const Filled& filled, const LabelledText& options, Index behind,
              std::vector<std::int32_t>& completion, const std::string& where) {
    const Index whole = std::ssize(encoding.ids) + behind + std::ssize(completion);
    if (whole <= options.max_length) return false;
    std::vector<std::vector<std::size_t>> inside(filled.columns.size());
    for (std::size_t t = 0; t < encoding.ids.size(); ++t)
        for (std::size_t c = 0; c < filled.columns.size(); ++c) {
            const auto [first, last] = encoding.bytes[t];
            if (first < last && first >= filled.columns[c].first && last <= filled.columns[c].second)
                inside[c].push_back(t);
        }
    std::vector<bool> removed(encoding.ids.size(), false);
    for (Index excess = whole - options.max_length; excess > 0; --excess) {
        auto& longest = *std::max_element(inside.begin(), inside.end(),
                                          [](const auto& a, const auto& b) { return a.size() < b.size(); });
        if (completion.size() > std::max<std::size_t>(1, longest.size())) {
            completion.pop_back();
            continue;
        }
        if (longest.empty())
            refuse_template(
                ErrorKind::contradiction, options,
                fmt::format("without its columns' texts it has {} tokens{} and does not fit into "
                            "data.max_length = {} ({}); shorten it or raise max_length",
                            std::ssize(encoding.ids) - std::count(removed.begin(), removed.end(), true),
                            options.scores_answers ? ", with its longest answer too many" : "",
                            options.max_length, where));
        removed[longest.back()] = true;
        longest.pop_back();
    }
    Encoding kept;
    for (std::size_t t = 0; t < encoding.ids.size(); ++t)
        if (!removed[t]) {
            kept.ids.push_back(encoding.ids[t]);
            kept.bytes.push_back(encoding.bytes[t]);
        }
    encoding = std::move(kept);
    return true;
}

/// Whether the words of two labels are the same tokens.
bool same_word(const LabelledExamples& examples, std::size_t a, std::size_t b) {
    if (examples.label_offsets.empty())  // of a masked model
        return examples.label_ids.size() > a && examples.label_ids[a] == examples.label_ids[b];
    const auto word = [&](std::size_t c) {
        return std::span(examples.label_ids)
            .subspan(static_cast<std::size_t>(examples.label_offsets[c]),
                     static_cast<std::size_t>(examples.label_offsets[c + 1] - examples.label_offsets[c]));
    };
    return std::ranges::equal(word(a), word(b));
}

/// @throws Error(study) naming a word that stands for two labels
void check_words_differ(const LabelledText& options, const LabelledExamples& result) {
    for (std::size_t a = 0; a < options.label_words.size(); ++a)
        for (std::size_t b = 0; b < a; ++b)
            if (same_word(result, a, b))
                throw Error(ExitStatus::study, ErrorKind::contradiction,
                            fmt::format("data.label_words: \"{}\" stands for two labels; choose another",
                                        options.label_words[a]));
}

/// Whether a text is white space and characters without a picture: a no-break space, a zero-width one, a byte
/// order mark.
bool shows_nothing(const std::string& text) {
    for (Index i = 0; i < std::ssize(text);) {
        const UChar32 c = next_code_point(text, i);
        if (!u_isUWhiteSpace(c) && !u_hasBinaryProperty(c, UCHAR_DEFAULT_IGNORABLE_CODE_POINT) &&
            (U_GET_GC_MASK(c) & (U_GC_CC_MASK | U_GC_CF_MASK)) == 0)
            return false;
    }
    return true;
}

/// Counts rows of which the template alone is left.
class BlankRows {
  public:
    BlankRows(const Template& prompt, const Table& table, const std::string& mask, const Tokenizer& tokenizer)
        : prompt_(prompt),
          table_(table),
          bare_(
              tokenizer.encode(fill(prompt, std::vector<std::string>(table.columns.size()), mask).text, false)
                  .ids) {}

    /// @param ids  of the filled template, without special tokens
    void see(std::size_t row, const std::vector<std::int32_t>& ids) {
        const bool blank = ids == bare_ || std::ranges::any_of(prompt_.columns, [&](std::size_t column) {
                               return shows_nothing(table_.rows[row][column]);
                           });
        if (!blank) return;
        const Index line = table_.lines[row];
        first_ = count_ == 0 ? line : std::min(first_, line);
        ++count_;
    }
    void warn(std::vector<std::string>& warnings) const {
        if (count_ > 0)
            warnings.push_back(fmt::format(
                "{}: line {}: nothing of the text is left but blanks or invisible characters ({} such rows); "
                "remove the rows or give them a text",
                table_.file, first_, count_));
    }

  private:
    const Template& prompt_;
    const Table& table_;
    std::vector<std::int32_t> bare_;
    Index count_ = 0, first_ = 0;
};

/// What a token of a vocabulary may spell: its bytes where a byte-level vocabulary writes stand-ins for them,
/// and its text with the blank that others write as U+2581.
std::vector<std::string> spellings(const std::string& token, const std::map<std::string, char>& byte_of) {
    std::string bytes, text;
    bool stand_ins = true;
    for (Index i = 0, first = 0; i < std::ssize(token); first = i) {
        next_code_point(token, i);
        const std::string character =
            token.substr(static_cast<std::size_t>(first), static_cast<std::size_t>(i - first));
        const auto found = byte_of.find(character);
        stand_ins = stand_ins && found != byte_of.end();
        if (stand_ins) bytes += found->second;
        text += character == "\u2581" ? " " : character;
    }
    return stand_ins ? std::vector{bytes, text} : std::vector{text};
}

/// Whether a text is UTF-8 and begins with a letter or a digit, but for one blank.
bool is_word(const std::string& text) {
    Index first = text.starts_with(' ') ? 1 : 0;
    if (first == std::ssize(text) || u_isalnum(next_code_point(text, first)) == 0) return false;
    while (first < std::ssize(text))
        if (next_code_point(text, first) < 0) return false;
    return true;
}

}  // namespace

std::vector<LabelWord> possible_label_words(const LabelledText& options, const Tokenizer& tokenizer,
                                            FilesRead& tables) {
    const Table table = read_table(options.file, tables);
    const Template prompt = parse_template(options, table);
    const std::string mask = mask_of(options, prompt, tokenizer);
    const auto drawn = draw_rows(std::ssize(table.rows), 1, options.seed, table.file);
    // Of a masked model the word stands alone.
    std::string before;
    if (mask.empty()) before = fill(prompt, table.rows[static_cast<std::size_t>(drawn.front())], mask).text;
    const std::vector<std::int32_t> ids = tokenizer.encode(before, false).ids;
    const std::array<std::string, 256> stand_ins = byte_stand_ins();
    std::map<std::string, char> byte_of;
    for (std::size_t b = 0; b < stand_ins.size(); ++b) byte_of[stand_ins[b]] = static_cast<char>(b);
    std::vector<LabelWord> words;
    for (std::int32_t id = 0; id < tokenizer.vocabulary_size(); ++id)
        for (const std::string& text : spellings(tokenizer.token(id), byte_of)) {
            if (!is_word(text) || id == tokenizer.unknown()) continue;
            const std::vector<std::int32_t> after = tokenizer.encode(before + text, false).ids;
            if (after.size() != ids.size() + 1 || after.back() != id ||
                !std::equal(ids.begin(), ids.end(), after.begin()))
                continue;
            words.push_back({id, text});
            break;
        }
    return words;
}

LabelledExamples read_labelled_text(const LabelledText& options, const Tokenizer& tokenizer,
                                    FilesRead& tables) {
    const Table table = read_table(options.file, tables);
    const Template prompt = parse_template(options, table);
    std::vector<std::size_t> texts = prompt.columns;
    if (!options.completion.empty()) texts.push_back(table.column(options.completion));
    std::optional<Labels> labels;
    if (options.completion.empty()) labels.emplace(options, table);
    const std::string mask = mask_of(options, prompt, tokenizer);

    LabelledExamples result;
    result.warnings = table.warnings;
    const auto unasked = static_cast<std::size_t>(taken_off(options, tokenizer));
    if (unasked > 0)
        result.warnings.push_back(fmt::format(
            "the tokenizer puts {} behind every text; it is left off, for the model is asked what "
            "follows the template",
            list(tokenizer, tokenizer.suffix())));
    BlankRows blank(prompt, table, mask, tokenizer);
    LabelWords words(options, tokenizer);
    if (!mask.empty())
        for (const std::string& word : options.label_words)
            result.label_ids.push_back(masked_label_id(tokenizer, word));
    for (const Index row : draw_rows(std::ssize(table.rows), options.samples, options.seed, table.file)) {
        const auto r = static_cast<std::size_t>(row);
        const std::string where = fmt::format("{}: line {}", table.file, table.lines[r]);
        for (const std::size_t column : texts)
            if (is_blank(table.rows[r][column]))
                throw Error(ExitStatus::input, ErrorKind::degenerate,
                            fmt::format("{}: column \"{}\" is empty; remove the row or give it a text", where,
                                        table.columns[column]));
        const Filled filled = fill(prompt, table.rows[r], mask);
        const Index length = std::ssize(filled.text);
        const std::int32_t label = labels ? labels->of(r) : 0;

        std::vector<std::int32_t> completion;
        Encoding plain =
            tokenizer.encode(labels ? filled.text : filled.text + table.rows[r][texts.back()], false);
        if (!labels) completion = split_off(plain, length);
        blank.see(r, plain.ids);
        if (mask.empty()) words.see(plain.ids, filled.text, where);

        Encoding encoding = tokenizer.with_special_tokens(std::move(plain), length);
        encoding.ids.resize(encoding.ids.size() - unasked);
        encoding.bytes.resize(encoding.ids.size());
        if (truncate(encoding, filled, options, options.scores_answers ? words.longest() : 0, completion,
                     where))
            ++result.cut;
        if (encoding.ids.empty() || (!labels && completion.empty()))
            throw Error(ExitStatus::input, ErrorKind::degenerate, fmt::format("{}: gives no token", where));
        result.data.append(encoding.ids, label, row);
        if (mask.empty()) words.put(result.label_ids, result.label_offsets);
        if (options.scores_answers && labels)
            result.data.append_answers(result.label_ids, result.label_offsets);
        else if (options.scores_answers)
            result.data.append_answers(completion, std::vector<Index>{0, std::ssize(completion)});
        if (!mask.empty())
            result.data.reads.push_back(mask_place(encoding, filled, *tokenizer.find(mask), where));
        if (options.reading == Reading::first_token) result.data.reads.push_back(0);
    }
    blank.warn(result.warnings);
    if (labels)
        labels->count(result);
    else
        result.label_count = result.absent_label = 1;
    check_words_differ(options, result);
    if (!options.scores_answers || !labels) result.label_offsets.clear();
    return result;
}

}  // namespace tangram
