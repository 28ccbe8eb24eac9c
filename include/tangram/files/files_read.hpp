#pragma once
#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// What the system says of an open file: another file has another, and so has one that was written since.
struct FileState {
    std::uint64_t device = 0, inode = 0;
    Index size = 0;     ///< bytes
    Index written = 0;  ///< nanoseconds (mtime)
    Index changed = 0;  ///< nanoseconds (ctime: nobody can set it back)

    bool operator==(const FileState&) const = default;
};
FileState state_of(const struct stat& status);

/// A file that was read.
struct FileRead {
    std::string name;            ///< its place in the folder of the record; one line
    std::filesystem::path path;  ///< as it was opened
    /// When it was opened; nothing where another rank has read it, and answers for it.
    std::optional<FileState> state;
    std::string sha256;  ///< of its bytes; empty: mapped, and not hashed yet
    Index size = 0;      ///< bytes
    /// Its descriptor where its bytes count where they stand (memory map), as long as they are not hashed.
    std::shared_ptr<const int> mapped;
};

/// The registry of what was read: nothing opens a file of a model or a table without one, so what decides a
/// result is here without anybody listing it. Files are named by their place in a folder, wherever that
/// stands, so that a copy with equal bytes counts as the same; what lies outside, by its own name. Local.
class FilesRead {
  public:
    FilesRead() = default;  ///< of no folder
    explicit FilesRead(std::filesystem::path folder) : folder_(std::move(folder)) {}

    const std::filesystem::path& folder() const noexcept { return folder_; }
    const std::vector<FileRead>& all() const noexcept { return all_; }  ///< in the order of their reading
    const FileRead* find(std::string_view name) const;                  ///< nullptr: not read

    /// For who reads: a file whose bytes are in memory. @throws Error(input, changed) where it was read
    /// before and held others
    void add(const std::filesystem::path& file, const FileState& state, std::string_view bytes);
    /// For who maps: a file whose bytes count where they stand. @param descriptor  stays the caller's
    /// @throws Error(input, changed) where it was read before and was another
    void add_mapped(const std::filesystem::path& file, const FileState& state, int descriptor);
    /// Of a file that another rank has read: this one only knows it. It is not the first of its name:
    /// ignored.
    void add_known(const std::string& name, const std::string& sha256, Index size);

    /// Hashes mapped files through the descriptors that they were mapped with. Reads them once, whole.
    /// @param which  positions in all()
    /// @throws Error(input) naming the file: changed where it was written since it was opened, no_access
    /// where it cannot be read
    void hash(std::span<const std::size_t> which);
    /// Takes another rank's word for a mapped file.
    void set_hash(std::size_t which, const std::string& sha256);

    /// The first file that another one stands in the place of, or whose bytes are not what they were when
    /// they were read; nullptr: none. One that is gone has not changed: what was read stays read. Reads no
    /// byte of a file that the system says nobody has touched.
    const FileRead* changed() const;

  private:
    std::string name_of(const std::filesystem::path& file) const;
    FileRead* same_path(const std::filesystem::path& file);

    std::filesystem::path folder_;
    std::vector<FileRead> all_;
};

}  // namespace tangram
