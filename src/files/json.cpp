#include "tangram/files/json.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

namespace tangram {

std::string read_text(const std::filesystem::path& file, ExitStatus status) {
    const auto refuse = [&](const std::string& problem) {
        throw Error(status, fmt::format("{}: {}", file.string(), problem));
    };
    std::error_code code;
    if (!std::filesystem::exists(file, code)) refuse("no such file; check the path");
    if (!std::filesystem::is_regular_file(file, code)) refuse("not a file; check the path");
    const auto close_it = [](const int* descriptor) { close(*descriptor); };
    const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) refuse("cannot be read; check its permissions");
    const std::unique_ptr<const int, decltype(close_it)> closed(&descriptor, close_it);
    struct stat status_of_file {};
    if (fstat(descriptor, &status_of_file) != 0) refuse(fmt::format("reading failed: {}", strerror(errno)));
    // One byte more than the file says, so that its end is seen; files of /proc say nothing.
    const auto size = static_cast<std::size_t>(status_of_file.st_size);
    std::string text(size + 1, '\0');
    std::size_t count = 0;
    while (true) {
        if (count == text.size()) text.resize(2 * count + 4096);
        const ssize_t more = read(descriptor, text.data() + count, text.size() - count);
        if (more < 0 && errno == EINTR) continue;
        if (more < 0) refuse(fmt::format("reading failed: {}", strerror(errno)));
        if (more == 0) break;
        count += static_cast<std::size_t>(more);
    }
    if (count < size) refuse("was cut short while it was read; fetch it again");
    text.resize(count);
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
