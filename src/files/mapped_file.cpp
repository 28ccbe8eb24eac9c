#include "tangram/files/mapped_file.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <utility>

#include "tangram/error.hpp"

namespace tangram {

namespace {

/// What the signal handler can look up: no locks, no allocation. Maps beyond so many are not named.
struct Known {
    std::atomic<std::uintptr_t> first = 0;
    std::atomic<std::uintptr_t> last = 0;
    std::array<char, 1024> name{};
};
std::array<Known, 256> known_maps;

void note(const std::filesystem::path& file, void* address, std::size_t size) {
    for (Known& known : known_maps) {
        std::uintptr_t empty = 0;
        if (!known.first.compare_exchange_strong(empty, reinterpret_cast<std::uintptr_t>(address))) continue;
        std::strncpy(known.name.data(), printable(file.string()).c_str(), known.name.size() - 1);
        known.last = known.first + size;
        return;
    }
}

void forget(void* address) {
    for (Known& known : known_maps)
        if (known.first == reinterpret_cast<std::uintptr_t>(address)) {
            known.last = 0;
            known.first = 0;
        }
}

void say(const char* text) { static_cast<void>(!write(STDERR_FILENO, text, std::strlen(text))); }

void name_the_file(int signal, siginfo_t* info, void*) {
    const auto at = reinterpret_cast<std::uintptr_t>(info->si_addr);
    for (const Known& known : known_maps)
        if (known.first <= at && at < known.last) {
            say("tangram: error: ");
            say(known.name.data());
            say(": was cut short while it was read; fetch it again\n");
            _exit(static_cast<int>(ExitStatus::input));
        }
    std::signal(signal, SIG_DFL);  // not ours: the instruction fails once more
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& file, int descriptor, std::size_t size)
    : address_(mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0)), size_(size) {
    if (address_ == MAP_FAILED)
        address_ = nullptr;
    else
        note(file, address_, size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : address_(std::exchange(other.address_, nullptr)), size_(other.size_) {}

MappedFile::~MappedFile() {
    if (address_ == nullptr) return;
    forget(address_);
    munmap(address_, size_);
}

void name_files_cut_short() {
    struct sigaction action {};
    action.sa_sigaction = name_the_file;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &action, nullptr);
}

}  // namespace tangram
