#include "tangram/files/json.hpp"

#include <fmt/format.h>

#include <fstream>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

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
    if (!stream)
        throw Error(ExitStatus::input,
                    fmt::format("{}: cannot be read; check its permissions", file.string()));
    return std::move(text).str();
}

nlohmann::json parse_json(std::string_view text, const std::string& name, DuplicateKeys duplicates) {
    using Event = nlohmann::json::parse_event_t;
    // A hostile file could nest until the parser's destructor overflows the stack.
    constexpr int deepest = 200;
    std::vector<std::set<std::string>> keys;  // of the objects that are open
    const auto check = [&](int depth, Event event, nlohmann::json& parsed) {
        if (depth > deepest)
            throw Error(ExitStatus::input,
                        fmt::format("{}: nests deeper than {} levels; not a file that tangram "
                                    "knows",
                                    name, deepest));
        if (duplicates == DuplicateKeys::refused) {
            if (event == Event::object_start) keys.emplace_back();
            if (event == Event::object_end) keys.pop_back();
            if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second)
                throw Error(ExitStatus::input,
                            fmt::format("{}: \"{}\" stands there twice; the file is damaged, fetch "
                                        "it again",
                                        name, parsed.get<std::string>()));
        }
        return true;
    };
    try {
        return nlohmann::json::parse(text, check);
    } catch (const nlohmann::json::parse_error& e) {
        throw Error(
            ExitStatus::input,
            fmt::format("{}: not JSON at byte {}; the file is damaged, fetch it again", name, e.byte));
    } catch (const nlohmann::json::exception&) {
        throw Error(ExitStatus::input, fmt::format("{}: holds a number beyond float64", name));
    }
}

nlohmann::json read_json(const std::filesystem::path& file) {
    return parse_json(read_text(file), file.string());
}

}  // namespace tangram
