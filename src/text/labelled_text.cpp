#include "tangram/text/labelled_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "tangram/error.hpp"
#include "tangram/files/table.hpp"
#include "tangram/text/drawing.hpp"

namespace tangram {

namespace {

/// A template cut into literal texts and columns, in turn: literal, column, literal, ..., literal.
struct Template {
    std::vector<std::string> literals;
    std::vector<std::size_t> columns;
};

Template parse_template(const LabelledText& options, const Table& table) {
    Template result;
    std::string literal;
    const std::string& prompt = options.prompt;
    for (std::size_t i = 0; i < prompt.size(); ++i) {
        const auto end = prompt[i] == '{' ? prompt.find('}', i) : std::string::npos;
        if (end == std::string::npos) {
            literal += prompt[i];
            continue;
        }
        const std::string name = prompt.substr(i + 1, end - i - 1);
        result.literals.push_back(std::exchange(literal, ""));
        result.columns.push_back(table.column(name == "text" ? options.text : name));
        i = end;
    }
    result.literals.push_back(literal);
    if (result.columns.empty())
        throw Error(ExitStatus::study,
                    fmt::format("data.template = \"{}\" names no column; write for example \"{{text}} It was\"", prompt));
    return result;
}

/// A filled template and where in it the columns' texts stand (byte ranges).
struct Filled {
    std::string text;
    std::vector<std::pair<Index, Index>> columns;
};

Filled fill(const Template& prompt, const std::vector<std::string>& row) {
    Filled filled{prompt.literals[0], {}};
    for (std::size_t c = 0; c < prompt.columns.size(); ++c) {
        const Index first = std::ssize(filled.text);
        filled.text += row[prompt.columns[c]];
        filled.columns.emplace_back(first, std::ssize(filled.text));
        filled.text += prompt.literals[c + 1];
    }
    return filled;
}

bool is_blank(const std::string& text) { return text.find_first_not_of(" \t\r\n") == std::string::npos; }

std::string list(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) {
    std::string text;
    for (const std::int32_t id : ids)
        text += fmt::format("{}\"{}\" ({})", text.empty() ? "" : ", ", tokenizer.token(id), id);
    return text;
}

/// The one token that a label word adds behind a filled template.
std::int32_t label_id(const Tokenizer& tokenizer, const std::string& filled, const std::string& word) {
    const std::vector<std::int32_t> before = tokenizer.encode(filled, false).ids;
    const std::vector<std::int32_t> after = tokenizer.encode(filled + word, false).ids;
    if (after.size() == before.size() + 1 && std::equal(before.begin(), before.end(), after.begin()))
        return after.back();
    const auto differs = std::mismatch(before.begin(), before.end(), after.begin(), after.end()).second;
    throw Error(ExitStatus::study,
                fmt::format("data.label_words: \"{}\" behind the template is not one token but {}; choose a word that is "
                            "one token of this model (most begin with a blank)",
                            word, list(tokenizer, {differs, after.end()})));
}

/// Removes tokens that lie wholly inside a column's text, the last of the longest column first, until max_length holds.
/// @return whether anything was cut
bool truncate(Encoding& encoding, const Filled& filled, Index max_length, const std::string& where) {
    if (std::ssize(encoding.ids) <= max_length) return false;
    std::vector<std::vector<std::size_t>> inside(filled.columns.size());
    for (std::size_t t = 0; t < encoding.ids.size(); ++t)
        for (std::size_t c = 0; c < filled.columns.size(); ++c) {
            const auto [first, last] = encoding.bytes[t];
            if (first < last && first >= filled.columns[c].first && last <= filled.columns[c].second)
                inside[c].push_back(t);
        }
    std::vector<bool> removed(encoding.ids.size(), false);
    for (Index excess = std::ssize(encoding.ids) - max_length; excess > 0; --excess) {
        auto& longest = *std::max_element(inside.begin(), inside.end(),
                                          [](const auto& a, const auto& b) { return a.size() < b.size(); });
        if (longest.empty())
            throw Error(ExitStatus::study, fmt::format("{}: data.template alone does not fit into data.max_length = {} "
                                                       "tokens; shorten it or raise max_length",
                                                       where, max_length));
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

}  // namespace

LabelledExamples read_labelled_text(const LabelledText& options, const Tokenizer& tokenizer) {
    const Table table = read_table(options.file);
    const Template prompt = parse_template(options, table);
    const std::size_t label_column = table.column(options.label);
    const Index label_count = std::ssize(options.label_words);

    const auto label_of = [&](std::size_t row) {
        const std::string& text = table.rows[row][label_column];
        Index label = -1;
        if (!options.labels.empty()) {
            const auto found = std::find(options.labels.begin(), options.labels.end(), text);
            if (found != options.labels.end()) label = found - options.labels.begin();
        } else if (std::from_chars(text.data(), text.data() + text.size(), label).ptr != text.data() + text.size() ||
                   text.empty()) {
            label = -1;
        }
        if (label < 0 || label >= label_count)
            throw Error(ExitStatus::input,
                        fmt::format("{}: line {}: label \"{}\" has no word; {}", table.file, table.lines[row], text,
                                    options.labels.empty()
                                        ? fmt::format("data.label_words gives words for 0 to {}, name other labels in "
                                                      "data.labels",
                                                      label_count - 1)
                                        : "add it to data.labels and data.label_words"));
        return static_cast<std::int32_t>(label);
    };

    LabelledExamples result;
    for (const Index row : draw_rows(std::ssize(table.rows), options.samples, options.seed, table.file)) {
        const auto r = static_cast<std::size_t>(row);
        const std::string where = fmt::format("{}: line {}", table.file, table.lines[r]);
        for (const std::size_t column : prompt.columns)
            if (is_blank(table.rows[r][column]))
                throw Error(ExitStatus::input, fmt::format("{}: column \"{}\" is empty; remove the row or give it a text",
                                                           where, table.columns[column]));
        const Filled filled = fill(prompt, table.rows[r]);
        if (result.label_ids.empty())
            for (const std::string& word : options.label_words)
                result.label_ids.push_back(label_id(tokenizer, filled.text, word));
        Encoding encoding = tokenizer.encode(filled.text, true);
        if (truncate(encoding, filled, options.max_length, where)) ++result.cut;
        if (encoding.ids.empty())
            throw Error(ExitStatus::input, fmt::format("{}: gives no token", where));
        result.data.append(encoding.ids, label_of(r), row);
    }
    if (std::set<std::int32_t>(result.label_ids.begin(), result.label_ids.end()).size() != result.label_ids.size())
        throw Error(ExitStatus::study, "data.label_words: two labels have the same word");
    return result;
}

}  // namespace tangram
