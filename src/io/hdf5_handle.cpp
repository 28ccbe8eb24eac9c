#include "tangram/io/hdf5_handle.hpp"

#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace tangram {

void silence_hdf5() {
    static const herr_t once = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    static_cast<void>(once);
}

Hdf5Failure hdf5_failure() {
    Hdf5Failure failure;
    const auto take = [](unsigned, const H5E_error2_t* error, void* data) -> herr_t {
        auto& to = *static_cast<Hdf5Failure*>(data);
        if (!to.words.empty() || error->desc == nullptr) return 0;
        to.words = error->desc;
        to.no_memory = error->maj_num == H5E_RESOURCE &&
                       (error->min_num == H5E_NOSPACE || error->min_num == H5E_CANTALLOC);
        return 0;
    };
    // Upward starts at the innermost function, whose words say the cause (errno and all).
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take, &failure);
    // The sec2 driver appends addresses and counters after the cause; a user needs "errno = 28, error message
    // = '...'".
    std::string& text = failure.words;
    failure.locked = text.starts_with("unable to lock file") || text.starts_with("file is already open");
    if (const auto number = text.find("errno = "); number != std::string::npos)
        failure.system = std::atoi(text.c_str() + number + std::strlen("errno = "));
    if (const auto cause = text.find("error message = '"); cause != std::string::npos) {
        const auto from = cause + std::strlen("error message = '");
        if (const auto to = text.find('\'', from); to != std::string::npos)
            text = text.substr(from, to - from);
    }
    failure.no_memory = failure.no_memory || failure.system == ENOMEM;
    if (text.empty()) text = "unknown HDF5 failure";
    return failure;
}

Error hdf5_error(const Hdf5Place& place, const std::string& what, const char* remedy) {
    const Hdf5Failure failure = hdf5_failure();
    if (failure.no_memory)
        return {
            ExitStatus::study, ErrorKind::no_memory,
            fmt::format("{}: {}: out of memory; use more ranks or fewer samples", place.file.string(), what)};
    const ErrorKind kind = failure.locked                               ? ErrorKind::in_use
                           : failure.system != 0                        ? ErrorKind::no_access
                           : failure.words.starts_with(leaves_the_file) ? ErrorKind::unsupported
                                                                        : ErrorKind::malformed;
    if (failure.words.find("Fletcher32") != std::string::npos)
        return {
            place.status, kind,
            fmt::format(
                "{}: {}: its checksum is another than when it was written; restore the file from a copy{}",
                place.file.string(), what,
                place.status == ExitStatus::output ? ", or delete it to compute it again" : "")};
    return {place.status, kind,
            fmt::format("{}: {}: {}{}", place.file.string(), what, failure.words, remedy)};
}

hid_t check_hdf5(hid_t returned, const Hdf5Place& place, const std::string& path, const char* action) {
    if (returned < 0) throw hdf5_error(place, fmt::format("{} cannot be {}", path, action));
    return returned;
}

std::size_t size_of_type(hid_t type, const Hdf5Place& place, const std::string& path) {
    const std::size_t bytes = H5Tget_size(type);
    check_hdf5(bytes > 0 ? 0 : -1, place, path, "described");
    return bytes;
}

hid_t within_the_file() {
    static const hid_t properties = [] {
        const auto refuse = [](const char*, const char*, const char* other, const char*, unsigned*, hid_t,
                               void*) -> herr_t {
            H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_LINK, H5E_TRAVERSE,
                     "%s, %s, which is not followed; copy what is needed into this one", leaves_the_file,
                     other);
            return -1;
        };
        const hid_t made = H5Pcreate(H5P_DATASET_ACCESS);  // of the class of link access, too
        // Without it a link would be followed, whatever it points to.
        if (made < 0 || H5Pset_elink_cb(made, refuse, nullptr) < 0)
            throw Error(ExitStatus::numerical, ErrorKind::library,
                        "HDF5 failed to refuse links: " + hdf5_failure().words);
        return made;
    }();
    return properties;
}

herr_t close_written_file(hid_t file) noexcept {
    if (H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0) return H5Fclose(file);
    const hid_t words = H5Eget_current_stack();
    void* descriptor = nullptr;
    const int memory = memfd_create("tangram-abandoned", MFD_CLOEXEC);
    if (memory >= 0 && H5Fget_vfd_handle(file, H5P_DEFAULT, &descriptor) >= 0 && descriptor != nullptr)
        dup2(memory, *static_cast<int*>(descriptor));
    if (memory >= 0) ::close(memory);
    // The first flush after a failed one fails again, whatever the descriptor; the second succeeds [seen].
    for (int attempt = 0; attempt < 8 && H5Fflush(file, H5F_SCOPE_GLOBAL) < 0; ++attempt) {
    }
    H5Fclose(file);
    if (words >= 0) H5Eset_current_stack(words);
    return -1;
}

}  // namespace tangram
