#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tangram/files/files_read.hpp"
#include "tangram/index.hpp"

namespace tangram {

/// A text table with named columns.
struct Table {
    std::string file;
    std::vector<std::string> columns;
    std::vector<std::vector<std::string>> rows;  ///< each as long as `columns`
    std::vector<Index> lines;                    ///< per row the line of the file it starts at, 1-based
    /// Columns of a .jsonl that a row lacks, or has no text in (null, NaN, a list), with the first such line.
    std::map<std::string, Index, std::less<>> not_text;
    std::vector<std::string> warnings;  ///< what a person should hear of

    Index line_of(Index row) const { return lines[static_cast<std::size_t>(row)]; }

    /// Position of a column.
    /// @throws Error(input) naming the file and the nearest column, or the line that has no text there
    std::size_t column(std::string_view name) const;
};

/// Reads a table by its ending: .tsv (tab-separated, header line; a quote is literal, unless all quotes stand
/// as RFC 4180 has them, as pandas writes, and one is doubled, or all columns' names are quoted, or the rows
/// have as many fields as the header only so), .csv (RFC 4180) or
/// .jsonl (one object per line; the keys of the first are the columns; strings, or numbers and booleans as
/// their text; a key that is absent, null, NaN or a list matters only to who asks for its column). UTF-8; a
/// byte order mark, CRLF and empty last lines are tolerated. Local.
/// @throws Error(input) naming file and line: missing, empty, not UTF-8, a row with another number of fields,
///         an empty line between rows, an unclosed quote, a column twice, an unknown ending
Table read_table(const std::filesystem::path& file, FilesRead& files);

/// True if the bytes are well-formed UTF-8 (no surrogates, no overlong forms, nothing above U+10FFFF).
bool is_utf8(std::string_view bytes);

}  // namespace tangram
