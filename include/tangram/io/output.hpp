#pragma once
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>

#include "tangram/io/hdf5_file.hpp"
#include "tangram/parallel/communicator.hpp"

namespace tangram {

/// Collective. @throws Error(output) on every rank where a StagedFile of these arguments could not be written
/// now: folder missing or read-only, a folder or a file without write permission at the name, too little
/// space. To be asked before what is to be written is computed.
void require_space(MPI_Comm comm, const std::filesystem::path& file, bool keep, double bytes);

/// Removes a file that was never finished. Local; what cannot be removed stays.
void remove_partial(const std::filesystem::path& partial) noexcept;

/// A file that appears whole or not at all: it is written as `<final>.partial` and renamed by commit(). The
/// finished file at the final name is never open for writing. All members are collective over comm and throw
/// Error(output) on every rank or none. The destructor without commit() removes the partial file and never
/// throws; it is not collective.
class StagedFile {
  public:
    /// @param keep  start as a copy of the finished file, so that a stage adds to what others wrote
    /// @param bytes  about how much will be added: refused now where the file system has less free space
    /// @throws Error(output): folder missing or read-only, a folder or a file without write permission at the
    ///         final name, too little space, with `keep` a finished file that is gone or torn
    StagedFile(MPI_Comm comm, std::filesystem::path final_name, bool keep, double bytes);
    ~StagedFile();
    StagedFile(const StagedFile&) = delete;
    StagedFile& operator=(const StagedFile&) = delete;

    const std::filesystem::path& partial() const noexcept { return partial_; }
    /// Runs `write` on the first rank with the file open, then claims the space of its new matrices from the
    /// file system (where that cannot promise space, by writing zeros), so that a full disk shows here: in
    /// the middle of a collective transfer MPI-IO may not even notice it [seen].
    void write_small(const std::function<void(Hdf5File&)>& write);
    /// Syncs file and folder and renames onto the final name.
    /// @param previous  where what stood there goes; empty: it is replaced
    void commit(const std::filesystem::path& previous = {});

  private:
    MPI_Comm comm_;
    bool first_rank_;
    std::filesystem::path final_, partial_;
    Index inode_ = 0;  ///< of partial_, as the first rank sees it
    bool committed_ = false;
};

/// `<output>.lock`, held by the first rank's process while the object lives: a second run on the same output
/// is refused with the owner's host, process and start. The lock is a flock on the file: it vanishes with its
/// process, however that ends, and NFS and Lustre (mounted with flock) carry it between hosts; the file
/// itself, left by a dead process, means nothing. Where the file system has no flock, its text counts: a
/// process of this host that is gone (kill 0) is no owner, any other is, and the message then says which file
/// to delete.
class OutputLock {
  public:
    /// Collective. @throws Error(output) on every rank: held by another process, or the folder cannot be
    /// written
    /// @param patience  for an owner that is dying: ranks whose mpirun was killed live on for some seconds
    OutputLock(MPI_Comm comm, const std::filesystem::path& output,
               std::chrono::seconds patience = std::chrono::seconds(10));
    ~OutputLock();
    /// Removes the file, before a process that ends without destructors. Local; on the first rank.
    void remove_file() const noexcept;
    OutputLock(const OutputLock&) = delete;
    OutputLock& operator=(const OutputLock&) = delete;

  private:
    std::filesystem::path file_;
    int descriptor_ = -1;
};

}  // namespace tangram
