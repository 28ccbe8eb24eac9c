#include "tangram/parallel/shared_memory.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <span>
#include <system_error>
#include <utility>

#include "tangram/parallel/communicator.hpp"

namespace tangram {

namespace {

[[noreturn]] void refuse(Index bytes) {
    throw Error(ExitStatus::study, ErrorKind::no_memory,
                fmt::format("the system has no {} bytes for the weights that ranks of {} share: {}; use more "
                            "nodes",
                            bytes, host_name(), std::generic_category().message(errno)));
}

/// An open file; closed behind its scope.
struct Descriptor {
    int number = -1;
    ~Descriptor() {
        if (number >= 0) close(number);
    }
};

/// Where the other ranks of a host find the file of the first, and how they know it.
struct Place {
    Index process, number, device, inode;
};

Place make_file(Index bytes, Descriptor& file) {
    file.number = memfd_create("tangram", MFD_CLOEXEC);
    struct stat found {};
    if (file.number < 0 || ftruncate(file.number, bytes) != 0 || fstat(file.number, &found) != 0)
        refuse(bytes);
    return {getpid(), file.number, static_cast<Index>(found.st_dev), static_cast<Index>(found.st_ino)};
}

bool open_file(const Place& place, Descriptor& file) {
    file.number =
        open(fmt::format("/proc/{}/fd/{}", place.process, place.number).c_str(), O_RDWR | O_CLOEXEC);
    struct stat found {};
    return file.number >= 0 && fstat(file.number, &found) == 0 &&
           static_cast<Index>(found.st_dev) == place.device &&
           static_cast<Index>(found.st_ino) == place.inode;
}

}  // namespace

SharedMemory::SharedMemory(MPI_Comm comm, Index bytes) {
    const Communicator host = Communicator::of_host(comm);
    Descriptor file;
    Place place = collectively(comm, [&] { return host.rank() == 0 ? make_file(bytes, file) : Place{}; });
    broadcast_bytes(host.get(), std::as_writable_bytes(std::span(&place, 1)), 0);
    const bool apart =
        any_rank(host.get(), collectively(comm, [&] { return host.rank() > 0 && !open_file(place, file); }));
    if (!apart) {
        rank_ = host.rank();
        ranks_ = host.size();
    }
    // An empty map is none, and a rank apart has pages of its own.
    collectively(comm, [&] {
        if (bytes == 0) return;
        void* const address =
            mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE,
                 apart ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, apart ? -1 : file.number, 0);
        if (address == MAP_FAILED) refuse(bytes);
        pages_ = {static_cast<std::byte*>(address), Unmap{bytes}};
    });
}

void SharedMemory::Unmap::operator()(std::byte* pages) const {
    munmap(pages, static_cast<std::size_t>(bytes));
}

}  // namespace tangram
