#include "tangram/files/table.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "tangram/error.hpp"
#include "tangram/files/json.hpp"
#include "tangram/files/nearest.hpp"

namespace tangram {

namespace {

[[noreturn]] void refuse(const std::string& file, Index line, const std::string& problem) {
    throw Error(ExitStatus::input, fmt::format("{}: line {}: {}", file, line, problem));
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

void add_row(Table& table, Index line, std::vector<std::string> row) {
    if (table.columns.empty()) {
        table.columns = std::move(row);
        return;
    }
    if (row.size() != table.columns.size())
        refuse(table.file, line, fmt::format("{} fields, the header has {}", row.size(), table.columns.size()));
    table.rows.push_back(std::move(row));
    table.lines.push_back(line);
}

void read_tsv(Table& table, std::string_view text) {
    for_lines(text, [&](Index number, std::string_view line) {
        if (line.empty() && (table.columns.empty() || table.columns.size() > 1)) return;
        add_row(table, number, fields(line, '\t'));
    });
}

void read_csv(Table& table, std::string_view text) {
    Index line = 1, start = 1;
    std::vector<std::string> row(1);
    bool quoted = false, was_quoted = false, any = false;
    const auto end_row = [&] {
        if (any || row.size() > 1) add_row(table, start, std::move(row));
        row.assign(1, "");
        any = was_quoted = false;
    };
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (!any && row.size() == 1) start = line;
        if (quoted) {
            if (c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
                row.back() += '"';
                ++i;
            } else if (c == '"') {
                quoted = false;
            } else {
                row.back() += c;
            }
        } else if (c == '"') {
            if (!row.back().empty() || was_quoted) refuse(table.file, line, "a quote inside a field; double it and quote the field");
            quoted = was_quoted = any = true;
        } else if (c == ',') {
            row.emplace_back();
            was_quoted = false;
            any = true;
        } else if (c == '\n') {
            end_row();
        } else if (!(c == '\r' && i + 1 < text.size() && text[i + 1] == '\n')) {
            if (was_quoted) refuse(table.file, line, "text behind a closing quote");
            row.back() += c;
            any = true;
        }
        if (c == '\n') ++line;
    }
    if (quoted) refuse(table.file, start, "a quote is opened and never closed");
    end_row();
}

void read_jsonl(Table& table, std::string_view text) {
    for_lines(text, [&](Index number, std::string_view line) {
        if (line.find_first_not_of(" \t") == std::string_view::npos) return;
        const nlohmann::json json = parse_json(line, fmt::format("{}: line {}", table.file, number));
        if (!json.is_object()) refuse(table.file, number, "not a JSON object");
        if (table.columns.empty())
            for (const auto& [key, value] : json.items()) table.columns.push_back(key);
        std::vector<std::string> row;
        for (const std::string& column : table.columns) {
            if (!json.contains(column)) refuse(table.file, number, fmt::format("\"{}\" is missing", column));
            const auto& value = json[column];
            if (!value.is_string() && !value.is_number() && !value.is_boolean())
                refuse(table.file, number, fmt::format("\"{}\" is neither a string nor a number", column));
            row.push_back(value.is_string() ? value.get<std::string>() : value.dump());
        }
        add_row(table, number, std::move(row));
    });
}

}  // namespace

std::size_t Table::column(std::string_view name) const {
    const auto found = std::find(columns.begin(), columns.end(), name);
    if (found == columns.end())
        throw Error(ExitStatus::input, fmt::format("{}: no column \"{}\"; did you mean \"{}\"?", file, name,
                                                   nearest(name, columns)));
    return static_cast<std::size_t>(found - columns.begin());
}

bool is_utf8(std::string_view bytes) {
    for (std::size_t i = 0; i < bytes.size();) {
        const auto lead = static_cast<unsigned char>(bytes[i]);
        const std::size_t length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
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

Table read_table(const std::filesystem::path& file) {
    const std::string ending = file.extension().string();
    if (ending != ".tsv" && ending != ".csv" && ending != ".jsonl")
        throw Error(ExitStatus::input,
                    fmt::format("{}: ending \"{}\" is not supported; use .tsv, .csv, .jsonl or .h5", file.string(), ending));
    const std::string bytes = read_text(file);
    std::string_view text = bytes;
    if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
    Table table;
    table.file = file.string();
    for_lines(text, [&](Index number, std::string_view line) {
        if (!is_utf8(line)) refuse(table.file, number, "not UTF-8; convert the file");
    });
    if (ending == ".tsv")
        read_tsv(table, text);
    else if (ending == ".csv")
        read_csv(table, text);
    else
        read_jsonl(table, text);
    if (table.rows.empty())
        throw Error(ExitStatus::input, fmt::format("{}: holds no rows{}", table.file,
                                                   ending == ".jsonl" ? "" : "; the first line is the header"));
    return table;
}

}  // namespace tangram
