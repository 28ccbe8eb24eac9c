#pragma once
#include <hdf5.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "tangram/error.hpp"
#include "tangram/index.hpp"

namespace tangram {

/// Owner of one HDF5 identifier; the destructor closes it by `close_by` and never throws.
class Hdf5Handle {
  public:
    Hdf5Handle() = default;
    Hdf5Handle(hid_t id, herr_t (*close_by)(hid_t)) : id_(id), close_(close_by) {}
    Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
    Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
        std::swap(id_, other.id_);
        std::swap(close_, other.close_);
        return *this;
    }
    ~Hdf5Handle() { close(); }
    operator hid_t() const noexcept { return id_; }
    /// Closes now; negative where HDF5 could not.
    herr_t close() noexcept {
        const hid_t id = std::exchange(id_, H5I_INVALID_HID);
        return id >= 0 ? close_(id) : 0;
    }

  private:
    hid_t id_ = H5I_INVALID_HID;
    herr_t (*close_)(hid_t) = nullptr;
};

/// HDF5's own words for its last failure, innermost first; its automatic printing is off.
std::string hdf5_failure();

/// One column of a table: a name and as many values as the others.
struct TableColumn {
    std::string name;
    std::vector<double> numbers;     ///< used where texts and integers are empty
    std::vector<Index> integers;
    std::vector<std::string> texts;
};

/// An HDF5 file opened by one process, for everything that is small. Paths are absolute ("/kernel/gram"); groups on the
/// way are created. Every function throws Error with the status given to open() or create(), naming file and path. Local:
/// under MPI one rank uses it, inside collectively().
class Hdf5File {
  public:
    /// A new file in place of what is there; failures are Error(output). Readable by HDF5 1.10 and h5py 3.7.
    static Hdf5File create(const std::filesystem::path& file);
    /// @param status  of failures: output for files that tangram wrote, input for somebody else's
    static Hdf5File open(const std::filesystem::path& file, bool writable, ExitStatus status);
    /// Closes; what HDF5 cannot write then is an Error.
    void close();

    bool exists(const std::string& path) const;
    void remove(const std::string& path);  ///< a group or data set; nothing where there is none
    std::vector<Index> shape(const std::string& path) const;

    void write(const std::string& path, const std::vector<double>& values, std::vector<Index> shape = {});
    void write(const std::string& path, const std::vector<std::int32_t>& values);
    void write(const std::string& path, const std::vector<Index>& values);
    /// A compound data set; texts are variable-length UTF-8.
    void write_table(const std::string& path, const std::vector<TableColumn>& columns);
    /// A float64 data set whose entries ranks write later; its space is allocated now, no fill value is written.
    void create_matrix(const std::string& path, Index rows, Index columns);

    /// Attributes of a group (created where missing) or data set; an old value is replaced.
    void set_attribute(const std::string& path, const std::string& name, double value);
    void set_attribute(const std::string& path, const std::string& name, Index value);
    void set_attribute(const std::string& path, const std::string& name, const std::string& value);
    void set_attribute(const std::string& path, const std::string& name, const std::vector<Index>& values);
    void set_attribute(const std::string& path, const std::string& name, const std::vector<std::string>& values);

    std::vector<double> read_doubles(const std::string& path) const;
    std::vector<std::int32_t> read_int32(const std::string& path) const;
    std::vector<Index> read_int64(const std::string& path) const;
    bool has_attribute(const std::string& path, const std::string& name) const;
    double number_attribute(const std::string& path, const std::string& name) const;
    std::string text_attribute(const std::string& path, const std::string& name) const;

  private:
    Hdf5File(std::filesystem::path file, ExitStatus status, Hdf5Handle handle);
    hid_t check(hid_t id, const std::string& path, const char* action) const;
    Hdf5Handle data_set(const std::string& path) const;
    Hdf5Handle create_data_set(const std::string& path, hid_t type, const std::vector<Index>& shape, bool allocate);
    Hdf5Handle object(const std::string& path, bool create) const;
    void write_values(const std::string& path, hid_t type, const void* values, const std::vector<Index>& shape);
    void write_attribute(const std::string& path, const std::string& name, hid_t type, Index count, bool scalar,
                         const void* values);
    template <class T>
    std::vector<T> read_values(const std::string& path, hid_t type) const;

    std::filesystem::path file_;
    ExitStatus status_;
    Hdf5Handle handle_;
};

/// "F.h5:/path" as file and path. @throws Error(study) where the colon or the path's slash is missing
std::pair<std::filesystem::path, std::string> file_and_path(const std::string& argument);

}  // namespace tangram
