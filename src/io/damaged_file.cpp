#include "tangram/io/damaged_file.hpp"

#include <dlfcn.h>
#include <execinfo.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>

namespace tangram {

namespace {

/// What the signal handler looks at: no locks, no allocation.
std::array<char, 1024> noted_name{};
volatile std::sig_atomic_t noted_status = 0;
volatile std::sig_atomic_t end_status = -1;
constexpr std::array signals{SIGSEGV, SIGBUS, SIGABRT, SIGFPE};
std::array<struct sigaction, signals.size()> earlier_actions;
std::array<char, 1 << 16> handler_stack;

void say(const char* text) { static_cast<void>(!write(STDERR_FILENO, text, std::strlen(text))); }

bool in_hdf5(void* address) {
    Dl_info at{};
    return dladdr(address, &at) != 0 && at.dli_fname != nullptr &&
           std::strstr(at.dli_fname, "libhdf5") != nullptr;
}

/// Whether the process may still have some memory: libhdf5 does not look everywhere whether it got any.
bool has_room() {
    constexpr std::size_t little = std::size_t{32} << 20;
    void* const room = mmap(nullptr, little, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return room != MAP_FAILED && munmap(room, little) == 0;
}

void name_the_file(int signal) {
    std::array<void*, 64> frames{};
    const auto depth = static_cast<std::size_t>(backtrace(frames.data(), frames.size()));
    if (std::any_of(frames.begin(), frames.begin() + depth, in_hdf5)) {
        if (end_status == 0) say("tangram: the HDF5 library broke off when all was written and said\n");
        if (end_status >= 0) _exit(end_status);
        if (noted_status != 0) {
            say("tangram: error: ");
            say(noted_name.data());
            if (!has_room()) {
                say(": the HDF5 library broke off on it: out of memory; use more ranks or fewer samples\n");
                _exit(static_cast<int>(ExitStatus::study));
            }
            say(": the HDF5 library broke off on it, as it does on damaged files; restore it from a copy or "
                "write it again\n");
            _exit(noted_status);
        }
    }
    // Not ours: the instruction fails once more, and whoever was asked before answers.
    for (std::size_t s = 0; s < signals.size(); ++s)
        if (signals[s] == signal) sigaction(signal, &earlier_actions[s], nullptr);
}

}  // namespace

void note_hdf5_file(const Hdf5Place& place) {
    std::strncpy(noted_name.data(), printable(place.file.string()).c_str(), noted_name.size() - 1);
    noted_status = static_cast<int>(place.status);
}

void note_end(int status) { end_status = status; }

void name_damaged_files() {
    void* first = nullptr;
    backtrace(&first, 1);  // the first call allocates
    const stack_t stack{handler_stack.data(), 0, handler_stack.size()};
    sigaltstack(&stack, nullptr);  // a stack that has overflowed holds no handler
    struct sigaction action {};
    action.sa_handler = name_the_file;
    action.sa_flags = SA_ONSTACK;
    for (std::size_t s = 0; s < signals.size(); ++s) sigaction(signals[s], &action, &earlier_actions[s]);
}

}  // namespace tangram
