#include "hdf5_chunks.hpp"

#include <fmt/core.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

namespace {

/// Where a filter stands in the pipeline that packs a chunk; a chunk may leave it out.
struct Filters {
    unsigned count = 0;
    std::uint32_t deflate = 0, checksum = 0;  ///< as bits of a chunk's mask; 0: not there
};

Filters filters_of(hid_t creation, const Hdf5Place& place, const std::string& path) {
    Filters found;
    found.count = static_cast<unsigned>(check_hdf5(H5Pget_nfilters(creation), place, path, "described"));
    for (unsigned i = 0; i < found.count; ++i) {
        std::array<char, 64> name{};
        unsigned flags = 0, config = 0;
        std::size_t values = 0;
        const H5Z_filter_t filter =
            H5Pget_filter2(creation, i, &flags, &values, nullptr, name.size() - 1, name.data(), &config);
        if (filter == H5Z_FILTER_DEFLATE && found.deflate == 0)
            found.deflate = 1U << i;
        else if (filter == H5Z_FILTER_FLETCHER32 && found.checksum == 0)
            found.checksum = 1U << i;
        else if (filter != H5Z_FILTER_SHUFFLE)
            throw Error(
                place.status, ErrorKind::unsupported,
                fmt::format(
                    "{}: {} is packed by the filter {} ({}); repack it with gzip (h5repack -f GZIP=4)",
                    place.file.string(), path, filter, name.data()));
    }
    return found;
}

/// Bytes of a value in the file, where a text of any length is its length, an address of `address` bytes and
/// an index, and a pointer in memory.
std::size_t stored_size(hid_t type, std::size_t address, const Hdf5Place& place, const std::string& path) {
    if (check_hdf5(H5Tis_variable_str(type), place, path, "described") > 0) return 4 + address + 4;
    std::size_t size = size_of_type(type, place, path);
    if (H5Tget_class(type) != H5T_COMPOUND) return size;
    const auto members = static_cast<unsigned>(check_hdf5(H5Tget_nmembers(type), place, path, "described"));
    for (unsigned m = 0; m < members; ++m) {
        const Hdf5Handle member(check_hdf5(H5Tget_member_type(type, m), place, path, "described"), H5Tclose);
        size += stored_size(member, address, place, path);
        size -= size_of_type(member, place, path);
    }
    return size;
}

/// Bytes that deflate leaves of these, or -1: broken, or more than `most`.
Index inflated_size(const std::vector<unsigned char>& packed, std::size_t size, Index most) {
    z_stream stream{};
    if (size > std::numeric_limits<uInt>::max() || inflateInit(&stream) != Z_OK) return -1;
    std::vector<unsigned char> out(std::size_t{1} << 16);
    stream.next_in = const_cast<unsigned char*>(packed.data());
    stream.avail_in = static_cast<uInt>(size);
    Index unpacked = 0;
    int state = Z_OK;
    while (state == Z_OK && unpacked <= most) {
        stream.next_out = out.data();
        stream.avail_out = static_cast<uInt>(out.size());
        state = inflate(&stream, Z_NO_FLUSH);
        unpacked += static_cast<Index>(out.size() - stream.avail_out);
    }
    inflateEnd(&stream);
    return state == Z_STREAM_END && unpacked <= most ? unpacked : -1;
}

}  // namespace

void check_chunks(hid_t set, const Hdf5Place& place, const std::string& path) {
    const Hdf5Handle creation(check_hdf5(H5Dget_create_plist(set), place, path, "described"), H5Pclose);
    const Filters filters = filters_of(creation, place, path);
    if (filters.count == 0) return;
    const Hdf5Handle type(check_hdf5(H5Dget_type(set), place, path, "described"), H5Tclose);
    const Hdf5Handle space(check_hdf5(H5Dget_space(set), place, path, "described"), H5Sclose);
    std::array<hsize_t, H5S_MAX_RANK> extents{}, corner{};
    const int rank = H5Pget_chunk(creation, H5S_MAX_RANK, extents.data());
    check_hdf5(rank, place, path, "described");
    hsize_t file_size = 0;
    std::size_t address_bytes = 0, length_bytes = 0;
    const Hdf5Handle file(check_hdf5(H5Iget_file_id(set), place, path, "described"), H5Fclose),
        created(check_hdf5(H5Fget_create_plist(file), place, path, "described"), H5Pclose);
    check_hdf5(H5Fget_filesize(file, &file_size), place, path, "described");
    check_hdf5(H5Pget_sizes(created, &address_bytes, &length_bytes), place, path, "described");
    double bytes = static_cast<double>(stored_size(type, address_bytes, place, path));
    for (int d = 0; d < rank; ++d) bytes *= static_cast<double>(extents[static_cast<std::size_t>(d)]);
    const auto refuse = [&](hsize_t chunk, const std::string& problem) {
        throw Error(
            place.status, ErrorKind::malformed,
            fmt::format("{}: {}: chunk {} {}: the file is torn", place.file.string(), path, chunk, problem));
    };
    hsize_t chunks = 0;
    check_hdf5(H5Dget_num_chunks(set, space, &chunks), place, path, "described");
    if (chunks > 0 && bytes >= 0x1p32) refuse(0, "has more than 4 GiB");
    std::vector<unsigned char> packed;
    for (hsize_t chunk = 0; chunk < chunks; ++chunk) {
        unsigned left_out = 0;
        haddr_t address = HADDR_UNDEF;
        hsize_t stored = 0;
        check_hdf5(H5Dget_chunk_info(set, space, chunk, corner.data(), &left_out, &address, &stored), place,
                   path, "described");
        if (stored > file_size) refuse(chunk, "is larger than the file");
        // Unpacked from the last filter to the first; shuffling changes no size.
        auto size = static_cast<Index>(stored);
        const bool sum_first = filters.checksum > filters.deflate;
        const bool summed = filters.checksum != 0 && (left_out & filters.checksum) == 0;
        if (summed && sum_first) size -= 4;
        if (size >= 0 && filters.deflate != 0 && (left_out & filters.deflate) == 0) {
            packed.resize(static_cast<std::size_t>(stored));
            std::uint32_t mask = 0;
            check_hdf5(H5Dread_chunk(set, H5P_DEFAULT, corner.data(), &mask, packed.data()), place, path,
                       "read");
            size = inflated_size(packed, static_cast<std::size_t>(size), static_cast<Index>(bytes) + 4);
        }
        if (summed && !sum_first) size -= 4;
        if (size != static_cast<Index>(bytes))
            refuse(chunk, fmt::format("unpacks to another size than its {:.0f} bytes", bytes));
    }
}

}  // namespace tangram
