#include "tangram/files/json.hpp"

#include <fmt/format.h>

#include <fstream>
#include <sstream>

#include "tangram/error.hpp"

namespace tangram {

std::string read_text(const std::filesystem::path& file) {
    std::error_code code;
    if (!std::filesystem::exists(file, code))
        throw Error(ExitStatus::input, fmt::format("{}: no such file; check the path", file.string()));
    if (!std::filesystem::is_regular_file(file, code))
        throw Error(ExitStatus::input, fmt::format("{}: not a file; check the path", file.string()));
    std::ifstream stream(file, std::ios::binary);
    std::ostringstream text;
    text << stream.rdbuf();
    if (!stream) throw Error(ExitStatus::input, fmt::format("{}: cannot be read; check its permissions", file.string()));
    return std::move(text).str();
}

nlohmann::json parse_json(std::string_view text, const std::string& name) {
    // A hostile file could nest until the parser's destructor overflows the stack.
    constexpr int deepest = 200;
    const auto too_deep = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
        if (depth > deepest)
            throw Error(ExitStatus::input, fmt::format("{}: nests deeper than {} levels; not a file that tangram "
                                                       "knows",
                                                       name, deepest));
        return true;
    };
    try {
        return nlohmann::json::parse(text, too_deep);
    } catch (const nlohmann::json::parse_error& e) {
        throw Error(ExitStatus::input,
                    fmt::format("{}: not JSON at byte {}; the file is damaged, fetch it again", name, e.byte));
    }
}

nlohmann::json read_json(const std::filesystem::path& file) { return parse_json(read_text(file), file.string()); }

}  // namespace tangram
