#pragma once
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tangram/files/files_read.hpp"
#include "tangram/files/mapped_file.hpp"
#include "tangram/files/stored_entries.hpp"
#include "tangram/index.hpp"

namespace tangram {

/// One tensor of a safetensors file: its place in the memory map, row-major, little-endian.
struct TensorView {
    std::string name;
    DType dtype;
    std::vector<Index> shape;
    std::span<const std::byte> bytes;
    std::size_t file;  ///< position in Weights::files()

    Index size() const;  ///< number of entries
};

/// The weights of a Hugging Face folder (model.safetensors, or the shards of model.safetensors.index.json),
/// or of one file, by read-only memory maps that ranks of one node share. Local. Integer tensors (buffers
/// such as masks) are passed over.
class Weights {
  public:
    /// @param files  record of the index and the mapped files
    /// @throws Error(input) naming the file and what is wrong with it: missing, truncated, a header that is
    ///         too long, is not JSON or names a dtype, shape or offsets that do not fit the file, overlapping
    ///         or missing bytes, a tensor twice, a shard outside the folder or without a tensor that the
    ///         index promises
    Weights(const std::filesystem::path& folder_or_file, FilesRead& files);
    ~Weights();
    Weights(Weights&&) noexcept;

    const std::vector<TensorView>& tensors() const noexcept { return tensors_; }     ///< in order of name
    const TensorView* find(std::string_view name) const;                             ///< nullptr: none
    const std::vector<std::string>& integers() const noexcept { return integers_; }  ///< names passed over
    /// Other names for all tensors. @throws Error(input) where two would have the same
    void rename(const std::function<std::string(const std::string&)>& name_of);
    /// @throws Error(input) naming the tensor where it is missing (with the nearest name) or not of floating
    /// point
    const TensorView& at(std::string_view name) const;
    const std::vector<std::filesystem::path>& files() const noexcept { return files_; }
    /// The first file, for messages.
    std::string name() const { return files_.front().string(); }

    /// The entries in another precision; F16 and BF16 are exact in both.
    /// @throws Error(input) naming file, tensor and position of an entry that is not finite
    template <class Real>
    std::vector<Real> read(const TensorView& tensor) const;
    /// That every entry is finite in a precision. @throws Error(input) as read()
    template <class Real>
    void check_finite(const TensorView& tensor) const;
    /// The memory maps, whose pages the ranks of a node share: what tensors stand in as long as it is kept.
    std::shared_ptr<const void> maps() const { return maps_; }
    /// The same into `values`, which must have tensor.size() entries.
    template <class Real>
    void read(const TensorView& tensor, std::span<Real> values) const;

  private:
    void open(const std::filesystem::path& file, FilesRead& files);
    /// By name. @param why_twice  what is said of a tensor that stands there twice
    void sort(const char* why_twice);
    [[noreturn]] void refuse_entry(const TensorView& tensor, Index entry, std::size_t precision) const;

    std::vector<std::filesystem::path> files_;
    std::shared_ptr<std::vector<MappedFile>> maps_;
    std::vector<TensorView> tensors_;
    std::vector<std::string> integers_;  // names of the tensors passed over
};

}  // namespace tangram
