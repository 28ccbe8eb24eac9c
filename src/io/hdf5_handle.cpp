#include "tangram/io/hdf5_handle.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

namespace tangram {

void silence_hdf5() {
    static const herr_t once = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    static_cast<void>(once);
}

std::string hdf5_failure() {
    std::string text;
    const auto take = [](unsigned, const H5E_error2_t* error, void* data) -> herr_t {
        auto& to = *static_cast<std::string*>(data);
        if (to.empty() && error->desc != nullptr) to = error->desc;
        return 0;
    };
    // Upward starts at the innermost function, whose words say the cause (errno and all).
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take, &text);
    // The sec2 driver appends addresses and counters after the cause; a user needs "errno = 28, error message
    // = '...'".
    if (const auto cause = text.find("error message = '"); cause != std::string::npos) {
        const auto from = cause + std::string("error message = '").size();
        if (const auto to = text.find('\'', from); to != std::string::npos)
            return text.substr(from, to - from);
    }
    return text.empty() ? "unknown HDF5 failure" : text;
}

hid_t check_hdf5(hid_t returned, const Hdf5Place& place, const std::string& path, const char* action) {
    if (returned < 0) {
        const std::string reason = hdf5_failure();
        throw Error(place.status,
                    fmt::format("{}: {} cannot be {}: {}", place.file.string(), path, action, reason));
    }
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
            throw Error(ExitStatus::numerical, "HDF5 failed to refuse links: " + hdf5_failure());
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
