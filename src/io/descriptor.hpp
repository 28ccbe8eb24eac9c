#pragma once
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "tangram/index.hpp"

namespace tangram {

/// A file descriptor that closes itself; negative where the file could not be opened.
struct Descriptor {
    int id;
    explicit Descriptor(int descriptor) : id(descriptor) {}
    ~Descriptor() {
        if (id >= 0) ::close(id);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
};

/// Writes all bytes at this place of the file: goes on where the system took some of them, or a signal came
/// between. @return 0, or the errno of what failed. Local.
inline int write_all(int descriptor, const void* bytes, Index size, Index place) {
    const auto* from = static_cast<const std::byte*>(bytes);
    for (Index done = 0; done < size;) {
        const ssize_t written =
            pwrite(descriptor, from + done, static_cast<std::size_t>(size - done), place + done);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return written < 0 ? errno : ENOSPC;
        done += written;
    }
    return 0;
}

}  // namespace tangram
