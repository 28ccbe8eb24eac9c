#include "tangram/files/files_read.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tangram/error.hpp"
#include "tangram/files/hash.hpp"

namespace tangram {

namespace {

[[noreturn]] void refuse_changed(const std::filesystem::path& file) {
    throw Error(
        ExitStatus::input, ErrorKind::changed,
        fmt::format("{}: was changed while it was read; leave it alone and run again", file.string()));
}

std::shared_ptr<const int> duplicate(int descriptor, const std::filesystem::path& file) {
    const int copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        throw Error(ExitStatus::input, ErrorKind::no_access,
                    fmt::format("{}: cannot be kept open: {}", file.string(), std::strerror(errno)));
    return {new int(copy), [](const int* held) {
                close(*held);
                delete held;
            }};
}

FileState state_of_open(int descriptor, const std::filesystem::path& file) {
    struct stat status {};
    if (fstat(descriptor, &status) != 0)
        throw Error(ExitStatus::input, ErrorKind::no_access,
                    fmt::format("{}: reading failed: {}", file.string(), std::strerror(errno)));
    return state_of(status);
}

/// What take(bytes) gets, piece by piece, is the whole file.
template <class Take>
void for_pieces(int descriptor, const std::filesystem::path& file, Take take) {
    std::vector<std::byte> piece(std::size_t{1} << 20);
    for (off_t at = 0;;) {
        const ssize_t count = pread(descriptor, piece.data(), piece.size(), at);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0)
            throw Error(ExitStatus::input, ErrorKind::no_access,
                        fmt::format("{}: reading failed: {}", file.string(), std::strerror(errno)));
        if (count == 0) return;
        take(std::span<const std::byte>(piece.data(), static_cast<std::size_t>(count)));
        at += count;
    }
}

}  // namespace

FileState state_of(const struct stat& status) {
    const auto nanoseconds = [](const timespec& time) {
        return Index{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
    };
    return {status.st_dev, status.st_ino, status.st_size, nanoseconds(status.st_mtim),
            nanoseconds(status.st_ctim)};
}

std::string FilesRead::name_of(const std::filesystem::path& file) const {
    const std::filesystem::path place = file.lexically_relative(folder_);
    const bool inside = !folder_.empty() && !place.empty() && *place.begin() != "..";
    std::string name = printable((inside ? place : file.filename()).c_str());
    std::ranges::replace(name, '\n', ' ');
    const auto numbered = [&](int number) {
        return number == 1 ? name : fmt::format("{} ({})", name, number);
    };
    int number = 1;
    while (find(numbered(number)) != nullptr) ++number;
    return numbered(number);
}

const FileRead* FilesRead::find(std::string_view name) const {
    const auto found = std::ranges::find(all_, name, &FileRead::name);
    return found == all_.end() ? nullptr : &*found;
}

FileRead* FilesRead::same_path(const std::filesystem::path& file) {
    const auto found = std::ranges::find(all_, file, &FileRead::path);
    return found == all_.end() ? nullptr : &*found;
}

void FilesRead::add(const std::filesystem::path& file, const FileState& state, std::string_view bytes) {
    const std::string sha256 = sha256_of_bytes(std::as_bytes(std::span(bytes)));
    if (const FileRead* const before = same_path(file)) {
        if (before->sha256 != sha256) refuse_changed(file);
        return;
    }
    all_.push_back({name_of(file), file, state, sha256, std::ssize(bytes), nullptr});
}

void FilesRead::add_mapped(const std::filesystem::path& file, const FileState& state, int descriptor) {
    if (const FileRead* const before = same_path(file)) {
        if (before->state != state) refuse_changed(file);
        return;
    }
    all_.push_back({name_of(file), file, state, "", state.size, duplicate(descriptor, file)});
}

void FilesRead::add_known(const std::string& name, const std::string& sha256, Index size) {
    if (find(name) == nullptr) all_.push_back({name, {}, std::nullopt, sha256, size, nullptr});
}

void FilesRead::hash(std::span<const std::size_t> which) {
    for (const std::size_t position : which) {
        FileRead& file = all_[position];
        Sha256 of_one;
        Index size = 0;
        for_pieces(*file.mapped, file.path, [&](std::span<const std::byte> piece) {
            of_one.add(piece);
            size += std::ssize(piece);
        });
        // What was taken from it before is of the same bytes. (A new link or right does not count.)
        const FileState now = state_of_open(*file.mapped, file.path);
        if (size != file.size || now.size != file.size || now.written != file.state->written)
            refuse_changed(file.path);
        file.sha256 = of_one.hexadecimal();
        file.mapped.reset();
    }
}

void FilesRead::set_hash(std::size_t which, const std::string& sha256) {
    FileRead& file = all_[which];
    file.sha256 = sha256;
    file.state.reset();
    file.mapped.reset();
}

const FileRead* FilesRead::changed() const {
    for (const FileRead& file : all_) {
        if (!file.state) continue;
        const int descriptor = open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (descriptor < 0) continue;
        const auto close_it = [](const int* held) { close(*held); };
        const std::unique_ptr<const int, decltype(close_it)> closed(&descriptor, close_it);
        const FileState state = state_of_open(descriptor, file.path);
        if (state == *file.state) continue;
        if (state.size != file.state->size) return &file;
        Sha256 now;
        for_pieces(descriptor, file.path, [&](std::span<const std::byte> piece) { now.add(piece); });
        if (now.hexadecimal() != file.sha256) return &file;
    }
    return nullptr;
}

}  // namespace tangram
