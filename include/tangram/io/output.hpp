#pragma once
#include <filesystem>
#include <functional>
#include <string>

#include "tangram/io/hdf5_file.hpp"
#include "tangram/parallel/communicator.hpp"

namespace tangram {

/// A file that appears whole or not at all: it is written as `<final>.partial` and renamed by commit(). The finished
/// file at the final name is never open for writing. All members are collective over comm and throw Error(output) on
/// every rank or none. The destructor without commit() removes the partial file and never throws; it is not collective.
class StagedFile {
  public:
    /// @param keep  start as a copy of the finished file, if there is one, so that a stage adds to what others wrote
    /// @param bytes  about how much will be added: refused now where the file system has less free space
    StagedFile(MPI_Comm comm, std::filesystem::path final_name, bool keep, double bytes);
    ~StagedFile();
    StagedFile(const StagedFile&) = delete;
    StagedFile& operator=(const StagedFile&) = delete;

    const std::filesystem::path& partial() const noexcept { return partial_; }
    /// Runs `write` on the first rank with the file open, then claims its space from the file system, so that a full
    /// disk shows here and not in the middle of a collective transfer.
    void write_small(const std::function<void(Hdf5File&)>& write);
    /// Syncs file and folder and renames onto the final name.
    void commit();

  private:
    MPI_Comm comm_;
    bool first_rank_;
    std::filesystem::path final_, partial_;
    bool committed_ = false;
};

/// `<output>.lock`, held (flock) by the first rank's process while the object lives: a second run on the same output is
/// refused with the owner's host and process. flock vanishes with its process, so no stale lock stays behind.
class OutputLock {
  public:
    /// Collective. @throws Error(output) on every rank: held by another process, or the folder cannot be written
    OutputLock(MPI_Comm comm, const std::filesystem::path& output);
    ~OutputLock();
    OutputLock(const OutputLock&) = delete;
    OutputLock& operator=(const OutputLock&) = delete;

  private:
    std::filesystem::path file_;
    int descriptor_ = -1;
};

}  // namespace tangram
