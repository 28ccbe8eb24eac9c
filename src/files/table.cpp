#include "tangram/files/table.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "tangram/error.hpp"
#include "tangram/files/json.hpp"

namespace tangram {

namespace {

[[noreturn]] void refuse(ErrorKind kind, const std::string& file, Index line, const std::string& problem) {
    throw Error(ExitStatus::input, kind, fmt::format("{}: line {}: {}", file, line, problem));
}

/// The lines of a text without their ends (LF or CRLF); visit(number, line).
template <class Visit>
void for_lines(std::string_view text, Visit visit) {
    Index number = 0;
    while (!text.empty()) {
        const auto end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
        if (line.ends_with('\r')) line.remove_suffix(1);
        visit(++number, line);
    }
}

std::vector<std::string> fields(std::string_view line, char separator) {
    std::vector<std::string> out;
    while (true) {
        const auto end = line.find(separator);
        out.emplace_back(line.substr(0, end));
        if (end == std::string_view::npos) return out;
        line.remove_prefix(end + 1);
    }
}

/// Rows as they come; the first is the header unless the columns are known.
class Builder {
  public:
    explicit Builder(Table& table) : table_(table) {}

    void header(Index line, std::vector<std::string> columns) {
        std::set<std::string_view> seen;
        for (const std::string& column : columns)
            if (!seen.insert(column).second)
                refuse(ErrorKind::contradiction, table_.file, line,
                       fmt::format("column \"{}\" stands there twice; rename one", column));
        table_.columns = std::move(columns);
    }
    void row(Index line, std::vector<std::string> fields) {
        if (empty_line_ > 0)
            refuse(ErrorKind::malformed, table_.file, empty_line_, "an empty line between rows; remove it");
        if (table_.columns.empty()) return header(line, std::move(fields));
        if (fields.size() != table_.columns.size())
            refuse(ErrorKind::malformed, table_.file, line,
                   fmt::format("{} fields, the header has {}", fields.size(), table_.columns.size()));
        table_.rows.push_back(std::move(fields));
        table_.lines.push_back(line);
    }
    /// Tolerated where no row follows.
    void empty_line(Index line) {
        if (empty_line_ == 0) empty_line_ = line;
    }

  private:
    Table& table_;
    Index empty_line_ = 0;
};

/// What says that quotes are none of the text.
struct Quotes {
    bool of_columns = false;  ///< all columns' names stand in them
    bool doubled = false;     ///< one is, within a field
};

/// Rows of fields that may stand in quotes (RFC 4180).
Quotes read_quoted(Table& table, std::string_view text, char separator) {
    Builder builder(table);
    Index line = 1, start = 1;
    std::vector<std::string> row(1);
    bool quoted = false, was_quoted = false, any = false;
    Quotes found;
    std::size_t in_quotes = 0;  // fields of the row
    const auto end_row = [&] {
        if (table.columns.empty() && in_quotes == row.size()) found.of_columns = true;
        in_quotes = 0;
        if (any)
            builder.row(start, std::move(row));
        else
            builder.empty_line(start);
        row.assign(1, "");
        any = was_quoted = false;
    };
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (!any) start = line;
        if (quoted) {
            if (c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
                row.back() += '"';
                found.doubled = true;
                ++i;
            } else if (c == '"') {
                quoted = false;
            } else {
                row.back() += c;
            }
        } else if (c == '"') {
            if (!row.back().empty() || was_quoted)
                refuse(ErrorKind::malformed, table.file, line,
                       "a quote inside a field; double it and quote the whole field");
            quoted = was_quoted = any = true;
            ++in_quotes;
        } else if (c == separator) {
            row.emplace_back();
            was_quoted = false;
            any = true;
        } else if (c == '\n') {
            end_row();
        } else if (c != '\r' || (i + 1 < text.size() && text[i + 1] != '\n')) {
            if (was_quoted)
                refuse(ErrorKind::malformed, table.file, line,
                       "text behind a closing quote; double the quotes inside a field");
            row.back() += c;
            any = true;
        }
        if (c == '\n') ++line;
    }
    if (quoted)
        refuse(ErrorKind::malformed, table.file, start, "a quote is opened in this row and never closed");
    if (any) end_row();
    return found;
}

void read_literal(Table& table, std::string_view text) {
    Builder builder(table);
    for_lines(text, [&](Index number, std::string_view line) {
        if (line.empty())
            builder.empty_line(number);
        else
            builder.row(number, fields(line, '\t'));
    });
}

/// Says of a table read with literal quotes that some may be none of the text.
/// @param any  a quote at a field's beginning is enough for that; else its end must have one too
void warn_of_quotes(Table& table, bool any) {
    Index count = 0, first = 0;
    for (std::size_t r = 0; r < table.rows.size(); ++r)
        for (const std::string& field : table.rows[r])
            if (field.starts_with('"') && (any || (field.size() > 1 && field.ends_with('"'))) && ++count == 1)
                first = table.lines[r];
    if (count > 0)
        table.warnings.push_back(fmt::format(
            "{}: line {}: the quotes around a field are kept as part of its text ({} such fields): "
            "nothing says that they are none; write the table as .csv if so",
            table.file, first, count));
}

/// Two readings of one text, both of which are possible, with other rows.
[[noreturn]] void refuse_either(const Table& literal, const Table& quoted) {
    const auto& lines = quoted.lines;
    const auto [joined, behind] =
        std::mismatch(literal.lines.begin(), literal.lines.end(), lines.begin(), lines.end());
    refuse(
        ErrorKind::contradiction, literal.file, joined == literal.lines.end() ? 1 : *joined,
        fmt::format("a row of its own, or part of a field in quotes that begins before it: the file has {} "
                    "rows where quotes belong to the texts, else {}; write it as .csv if they do not, else "
                    "as .jsonl, or take the quotes away",
                    literal.rows.size(), quoted.rows.size()));
}

void read_tsv(Table& table, std::string_view text) {
    if (text.find('"') == std::string_view::npos) return read_literal(table, text);
    // The two readings may both be possible, or one, or none.
    const auto read = [&](auto reader) {
        std::pair<Table, std::optional<Error>> result;
        result.first.file = table.file;
        try {
            reader(result.first);
        } catch (const Error& e) {
            result.second = e;
        }
        return result;
    };
    Quotes quotes;
    auto [literal, problem] = read([&](Table& t) { read_literal(t, text); });
    auto [quoted, problem_of_quoted] = read([&](Table& t) { quotes = read_quoted(t, text, '\t'); });
    if (!problem_of_quoted && (problem || quotes.of_columns || quotes.doubled)) {
        // In a literal file a field may begin with a quote, a later one end with one and one between them
        // hold two: rows would be lost that each have as many fields as the header.
        if (!problem && !quotes.of_columns && literal.rows.size() != quoted.rows.size())
            refuse_either(literal, quoted);
        table = std::move(quoted);
        return;
    }
    if (problem) throw *problem;
    table = std::move(literal);
    warn_of_quotes(table, !problem_of_quoted);
}

/// The line with null for the NaN, Infinity and -Infinity that Python writes among JSON's values.
std::string without_non_finite(std::string_view line) {
    std::string result;
    bool quoted = false;
    for (std::size_t i = 0; i < line.size(); ++i) {
        const std::string_view rest = line.substr(i);
        const std::string_view found = quoted                          ? ""
                                       : rest.starts_with("NaN")       ? "NaN"
                                       : rest.starts_with("Infinity")  ? "Infinity"
                                       : rest.starts_with("-Infinity") ? "-Infinity"
                                                                       : "";
        if (!found.empty()) {
            result += "null";
            i += found.size() - 1;
            continue;
        }
        if (line[i] == '"') quoted = !quoted;
        result += line[i];
        if (quoted && line[i] == '\\' && i + 1 < line.size()) result += line[++i];
    }
    return result;
}

void read_jsonl(Table& table, std::string_view text) {
    Builder builder(table);
    Index first_line = 0;
    for_lines(text, [&](Index number, std::string_view line) {
        if (line.find_first_not_of(" \t") == std::string_view::npos) return builder.empty_line(number);
        const nlohmann::json json =
            parse_json(without_non_finite(line), fmt::format("{}: line {}", table.file, number),
                       DuplicateKeys::last_counts, "every line must be one JSON object; correct it");
        if (!json.is_object() || json.empty())
            refuse(ErrorKind::malformed, table.file, number, "not a JSON object with values");
        if (table.columns.empty()) {
            std::vector<std::string> columns;
            for (const auto& [key, value] : json.items()) columns.push_back(key);
            builder.header(number, std::move(columns));
            first_line = number;
        }
        std::vector<std::string> row;
        for (const std::string& column : table.columns) {
            const auto value = json.find(column);
            const bool is_text =
                value != json.end() && (value->is_string() || value->is_number() || value->is_boolean());
            if (!is_text) table.not_text.emplace(column, number);
            row.push_back(!is_text ? "" : value->is_string() ? value->get<std::string>() : value->dump());
        }
        for (const auto& [key, value] : json.items())  // an object's keys stand in order
            if (!std::ranges::binary_search(table.columns, key)) table.not_text.emplace(key, first_line);
        builder.row(number, std::move(row));
    });
}

constexpr const char* blanks = " \t";

/// Columns' names for a message.
std::string listed(const std::vector<std::string>& columns) {
    constexpr std::size_t most = 20;
    std::string text;
    for (std::size_t c = 0; c < columns.size() && c < most; ++c)
        text += fmt::format("{}\"{}\"", c == 0 ? "" : ", ", columns[c]);
    return columns.size() > most ? fmt::format("{} and {} more", text, columns.size() - most) : text;
}

}  // namespace

std::size_t Table::column(std::string_view name) const {
    if (const auto found = not_text.find(name); found != not_text.end())
        throw Error(
            ExitStatus::input, ErrorKind::missing,
            fmt::format("{}: line {}: \"{}\" is missing there, or neither a text nor a number; give it "
                        "a value or remove the line",
                        file, found->second, name));
    const auto found = std::find(columns.begin(), columns.end(), name);
    if (found == columns.end()) {
        const auto with_blanks = std::ranges::find_if(columns, [&](const std::string& column) {
            const auto first = column.find_first_not_of(blanks);
            return first != std::string::npos &&
                   column.substr(first, column.find_last_not_of(blanks) + 1 - first) == name;
        });
        throw Error(
            ExitStatus::input, ErrorKind::missing,
            with_blanks != columns.end()
                ? fmt::format("{}: no column \"{}\", but \"{}\"; take the blanks out of the header", file,
                              name, *with_blanks)
                : fmt::format("{}: no column \"{}\"; the header names {}", file, name, listed(columns)));
    }
    return static_cast<std::size_t>(found - columns.begin());
}

bool is_utf8(std::string_view bytes) {
    for (std::size_t i = 0; i < bytes.size();) {
        const auto lead = static_cast<unsigned char>(bytes[i]);
        const std::size_t length = lead < 0x80       ? 1
                                   : lead >> 5 == 6  ? 2
                                   : lead >> 4 == 14 ? 3
                                   : lead >> 3 == 30 ? 4
                                                     : 0;
        if (length == 0 || i + length > bytes.size()) return false;
        std::uint32_t code = length == 1 ? lead : lead & (0x7FU >> length);
        for (std::size_t k = 1; k < length; ++k) {
            const auto next = static_cast<unsigned char>(bytes[i + k]);
            if (next >> 6 != 2) return false;
            code = code << 6 | (next & 0x3FU);
        }
        constexpr std::uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
        if (code < smallest[length] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return false;
        i += length;
    }
    return true;
}

Table read_table(const std::filesystem::path& file, FilesRead& files) {
    const std::string ending = file.extension().string();
    if (ending != ".tsv" && ending != ".csv" && ending != ".jsonl")
        throw Error(ExitStatus::input, ErrorKind::unsupported,
                    fmt::format("{}: ending \"{}\" is not supported; use .tsv, .csv, .jsonl or .h5",
                                file.string(), ending));
    const std::string bytes = read_text(file, files);
    std::string_view text = bytes;
    if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
    Table table;
    table.file = file.string();
    for_lines(text, [&](Index number, std::string_view line) {
        if (!is_utf8(line)) refuse(ErrorKind::malformed, table.file, number, "not UTF-8; convert the file");
    });
    if (text.find('\n') == std::string_view::npos &&
        text.substr(0, text.find_last_not_of('\r')).find('\r') < text.size())
        refuse(ErrorKind::malformed, table.file, 1,
               "lines end with a carriage return alone; save the file with line feeds (tr '\\r' '\\n')");
    if (ending == ".tsv")
        read_tsv(table, text);
    else if (ending == ".csv")
        read_quoted(table, text, ',');
    else
        read_jsonl(table, text);
    if (text.empty())
        throw Error(ExitStatus::input, ErrorKind::degenerate, fmt::format("{}: is empty", table.file));
    if (table.rows.empty())
        throw Error(ExitStatus::input, ErrorKind::degenerate,
                    fmt::format("{}: holds no rows{}", table.file,
                                ending == ".jsonl" ? "" : "; the first line is the header"));
    return table;
}

}  // namespace tangram
