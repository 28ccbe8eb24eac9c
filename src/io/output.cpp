#include "tangram/io/output.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <thread>
#include <utility>
#include <vector>

#include "descriptor.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {

namespace {

[[noreturn]] void refuse(ErrorKind kind, const std::filesystem::path& file, const std::string& problem) {
    throw Error(ExitStatus::output, kind, fmt::format("{}: {}", file.string(), problem));
}

std::filesystem::path folder_of(const std::filesystem::path& file) {
    return file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
}

bool is_first(MPI_Comm comm) {
    int rank = 0;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    return rank == 0;
}

/// 0 where there is none.
double size_of(const std::filesystem::path& file) {
    std::error_code code;
    const auto size = std::filesystem::file_size(file, code);
    return code ? 0.0 : static_cast<double>(size);
}

void check_folder(const std::filesystem::path& file, double bytes) {
    const auto folder = folder_of(file);
    std::error_code code;
    if (!std::filesystem::is_directory(folder, code))
        refuse(ErrorKind::missing, file,
               fmt::format("folder {} does not exist; create it or change output.path", folder.string()));
    if (std::filesystem::is_directory(file, code))
        refuse(ErrorKind::malformed, file, "is a folder; change output.path");
    // A rename would replace the link, and leave what it points to as it was.
    if (std::filesystem::is_symlink(file, code))
        refuse(ErrorKind::unsupported, file,
               "is a symbolic link, which is not followed; change output.path to what it points to, or "
               "remove it");
    if (access(folder.c_str(), W_OK) != 0)
        refuse(ErrorKind::no_access, file,
               fmt::format("folder {} cannot be written ({}); change output.path", folder.string(),
                           std::strerror(errno)));
    // A rename would replace a file that its owner has protected, and root may write everything.
    struct stat status {};
    if (stat(file.c_str(), &status) == 0 && ((status.st_mode & 0222) == 0 || access(file.c_str(), W_OK) != 0))
        refuse(ErrorKind::no_access, file,
               "is there and has no write permission; change output.path, or chmod u+w");
    const auto space = std::filesystem::space(folder, code);
    if (!code && static_cast<double>(space.available) < bytes)
        refuse(ErrorKind::no_access, file,
               fmt::format(
                   "needs {:.1f} MB, the file system has {:.1f} MB free; make room or change output.path",
                   bytes / 1e6, static_cast<double>(space.available) / 1e6));
}

/// This rank's share of a part of a file, cut at mebibytes of the file, so that no two ranks write to one
/// page. A parallel file system takes bytes faster from several hosts than from one.
FileRange share_of(MPI_Comm comm, const FileRange& whole) {
    constexpr Index unit = Index{1} << 20;
    int rank = 0, ranks = 0;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    TANGRAM_MPI(MPI_Comm_size(comm, &ranks));
    const Index end = whole.first + whole.size, first = whole.first / unit,
                units = (end + unit - 1) / unit - first;
    const auto cut = [&](int at) {
        return std::clamp((first + units * at / ranks) * unit, whole.first, end);
    };
    return {cut(rank), cut(rank + 1) - cut(rank)};
}

[[noreturn]] void refuse_space(const std::filesystem::path& file, Index bytes, int reason) {
    refuse(ErrorKind::no_access, file,
           fmt::format("no space for {:.1f} MB ({}); make room or change output.path",
                       static_cast<double>(bytes) / 1e6, std::strerror(reason)));
}

Index inode_of(const std::filesystem::path& file) {
    struct stat status {};
    if (stat(file.c_str(), &status) != 0)
        refuse(ErrorKind::no_access, file, fmt::format("cannot be looked up ({})", std::strerror(errno)));
    return static_cast<Index>(status.st_ino);
}

/// Opens the file that the first rank has under this name: another host may look names up some seconds late,
/// and find there what has been renamed since.
int open_same(const std::filesystem::path& file, int flags, Index inode) {
    for (const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);;) {
        Descriptor descriptor(::open(file.c_str(), flags | O_NOFOLLOW | O_CLOEXEC));
        struct stat status {};
        if (descriptor.id >= 0 && fstat(descriptor.id, &status) == 0 &&
            static_cast<Index>(status.st_ino) == inode)
            return std::exchange(descriptor.id, -1);
        const int reason = descriptor.id < 0 ? errno : 0;
        if (reason != 0 && reason != ENOENT && reason != ESTALE)
            refuse(ErrorKind::no_access, file, fmt::format("cannot be opened ({})", std::strerror(reason)));
        if (std::chrono::steady_clock::now() > give_up)
            refuse(ErrorKind::no_access, file, "is another file on this host than on the first rank's");
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
}

/// Blocks for the ranges from the file system, so that later writes cannot run out of space. @return those
/// that it does not promise (NFS before 4.2, older Lustre)
std::vector<FileRange> claim_space(const std::filesystem::path& file, std::vector<FileRange> ranges) {
    const Descriptor descriptor(open_same(file, O_RDWR, inode_of(file)));
    std::erase_if(ranges, [&](const FileRange& range) {
        int refused = 0;
        do refused = fallocate(descriptor.id, FALLOC_FL_KEEP_SIZE, range.first, range.size);
        while (refused != 0 && errno == EINTR);  // a stop signal is no full disk
        if (refused != 0 && errno != EOPNOTSUPP && errno != ENOSYS) refuse_space(file, range.size, errno);
        return refused == 0;
    });
    return ranges;
}

/// Zeros to store in a range, which claims its space everywhere.
void write_zeros(const std::filesystem::path& file, Index inode, const FileRange& range) {
    if (range.size == 0) return;
    const Descriptor descriptor(open_same(file, O_RDWR, inode));
    const std::vector<char> zeros(std::size_t{1} << 20);
    for (Index done = 0; done < range.size; done += std::ssize(zeros)) {
        const Index piece = std::min<Index>(std::ssize(zeros), range.size - done);
        if (const int reason = write_all(descriptor.id, zeros.data(), piece, range.first + done))
            refuse_space(file, range.size, reason);
    }
    if (fsync(descriptor.id) != 0)
        refuse_space(file, range.size, errno);  // what network file systems say late
    // A client that keeps the zeros would write them back with its own part of a page that another shares.
    posix_fadvise(descriptor.id, range.first, range.size, POSIX_FADV_DONTNEED);
}

/// How a finished file's copy fails, by errno.
[[noreturn]] void refuse_copy(const std::filesystem::path& copy, int reason) {
    refuse(ErrorKind::no_access, copy,
           fmt::format("cannot be copied from the finished file ({})", std::strerror(reason)));
}

/// A part of one file, by the file system itself where it can, which may let the two share blocks.
/// (std::filesystem::copy_file of libstdc++ 12 goes on in pieces of 8 KiB behind the first 2 GiB.)
void copy_bytes(const Descriptor& from, const Descriptor& to, const FileRange& range,
                const std::filesystem::path& copy) {
    Index done = range.first;
    const Index end = range.first + range.size;
    while (done < end) {
        off_t read_at = done, write_at = done;
        const ssize_t copied =
            copy_file_range(from.id, &read_at, to.id, &write_at, static_cast<std::size_t>(end - done), 0);
        if (copied < 0 && errno == EINTR) continue;
        if (copied < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO)) refuse_copy(copy, errno);
        if (copied <= 0) break;  // not on this file system
        done += copied;
    }
    std::vector<std::byte> piece(done < end ? std::size_t{1} << 23 : 0);
    while (done < end) {
        const auto wanted = static_cast<std::size_t>(std::min<Index>(std::ssize(piece), end - done));
        const ssize_t got = pread(from.id, piece.data(), wanted, done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) refuse_copy(copy, got < 0 ? errno : EIO);
        if (const int reason = write_all(to.id, piece.data(), got, done)) refuse_copy(copy, reason);
        done += got;
    }
}

/// A new file of the finished one's size and permissions, but for all to write. HDF5 follows links, so the
/// name is taken without. @return its size
Index begin_copy(const std::filesystem::path& finished, const std::filesystem::path& copy) {
    struct stat status {};
    if (stat(finished.c_str(), &status) != 0) refuse_copy(copy, errno);
    const Descriptor to(::open(copy.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (to.id < 0 || ftruncate(to.id, status.st_size) != 0 || fchmod(to.id, status.st_mode & 0775) != 0)
        refuse_copy(copy, errno);
    return status.st_size;
}

/// A file by its name and what the first rank has under it.
struct NamedFile {
    const std::filesystem::path& name;
    Index inode;
};

void copy_range(const NamedFile& finished, const NamedFile& partial, const FileRange& range) {
    if (range.size == 0) return;
    const std::filesystem::path& copy = partial.name;
    const Descriptor from(open_same(finished.name, O_RDONLY, finished.inode)),
        to(open_same(copy, O_RDWR, partial.inode));
    copy_bytes(from, to, range, copy);
    // commit() reaches what the first rank's host holds.
    if (fsync(to.id) != 0) refuse_copy(copy, errno);
}

void sync(const std::filesystem::path& path, int flags) {
    const Descriptor descriptor(::open(path.c_str(), flags | O_CLOEXEC));
    // Some network file systems cannot sync a folder (EINVAL); the file itself must be.
    if (descriptor.id < 0 || (fsync(descriptor.id) != 0 && errno != EINVAL))
        refuse(ErrorKind::no_access, path,
               fmt::format("cannot be synced to disk ({})", std::strerror(errno)));
}

}  // namespace

void remove_partial(const std::filesystem::path& partial) noexcept {
    std::error_code code;
    // Or a link that somebody planted: it goes itself, not what it points to.
    if (!std::filesystem::is_directory(std::filesystem::symlink_status(partial, code)))
        std::filesystem::remove(partial, code);
}

void require_space(MPI_Comm comm, const std::filesystem::path& file, bool keep, double bytes) {
    collectively(comm, [&] {
        if (is_first(comm)) check_folder(file, bytes + (keep ? size_of(file) : 0));
    });
}

StagedFile::StagedFile(MPI_Comm comm, std::filesystem::path final_name, bool keep, double bytes)
    : comm_(comm),
      first_rank_(is_first(comm)),
      final_(std::move(final_name)),
      partial_(final_.string() + ".partial") {
    Index copied = 0, inode_of_finished = 0;
    collectively(comm_, [&] {
        if (!first_rank_) return;
        std::error_code code;
        if (keep) {
            if (!std::filesystem::exists(final_, code)) {
                check_folder(final_, 0);
                refuse(
                    ErrorKind::missing, final_,
                    "is gone: somebody has removed or moved it while the run went on; the same command makes "
                    "it again");
            }
            Hdf5File::open(final_, false, ExitStatus::output);
        }
        remove_partial(partial_);  // of a dead run
        check_folder(final_, bytes + (keep ? size_of(final_) : 0));
        try {
            if (keep) {
                inode_of_finished = inode_of(final_);
                copied = begin_copy(final_, partial_);
            } else {
                // HDF5 follows links, so the name is taken without: with the user's umask, and never for all
                // to write.
                const Descriptor fresh(
                    ::open(partial_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0664));
                if (fresh.id < 0)
                    refuse(ErrorKind::no_access, partial_,
                           fmt::format("cannot be created ({}); change output.path", std::strerror(errno)));
                Hdf5File::create(partial_).close();
            }
            inode_ = inode_of(partial_);
        } catch (...) {
            std::filesystem::remove(partial_, code);
            throw;
        }
    });
    std::vector<Index> of_first{inode_, inode_of_finished, copied};
    broadcast(comm_, of_first, 0);
    inode_ = of_first[0];
    if (!keep) return;
    try {
        collectively(comm_, [&] {
            copy_range({final_, of_first[1]}, {partial_, inode_}, share_of(comm_, {0, of_first[2]}));
        });
    } catch (...) {
        if (first_rank_) remove_partial(partial_);
        throw;
    }
}

StagedFile::~StagedFile() {
    if (first_rank_ && !committed_) remove_partial(partial_);
}

void StagedFile::write_small(const std::function<void(Hdf5File&)>& write) {
    std::vector<FileRange> unclaimed;
    collectively(comm_, [&] {
        if (!first_rank_) return;
        Hdf5File file = Hdf5File::open(partial_, true, ExitStatus::output);
        write(file);
        const std::vector<FileRange> unwritten = file.unwritten();
        file.close();
        unclaimed = claim_space(partial_, unwritten);
    });
    broadcast(comm_, unclaimed, 0);
    collectively(comm_, [&] {
        for (const FileRange& range : unclaimed) write_zeros(partial_, inode_, share_of(comm_, range));
    });
}

void StagedFile::commit(const std::filesystem::path& previous) {
    collectively(comm_, [&] {
        if (!first_rank_) return;
        sync(partial_, O_RDWR);
        if (!previous.empty() && std::rename(final_.c_str(), previous.c_str()) != 0 && errno != ENOENT)
            refuse(ErrorKind::no_access, previous,
                   fmt::format("cannot be renamed from {} ({})", final_.string(), std::strerror(errno)));
        if (std::rename(partial_.c_str(), final_.c_str()) != 0)
            refuse(ErrorKind::no_access, final_,
                   fmt::format("cannot be renamed from {} ({})", partial_.string(), std::strerror(errno)));
        sync(folder_of(final_), O_RDONLY | O_DIRECTORY);
    });
    committed_ = true;
}

namespace {

std::string read_owner(int descriptor) {
    char owner[512] = "";
    const ssize_t length = pread(descriptor, owner, sizeof owner - 1, 0);
    return {owner, length > 0 ? static_cast<std::size_t>(length) : 0};
}

constexpr const char* owner_pattern = "host %255[^,], process %ld";

/// For file systems without flock: whether the process that wrote the text may still live.
bool may_live(const std::string& owner) {
    char host[256] = "";
    long process = 0;
    if (owner.empty()) return false;
    if (std::sscanf(owner.c_str(), owner_pattern, host, &process) != 2 || host_name() != host) return true;
    return kill(static_cast<pid_t>(process), 0) == 0 || errno != ESRCH;
}

std::string start_text() {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&now, &utc);
    char text[32] = "";
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return text;
}

}  // namespace

OutputLock::OutputLock(MPI_Comm comm, const std::filesystem::path& output, std::chrono::seconds patience)
    : file_(output.string() + ".lock") {
    collectively(comm, [&] {
        if (!is_first(comm)) return;
        check_folder(output, 0);
        const auto give_up = std::chrono::steady_clock::now() + patience;
        while (true) {
            Descriptor descriptor(::open(file_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0664));
            if (descriptor.id < 0 && errno == ELOOP)
                refuse(ErrorKind::unsupported, file_, "is a symbolic link, which is not followed; remove it");
            if (descriptor.id < 0)
                refuse(ErrorKind::no_access, file_,
                       fmt::format("cannot be created ({}); change output.path", std::strerror(errno)));
            const bool locked = flock(descriptor.id, LOCK_EX | LOCK_NB) == 0;
            const int reason = locked ? 0 : errno;
            const std::string owner = read_owner(descriptor.id);
            if (reason == EWOULDBLOCK && std::chrono::steady_clock::now() < give_up) {
                std::this_thread::sleep_for(std::chrono::milliseconds(100));
                continue;
            }
            if (reason == EWOULDBLOCK)
                refuse(ErrorKind::in_use, output,
                       fmt::format("another run is writing it: {}; wait for it or change output.path",
                                   owner.empty() ? "owner not known" : owner));
            if (reason == EINTR) continue;
            if (!locked && may_live(owner))
                refuse(ErrorKind::in_use, output,
                       fmt::format("another run is writing it: {}; if that run is dead, delete {} (this file "
                                   "system has no flock: {})",
                                   owner, file_.string(), std::strerror(reason)));
            // The owner before may have removed the name between our open and our lock.
            struct stat ours {
            }, named{};
            if (fstat(descriptor.id, &ours) != 0 || stat(file_.c_str(), &named) != 0 ||
                ours.st_ino != named.st_ino) {
                if (std::chrono::steady_clock::now() > give_up)
                    refuse(ErrorKind::no_access, file_,
                           "is another file whenever it is looked up; change output.path to another file "
                           "system");
                std::this_thread::sleep_for(std::chrono::milliseconds(10));
                continue;
            }
            if ((ours.st_mode & 0600) != 0600) {
                remove_file();
                refuse(
                    ErrorKind::no_access, file_,
                    "was made without its owner's right to read and write it, as output would be: the umask "
                    "takes it; set umask 022");
            }
            // Of another file, whose words the lock's would replace.
            if (ours.st_nlink > 1)
                refuse(ErrorKind::unsupported, file_, "is another name of an existing file; remove it");
            const std::string text =
                fmt::format("host {}, process {}, since {}", host_name(), getpid(), start_text());
            if (ftruncate(descriptor.id, 0) != 0 ||
                pwrite(descriptor.id, text.data(), text.size(), 0) != std::ssize(text)) {
                const std::string problem = std::strerror(errno);
                std::error_code code;
                std::filesystem::remove(file_, code);
                refuse(ErrorKind::no_access, file_,
                       fmt::format("cannot be written ({}); make room or change output.path", problem));
            }
            descriptor_ = std::exchange(descriptor.id, -1);
            return;
        }
    });
}

OutputLock::~OutputLock() {
    if (descriptor_ < 0) return;
    remove_file();
    ::close(descriptor_);
}

void OutputLock::remove_file() const noexcept {
    std::error_code code;
    std::filesystem::remove(file_, code);
}

}  // namespace tangram
