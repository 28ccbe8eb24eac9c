#include "tangram/files/json.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <vector>

namespace tangram {

std::string read_text(const std::filesystem::path& file, FilesRead& files, ExitStatus status) {
    const auto refuse = [&](ErrorKind kind, const std::string& problem) {
        throw Error(status, kind, fmt::format("{}: {}", file.string(), problem));
    };
    std::error_code code;
    if (!std::filesystem::exists(file, code)) refuse(ErrorKind::missing, "no such file; check the path");
    if (!std::filesystem::is_regular_file(file, code))
        refuse(ErrorKind::malformed, "not a file; check the path");
    const auto close_it = [](const int* descriptor) { close(*descriptor); };
    // Without waiting: a pipe that took the file's place, or one that calls itself a file, has nobody to
    // write.
    const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) refuse(ErrorKind::no_access, "cannot be read; check its permissions");
    const std::unique_ptr<const int, decltype(close_it)> closed(&descriptor, close_it);
    struct stat status_of_file {};
    if (fstat(descriptor, &status_of_file) != 0)
        refuse(ErrorKind::no_access, fmt::format("reading failed: {}", strerror(errno)));
    if (!S_ISREG(status_of_file.st_mode)) refuse(ErrorKind::malformed, "not a file; check the path");
    // One byte more than the file says, so that its end is seen; files of /proc say nothing.
    const auto size = static_cast<std::size_t>(status_of_file.st_size);
    std::string text(size + 1, '\0');
    std::size_t count = 0;
    while (true) {
        if (count == text.size()) text.resize(2 * count + 4096);
        const ssize_t more = read(descriptor, text.data() + count, text.size() - count);
        if (more < 0 && errno == EINTR) continue;
        if (more < 0 && errno == EAGAIN) refuse(ErrorKind::malformed, "not a file that ends; check the path");
        if (more < 0) refuse(ErrorKind::no_access, fmt::format("reading failed: {}", strerror(errno)));
        if (more == 0) break;
        count += static_cast<std::size_t>(more);
    }
    if (count < size) refuse(ErrorKind::changed, "was cut short while it was read; fetch it again");
    text.resize(count);
    files.add(file, state_of(status_of_file), text);
    return text;
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
            throw Error(ExitStatus::input, ErrorKind::contradiction,
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
            throw Error(ExitStatus::input, ErrorKind::unsupported,
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

/// Numbers that Python writes and JSON does not have. They are parsed as strings of as many bytes, so that
/// positions stay, and put back.
struct PythonNumber {
    std::string_view token;
    double value;
};
constexpr PythonNumber python_numbers[] = {{"-Infinity", -std::numeric_limits<double>::infinity()},
                                           {"Infinity", std::numeric_limits<double>::infinity()},
                                           {"NaN", std::numeric_limits<double>::quiet_NaN()}};

std::string stand_in(const PythonNumber& number, char filled_with) {
    return '"' + std::string(number.token.size() - 2, filled_with) + '"';
}

/// Where a token of Python's stands at `at`, outside of strings and not as a key: which.
const PythonNumber* python_number(std::string_view text, std::size_t at) {
    for (const PythonNumber& number : python_numbers) {
        if (!text.substr(at).starts_with(number.token)) continue;
        const std::size_t next = text.find_first_not_of(" \t\r\n", at + number.token.size());
        if (next == std::string_view::npos || text[next] == ',' || text[next] == ']' || text[next] == '}')
            return &number;
    }
    return nullptr;
}

/// The text with stand-ins in place of Python's numbers. @param filled_with  out: the byte of the stand-ins,
/// whose strings the text holds nowhere else; 0: there are none
std::string without_python_numbers(std::string_view text, char& filled_with) {
    filled_with = 0;
    if (text.find("NaN") == std::string_view::npos && text.find("Infinity") == std::string_view::npos)
        return {};
    const auto free = [&](char c) {
        return std::ranges::none_of(python_numbers, [&](const PythonNumber& number) {
            return text.find(stand_in(number, c)) != std::string_view::npos;
        });
    };
    char byte = '!';
    while (byte < '~' && (byte == '"' || byte == '\\' || !free(byte))) ++byte;
    std::string changed(text);
    bool in_string = false;
    for (std::size_t at = 0; at < changed.size(); ++at) {
        if (in_string && changed[at] == '\\')
            ++at;
        else if (changed[at] == '"')
            in_string = !in_string;
        else if (const PythonNumber* const number = in_string ? nullptr : python_number(changed, at)) {
            changed.replace(at, number->token.size(), stand_in(*number, byte));
            at += number->token.size() - 1;
            filled_with = byte;
        }
    }
    return changed;
}

void put_back(nlohmann::json& value, char filled_with) {
    if (value.is_structured()) {
        for (nlohmann::json& part : value) put_back(part, filled_with);
        return;
    }
    if (!value.is_string()) return;
    const std::string quoted = '"' + value.get<std::string>() + '"';
    for (const PythonNumber& number : python_numbers)
        if (quoted == stand_in(number, filled_with)) {
            value = number.value;
            return;
        }
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& name, DuplicateKeys duplicates,
                          const std::string& advice) {
    char filled_with = 0;
    const std::string changed = without_python_numbers(text, filled_with);
    if (filled_with != 0) text = changed;
    // Apart from parse(), whose callback costs it the size of the parent at the end of every object.
    Check check(name, duplicates);
    nlohmann::json::sax_parse(text, &check);
    try {
        nlohmann::json json = nlohmann::json::parse(text);
        if (filled_with != 0) put_back(json, filled_with);
        return json;
    } catch (const nlohmann::json::parse_error& e) {
        // What was read last follows, and may say anything.
        const std::string_view what = e.what();
        const bool half = what.substr(0, what.find("; last read")).find("surrogate") != what.npos;
        throw Error(ExitStatus::input, ErrorKind::malformed,
                    half
                        ? fmt::format("{}: half of a character (a surrogate, \\ud800 to \\udfff, without its "
                                      "other one) before byte {}; write the whole character, or \\ufffd",
                                      name, e.byte)
                        : fmt::format("{}: not JSON at byte {}; {}", name, e.byte, advice));
    } catch (const nlohmann::json::exception&) {
        throw Error(ExitStatus::input, ErrorKind::out_of_range,
                    fmt::format("{}: holds a number beyond float64", name));
    }
}

nlohmann::json read_json(const std::filesystem::path& file, FilesRead& files) {
    return parse_json(read_text(file, files), file.string());
}

}  // namespace tangram
