#pragma once
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "tangram/io/hdf5_file.hpp"
#include "tangram/io/matrix_io.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {

/// An existing HDF5 file, read by the first rank and known to all. Members are collective over comm and throw
/// Error(status) on every rank or none; results are equal on every rank.
class InputFile {
  public:
    /// @param status  of failures: output for tangram's own file, input for somebody else's
    /// @throws Error(status) naming the file: missing, a folder, not an HDF5 file, torn
    InputFile(MPI_Comm comm, std::filesystem::path file, ExitStatus status);

    const std::filesystem::path& name() const noexcept { return name_; }

    /// What `read(const Hdf5File&)` returns on the first rank: a number, a text, or a vector of either.
    template <class Read>
    auto read(Read&& read) const {
        using Result = std::decay_t<std::invoke_result_t<Read, const Hdf5File&>>;
        Result result = collectively(comm_, [&] { return file_ ? read(*file_) : Result{}; });
        share(result);
        return result;
    }

    /// As tangram::read_matrix and read_into; the grid's ranks are comm's. @throws Error(status) also where
    /// the checksum that was stored with the matrix is another
    DistributedMatrix read_matrix(const std::string& path, const ProcessGrid& grid, Index block,
                                  Orientation orientation) const;
    void read_into(const std::string& path, DistributedMatrix& matrix, Orientation orientation) const;

  private:
    void check(const std::string& path, const DistributedMatrix& matrix, Index rows, Index columns) const;
    void share(std::string& text) const { broadcast(comm_, text, 0); }
    void share(std::vector<std::string>& texts) const;
    template <class T>
    void share(std::vector<T>& values) const {
        broadcast(comm_, values, 0);
    }
    template <class T>
    requires std::is_arithmetic_v<T>
    void share(T& value) const { broadcast_bytes(comm_, std::as_writable_bytes(std::span(&value, 1)), 0); }

    MPI_Comm comm_;
    std::filesystem::path name_;
    ExitStatus status_;
    std::optional<Hdf5File> file_;  ///< on the first rank
};

}  // namespace tangram
