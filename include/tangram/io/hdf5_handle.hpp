#pragma once
#include <hdf5.h>

#include <filesystem>
#include <string>
#include <utility>

#include "tangram/error.hpp"

namespace tangram {

/// Owner of one HDF5 identifier; the destructor closes it by `close_by` and never throws.
class Hdf5Handle {
  public:
    Hdf5Handle() = default;
    Hdf5Handle(hid_t id, herr_t (*close_by)(hid_t)) : id_(id), close_(close_by) {}
    Hdf5Handle(Hdf5Handle&& other) noexcept
        : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
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

/// What messages and errors of one file need.
struct Hdf5Place {
    std::filesystem::path file;
    ExitStatus status;  ///< output for files that tangram writes, input for somebody else's
};

/// HDF5's account of its last failure, the innermost function's. Any further HDF5 call overwrites it.
struct Hdf5Failure {
    std::string words;
    int system = 0;          ///< the errno that is behind it, or 0
    bool no_memory = false;  ///< an allocation failed
    bool locked = false;     ///< another process holds the file's lock
};
/// Local.
Hdf5Failure hdf5_failure();

/// The Error of HDF5's last failure: "<file>: <what>: <its words><remedy>", with the place's status; where
/// memory was what lacked, status study, whatever the file. Local.
Error hdf5_error(const Hdf5Place& place, const std::string& what, const char* remedy = "");

/// Turns HDF5's printing of errors off. Every function of io/ that opens a file calls it. Local.
void silence_hdf5();

/// The checked wrapper of every HDF5 call: what it returned (identifier, status or answer), unless that is
/// negative.
/// @throws hdf5_error(place, "<path> cannot be <action>"). Local.
hid_t check_hdf5(hid_t returned, const Hdf5Place& place, const std::string& path, const char* action);

/// Bytes of a type, which HDF5 says to be 0 where it fails. @throws as check_hdf5. Local.
std::size_t size_of_type(hid_t type, const Hdf5Place& place, const std::string& path);

/// Access properties for links and data sets that refuse to follow a link to another file: what a file names
/// must be in it. Valid until the process ends. Local. @throws Error(numerical) where HDF5 cannot make them
hid_t within_the_file();
/// How HDF5's words begin where such a link was met.
inline constexpr const char* leaves_the_file = "it is a link to another file";

/// H5Fclose for a file that one process writes. When the disk fills up, a plain H5Fclose fails, leaves an
/// identifier of freed memory behind and MPI_Finalize crashes on it (HDF5 1.10). This one flushes first;
/// where that fails it lets the file's descriptor point at memory, so that HDF5 can let go of it, and returns
/// a negative status with HDF5's words for the failed flush still there. The file on disk is then torn.
/// Local.
herr_t close_written_file(hid_t file) noexcept;

}  // namespace tangram
