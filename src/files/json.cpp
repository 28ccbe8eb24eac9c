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

namespace {

/// What is checked of a text before anything is made of it: how deep it nests, and keys that stand twice.
class Check final : public nlohmann::json_sax<nlohmann::json> {
  public:
    Check(const std::string& name, DuplicateKeys duplicates) : name_(name), duplicates_(duplicates) {}

    bool start_object(std::size_t) override {
        keys_.emplace_back();
        return open();
    }
    bool start_array(std::size_t) override { return open(); }
    bool end_object() override {
        keys_.pop_back();
        return close();
    }
    bool end_array() override { return close(); }
    bool key(std::string& text) override {
        if (duplicates_ == DuplicateKeys::refused && !keys_.back().insert(text).second)
            throw Error(ExitStatus::input,
                        fmt::format("{}: \"{}\" stands there twice; the file is damaged, fetch it again",
                                    name_, text));
        return true;
    }
    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(std::int64_t) override { return true; }
    bool number_unsigned(std::uint64_t) override { return true; }
    bool number_float(double, const std::string&) override { return true; }
    bool string(std::string&) override { return true; }
    bool binary(nlohmann::json::binary_t&) override { return true; }
    /// Stops there; parse() says what is wrong.
    bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception&) override {
        return false;
    }

  private:
    bool open() {
        // A hostile file could nest until somebody's recursion overflows the stack.
        constexpr int deepest = 200;
        if (++depth_ > deepest)
            throw Error(ExitStatus::input,
                        fmt::format("{}: nests deeper than {} levels; not a file that tangram knows", name_,
                                    deepest));
        return true;
    }
    bool close() {
        --depth_;
        return true;
    }

    const std::string& name_;
    DuplicateKeys duplicates_;
    int depth_ = 0;
    std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& name, DuplicateKeys duplicates) {
    // Apart from parse(), whose callback costs it the size of the parent at the end of every object.
    Check check(name, duplicates);
    nlohmann::json::sax_parse(text, &check);
    try {
        return nlohmann::json::parse(text);
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
