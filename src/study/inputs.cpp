#include "tangram/study/inputs.hpp"

#include <fmt/core.h>

#include <sstream>

namespace tangram {

Inputs& Inputs::add(const std::string& name, const std::string& value) {
    const bool plain = value.size() <= 64 && value.find('\n') == std::string::npos;
    text_ += name + " = " + (plain ? value : sha256_of_bytes(std::as_bytes(std::span(value)))) + "\n";
    return *this;
}

std::string Inputs::hash() const { return sha256_of_bytes(std::as_bytes(std::span(text_))); }

std::optional<std::string> difference(const std::string& there, const std::string& here) {
    std::istringstream theirs(there), ours(here);
    std::string a, b;
    while (true) {
        const bool more_there = static_cast<bool>(std::getline(theirs, a));
        const bool more_here = static_cast<bool>(std::getline(ours, b));
        if (!more_there && !more_here) return std::nullopt;
        if (!more_there) a.clear();
        if (!more_here) b.clear();
        if (a == b) continue;
        const auto split = [](const std::string& line) {
            const std::size_t at = line.find(" = ");
            return at == std::string::npos ? std::pair{line, std::string()}
                                           : std::pair{line.substr(0, at), line.substr(at + 3)};
        };
        const auto [their_name, their_value] = split(a);
        const auto [our_name, our_value] = split(b);
        if (their_name == our_name)
            return fmt::format("{} is {} there and {} here", our_name, their_value, our_value);
        return fmt::format("{} there, {} here", a.empty() ? "nothing more" : a,
                           b.empty() ? "nothing more" : b);
    }
}

}  // namespace tangram
