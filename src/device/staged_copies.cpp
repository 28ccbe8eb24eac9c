#include "staged_copies.hpp"

#include <algorithm>
#include <cstring>

#include "tangram/parallel_for.hpp"

namespace tangram::device {

namespace {

/// The stream that a part is copied in: neighbours do not wait for each other.
Stream stream_of(std::size_t part) { return part % 2 == 0 ? Stream::copies : Stream::products; }

}  // namespace

void copy_on_all_threads(std::byte* to, const std::byte* from, std::size_t bytes) {
    constexpr std::size_t together = 1 << 20;
    parallel_for(static_cast<Index>((bytes + together - 1) / together), [&](Index i) {
        const std::size_t first = static_cast<std::size_t>(i) * together;
        std::memcpy(to + first, from + first, std::min(together, bytes - first));
    });
}

/// The buffer of a part, which is no longer on its way.
std::byte* StagedCopies::reserve(std::size_t part, std::size_t bytes) {
    runtime_->wait(stream_of(part));
    return staged_[part % 2].reserve(std::min(at_once_, bytes));
}

void StagedCopies::prepare() {
    for (const std::size_t part : {0, 1}) reserve(part, at_once_);
}

void StagedCopies::to_device(std::byte* to, const std::byte* from, std::size_t bytes) {
    for (std::size_t part = 0, first = 0; first < bytes; ++part, first += at_once_) {
        const std::size_t count = std::min(at_once_, bytes - first);
        std::byte* const staged = reserve(part, bytes);
        copy_on_all_threads(staged, from + first, count);
        runtime_->copy(to + first, staged, count, stream_of(part));
    }
    runtime_->wait(Stream::copies);
    runtime_->wait(Stream::products);
}

void StagedCopies::to_host(std::byte* to, const std::byte* from, std::size_t bytes) {
    const std::size_t parts = (bytes + at_once_ - 1) / at_once_;
    // Part p - 1 is emptied while part p comes.
    for (std::size_t part = 0; part <= parts; ++part) {
        if (part < parts) {
            const std::size_t first = part * at_once_;
            std::byte* const staged = reserve(part, bytes);
            runtime_->copy(staged, from + first, std::min(at_once_, bytes - first), stream_of(part));
        }
        if (part == 0) continue;
        const std::size_t first = (part - 1) * at_once_;
        runtime_->wait(stream_of(part - 1));
        copy_on_all_threads(to + first, staged_[(part - 1) % 2].data(), std::min(at_once_, bytes - first));
    }
}

}  // namespace tangram::device
