#include "tangram/files/safetensors_output.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "tangram/error.hpp"

namespace tangram {

namespace {

/// A new file that is written from its beginning on.
class SyncedFile {
  public:
    explicit SyncedFile(const std::filesystem::path& file)
        : file_(file), descriptor_(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
        if (descriptor_ < 0) refuse(errno);
    }
    ~SyncedFile() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }
    SyncedFile(const SyncedFile&) = delete;
    SyncedFile& operator=(const SyncedFile&) = delete;

    void add(const void* bytes, std::size_t size) {
        const auto* from = static_cast<const std::byte*>(bytes);
        while (size > 0) {
            const ssize_t written = ::write(descriptor_, from, size);
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) refuse(written < 0 ? errno : ENOSPC);
            from += written;
            size -= static_cast<std::size_t>(written);
        }
    }
    void finish() {
        if (::fsync(descriptor_) != 0) refuse(errno);
        const int closed = ::close(std::exchange(descriptor_, -1));
        if (closed != 0) refuse(errno);
    }

  private:
    [[noreturn]] void refuse(int error) const {
        throw Error(ExitStatus::output, ErrorKind::no_access,
                    fmt::format("{}: cannot be written ({})", file_.string(), std::strerror(error)));
    }

    std::filesystem::path file_;
    int descriptor_;
};

std::pair<const char*, Index> type_of(DType dtype) {
    switch (dtype) {
        case DType::F64:
            return {"F64", 8};
        case DType::F32:
            return {"F32", 4};
        case DType::F16:
            return {"F16", 2};
        case DType::BF16:
            break;
    }
    return {"BF16", 2};
}

}  // namespace

void write_safetensors(const std::filesystem::path& file, std::vector<WrittenTensor> tensors) {
    // Larger types first: every tensor then stands at a multiple of its type's size.
    std::ranges::sort(tensors, {}, [](const WrittenTensor& tensor) {
        return std::pair(-type_of(tensor.dtype).second, tensor.name);
    });
    nlohmann::ordered_json header;
    header["__metadata__"] = {{"format", "pt"}};
    Index place = 0;
    for (const WrittenTensor& tensor : tensors) {
        const auto [type, bytes] = type_of(tensor.dtype);
        Index size = bytes;
        for (const Index extent : tensor.shape) size *= extent;
        header[tensor.name] = {
            {"dtype", type}, {"shape", tensor.shape}, {"data_offsets", {place, place + size}}};
        place += size;
    }
    std::string text = header.dump();
    text.append((8 - text.size() % 8) % 8, ' ');
    const auto length = static_cast<std::uint64_t>(text.size());
    SyncedFile out(file);
    out.add(&length, sizeof length);
    out.add(text.data(), text.size());
    for (const WrittenTensor& tensor : tensors) {
        const std::vector<std::byte> bytes = tensor.bytes();
        out.add(bytes.data(), bytes.size());
    }
    out.finish();
}

void write_synced(const std::filesystem::path& file, const std::string& bytes) {
    SyncedFile out(file);
    out.add(bytes.data(), bytes.size());
    out.finish();
}

}  // namespace tangram
