#include "tangram/io/output.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "tangram/parallel/collective_error.hpp"

namespace tangram {

namespace {

[[noreturn]] void refuse(const std::filesystem::path& file, const std::string& problem) {
    throw Error(ExitStatus::output, fmt::format("{}: {}", file.string(), problem));
}

std::filesystem::path folder_of(const std::filesystem::path& file) {
    return file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
}

bool is_first(MPI_Comm comm) {
    int rank = 0;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    return rank == 0;
}

/// A descriptor that closes itself.
struct Descriptor {
    int id;
    explicit Descriptor(int descriptor) : id(descriptor) {}
    ~Descriptor() {
        if (id >= 0) ::close(id);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
};

void check_folder(const std::filesystem::path& file, double bytes) {
    const auto folder = folder_of(file);
    std::error_code code;
    if (!std::filesystem::is_directory(folder, code))
        refuse(file, fmt::format("folder {} does not exist; create it or change output.path", folder.string()));
    if (std::filesystem::is_directory(file, code)) refuse(file, "is a folder; change output.path");
    if (access(folder.c_str(), W_OK) != 0)
        refuse(file, fmt::format("folder {} cannot be written ({}); change output.path", folder.string(), std::strerror(errno)));
    const auto space = std::filesystem::space(folder, code);
    if (!code && static_cast<double>(space.available) < bytes)
        refuse(file, fmt::format("needs {:.1f} MB, the file system has {:.1f} MB free; make room or change output.path",
                                 bytes / 1e6, static_cast<double>(space.available) / 1e6));
}

/// The file's blocks from the file system, so that later writes cannot run out of space. File systems that cannot do
/// it are left as they are.
void claim_space(const std::filesystem::path& file) {
    const Descriptor descriptor(::open(file.c_str(), O_RDWR | O_CLOEXEC));
    struct stat status {};
    if (descriptor.id < 0 || fstat(descriptor.id, &status) != 0) refuse(file, std::strerror(errno));
    if (status.st_size > 0 && fallocate(descriptor.id, 0, 0, status.st_size) != 0 && errno != EOPNOTSUPP && errno != ENOSYS)
        refuse(file, fmt::format("no space for {} bytes ({}); make room or change output.path", status.st_size,
                                 std::strerror(errno)));
}

void sync(const std::filesystem::path& path, int flags) {
    const Descriptor descriptor(::open(path.c_str(), flags | O_CLOEXEC));
    // Some network file systems cannot sync a folder (EINVAL); the file itself must be.
    if (descriptor.id < 0 || (fsync(descriptor.id) != 0 && errno != EINVAL))
        refuse(path, fmt::format("cannot be synced to disk ({})", std::strerror(errno)));
}

}  // namespace

StagedFile::StagedFile(MPI_Comm comm, std::filesystem::path final_name, bool keep, double bytes)
    : comm_(comm), first_rank_(is_first(comm)), final_(std::move(final_name)), partial_(final_.string() + ".partial") {
    collectively(comm_, [&] {
        if (!first_rank_) return;
        std::error_code code;
        keep = keep && std::filesystem::exists(final_, code);
        if (keep) bytes += static_cast<double>(std::filesystem::file_size(final_));
        check_folder(final_, bytes);
        try {
            if (keep) {
                if (!std::filesystem::copy_file(final_, partial_, std::filesystem::copy_options::overwrite_existing, code))
                    refuse(partial_, fmt::format("cannot be copied from the finished file ({})", code.message()));
                Hdf5File::open(partial_, true, ExitStatus::output).close();
            } else {
                Hdf5File::create(partial_).close();
            }
        } catch (...) {
            std::filesystem::remove(partial_, code);
            throw;
        }
    });
}

StagedFile::~StagedFile() {
    std::error_code code;
    if (first_rank_ && !committed_) std::filesystem::remove(partial_, code);
}

void StagedFile::write_small(const std::function<void(Hdf5File&)>& write) {
    collectively(comm_, [&] {
        if (!first_rank_) return;
        Hdf5File file = Hdf5File::open(partial_, true, ExitStatus::output);
        write(file);
        file.close();
        claim_space(partial_);
    });
}

void StagedFile::commit() {
    collectively(comm_, [&] {
        if (!first_rank_) return;
        sync(partial_, O_RDWR);
        if (std::rename(partial_.c_str(), final_.c_str()) != 0)
            refuse(final_, fmt::format("cannot be renamed from {} ({})", partial_.string(), std::strerror(errno)));
        sync(folder_of(final_), O_RDONLY | O_DIRECTORY);
    });
    committed_ = true;
}

OutputLock::OutputLock(MPI_Comm comm, const std::filesystem::path& output) : file_(output.string() + ".lock") {
    collectively(comm, [&] {
        if (!is_first(comm)) return;
        check_folder(output, 0);
        while (true) {
            Descriptor descriptor(::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
            if (descriptor.id < 0)
                refuse(file_, fmt::format("cannot be created ({}); change output.path", std::strerror(errno)));
            if (flock(descriptor.id, LOCK_EX | LOCK_NB) != 0) {
                if (errno != EWOULDBLOCK)
                    refuse(file_, fmt::format("cannot be locked ({}); use a file system with flock", std::strerror(errno)));
                char owner[256] = "";
                const ssize_t length = pread(descriptor.id, owner, sizeof owner - 1, 0);
                const std::string text(owner, length > 0 ? static_cast<std::size_t>(length) : 0);
                refuse(output, fmt::format("another run is writing it: {}; wait for it or change output.path",
                                           text.empty() ? "owner not known" : text));
            }
            // The owner before may have removed the name between our open and our lock.
            struct stat ours {}, named {};
            if (fstat(descriptor.id, &ours) != 0 || stat(file_.c_str(), &named) != 0 || ours.st_ino != named.st_ino)
                continue;
            char host[256] = "";
            gethostname(host, sizeof host - 1);
            const std::string text = fmt::format("host {}, process {}", host, getpid());
            if (ftruncate(descriptor.id, 0) != 0 ||
                pwrite(descriptor.id, text.data(), text.size(), 0) != std::ssize(text)) {
                const std::string reason = std::strerror(errno);
                std::error_code code;
                std::filesystem::remove(file_, code);
                refuse(file_, fmt::format("cannot be written ({}); make room or change output.path", reason));
            }
            descriptor_ = std::exchange(descriptor.id, -1);
            return;
        }
    });
}

OutputLock::~OutputLock() {
    if (descriptor_ < 0) return;
    std::error_code code;
    std::filesystem::remove(file_, code);
    ::close(descriptor_);
}

}  // namespace tangram
