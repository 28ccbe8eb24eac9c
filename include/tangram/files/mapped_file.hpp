#pragma once
#include <cstddef>
#include <filesystem>

namespace tangram {

/// A file's bytes as read-only pages that the processes of a node share. Local.
class MappedFile {
  public:
    /// @param descriptor  of the file, open for reading; it may be closed afterwards
    MappedFile(const std::filesystem::path& file, int descriptor, std::size_t size);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&&) = delete;

    const std::byte* bytes() const noexcept {
        return static_cast<const std::byte*>(address_);
    }  ///< nullptr: refused

  private:
    void* address_;
    std::size_t size_;
};

/// From here on a page that is gone because somebody has cut a mapped file short ends the process with status
/// 3 and one line that names the file, in place of a bus error. Local; for the program, at its beginning.
void name_files_cut_short();

}  // namespace tangram
