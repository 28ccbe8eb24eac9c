#pragma once
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "tangram/error.hpp"

namespace tangram::fuzz {

/// A folder in memory of this process alone, for readers that want a path.
inline const std::filesystem::path& folder() {
    static const std::filesystem::path path = [] {
        const auto made = std::filesystem::path("/dev/shm") / ("tangram-fuzz-" + std::to_string(getpid()));
        std::filesystem::create_directories(made);
        std::atexit([] { std::filesystem::remove_all(folder()); });
        return made;
    }();
    return path;
}

inline std::filesystem::path file(const std::string& name, std::string_view content) {
    const auto path = folder() / name;
    std::ofstream(path, std::ios::binary | std::ios::trunc)
        .write(content.data(), static_cast<std::streamsize>(content.size()));
    return path;
}

/// A file of tools/fuzz/seeds.
inline std::string seed(const std::string& name) {
    std::ifstream in(std::filesystem::path(TANGRAM_FUZZ_SEEDS) / name, std::ios::binary);
    std::string content(std::istreambuf_iterator<char>(in), {});
    if (content.empty()) std::abort();
    return content;
}

/// What a reader may do with any bytes: take them, or throw an Error. Everything else is a finding.
template <class Read>
int read(Read&& reader) {
    try {
        reader();
    } catch (const Error&) {
    }
    return 0;
}

inline std::string_view text(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

}  // namespace tangram::fuzz
