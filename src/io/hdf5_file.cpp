#include "tangram/io/hdf5_file.hpp"

#include <fmt/format.h>
#include <hdf5_hl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <limits>

#include "hdf5_chunks.hpp"
#include "tangram/io/damaged_file.hpp"

namespace tangram {

namespace {

/// Attributes in which HDF5 keeps dimension scales: of a data set its axes', of a scale whose axes it is of,
/// and that it is one.
constexpr const char* scale_attributes[] = {DIMENSION_LIST, REFERENCE_LIST, "CLASS", "NAME"};

Hdf5Handle text_type(const Hdf5Place& place, const std::string& path) {
    Hdf5Handle type(check_hdf5(H5Tcopy(H5T_C_S1), place, path, "described"), H5Tclose);
    check_hdf5(H5Tset_size(type, H5T_VARIABLE), place, path, "described");
    check_hdf5(H5Tset_cset(type, H5T_CSET_UTF8), place, path, "described");
    return type;
}

Hdf5Handle space_of(const std::vector<Index>& shape, const Hdf5Place& place, const std::string& path) {
    const std::vector<hsize_t> extents(shape.begin(), shape.end());
    return {check_hdf5(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr), place,
                       path, "described"),
            H5Sclose};
}

Hdf5Handle link_properties(const Hdf5Place& place, const std::string& path) {
    Hdf5Handle links(check_hdf5(H5Pcreate(H5P_LINK_CREATE), place, path, "created"), H5Pclose);
    check_hdf5(H5Pset_create_intermediate_group(links, 1), place, path, "created");
    return links;
}

/// The format of HDF5 1.8 is what HDF5 1.10 reads and what holds attributes above 64 kB (one value per rank).
/// File systems without flock serve, too. Without a sieve, which would keep small data until their set is
/// closed, H5Dwrite itself says what cannot be written.
Hdf5Handle file_access(const Hdf5Place& place) {
    Hdf5Handle access(check_hdf5(H5Pcreate(H5P_FILE_ACCESS), place, "the file", "opened"), H5Pclose);
    check_hdf5(H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V110), place, "the file", "opened");
    check_hdf5(H5Pset_sieve_buf_size(access, 0), place, "the file", "opened");
#if H5_VERSION_GE(1, 10, 7)
    check_hdf5(H5Pset_file_locking(access, true, true), place, "the file", "opened");
#endif
    return access;
}

/// Why HDF5 has not opened a file that is there.
[[noreturn]] void refuse_to_open(const Hdf5Place& place) {
    const Hdf5Failure failure = hdf5_failure();
    const auto error = [&](ErrorKind kind, const std::string& problem) {
        return Error(place.status, kind, fmt::format("{}: {}", place.file.string(), problem));
    };
    if (failure.locked && failure.system != 0)
        throw error(ErrorKind::in_use,
                    "another process has it open; close it there (a notebook?) and try again");
    if (failure.locked)
        throw error(ErrorKind::in_use,
                    "is marked as open for writing; close it where it is open (a notebook?), or, where that "
                    "process is dead, clear the mark with h5clear -s");
    if (failure.no_memory || failure.system != 0) throw hdf5_error(place, "cannot be opened");
    if (H5Fis_hdf5(place.file.c_str()) <= 0) throw error(ErrorKind::malformed, "is not an HDF5 file");
    throw error(ErrorKind::malformed,
                fmt::format("is torn: {}; restore it from a copy{}", failure.words,
                            place.status == ExitStatus::output ? ", or delete it to compute it again" : ""));
}

/// Whether the numbers of a type are what processors compute with: integers of 1, 2, 4 or 8 bytes and IEEE
/// 754, of either byte order. libhdf5 believes a type whose bits lie behind the number's end and reads
/// foreign memory [seen with 1.10.8].
bool is_plain(hid_t type) {
    const std::size_t size = H5Tget_size(type);
    const H5T_order_t order = H5Tget_order(type);
    if ((order != H5T_ORDER_LE && order != H5T_ORDER_BE) || H5Tget_offset(type) != 0 ||
        H5Tget_precision(type) != 8 * size)
        return false;
    if (H5Tget_class(type) == H5T_INTEGER) return size == 1 || size == 2 || size == 4 || size == 8;
    const std::size_t mantissa = size == 2 ? 10 : size == 4 ? 23 : size == 8 ? 52 : 0;
    if (mantissa == 0) return false;
    const std::size_t exponent = 8 * size - 1 - mantissa;
    std::size_t sign_at = 0, exponent_at = 0, exponent_bits = 0, mantissa_at = 0, mantissa_bits = 0;
    return H5Tget_fields(type, &sign_at, &exponent_at, &exponent_bits, &mantissa_at, &mantissa_bits) >= 0 &&
           sign_at == 8 * size - 1 && exponent_at == mantissa && exponent_bits == exponent &&
           mantissa_at == 0 && mantissa_bits == mantissa &&
           H5Tget_ebias(type) == (std::size_t{1} << (exponent - 1)) - 1 &&
           H5Tget_norm(type) == H5T_NORM_IMPLIED;
}

/// The class of a data set's values: enumerated ones, as h5py writes False and True, are integers.
H5T_class_t class_of(hid_t type) {
    const H5T_class_t found = H5Tget_class(type);
    if (found != H5T_ENUM) return found;
    const Hdf5Handle integers(H5Tget_super(type), H5Tclose);
    return integers >= 0 && is_plain(integers) ? H5T_INTEGER : found;
}

/// Texts of a data set or attribute, of fixed or variable length. `read(type, buffer)` is the checked H5Dread
/// or H5Aread.
template <class Read>
std::vector<std::string> texts(hid_t stored, hid_t space, std::size_t count, const Hdf5Place& place,
                               const std::string& path, Read read) {
    std::vector<std::string> values;
    if (count == 0) return values;
    if (check_hdf5(H5Tis_variable_str(stored), place, path, "described") > 0) {
        const Hdf5Handle type(check_hdf5(H5Tcopy(stored), place, path, "described"), H5Tclose);
        std::vector<char*> found(count, nullptr);
        read(type, found.data());
        for (const char* text : found) values.emplace_back(text == nullptr ? "" : text);
        check_hdf5(H5Dvlen_reclaim(type, space, H5P_DEFAULT, found.data()), place, path, "read");
        return values;
    }
    const std::size_t width = size_of_type(stored, place, path);
    std::string bytes(width * count, '\0');
    read(stored, bytes.data());
    const bool spaces = H5Tget_strpad(stored) == H5T_STR_SPACEPAD;
    for (std::size_t i = 0; i < count; ++i) {
        std::string text = bytes.substr(i * width, width);
        text.resize(std::min(text.find('\0'), text.size()));
        while (spaces && !text.empty() && text.back() == ' ') text.pop_back();
        values.push_back(std::move(text));
    }
    return values;
}

}  // namespace

Hdf5File::Hdf5File(Hdf5Place place, Hdf5Handle handle)
    : place_(std::move(place)), handle_(std::move(handle)) {}

hid_t Hdf5File::check(hid_t returned, const std::string& path, const char* action) const {
    return check_hdf5(returned, place_, path, action);
}

void Hdf5File::refuse(ErrorKind kind, const std::string& path, const std::string& problem) const {
    throw Error(place_.status, kind, fmt::format("{}: {} {}", place_.file.string(), path, problem));
}

void Hdf5File::check_number(hid_t type, const std::string& path) const {
    const H5T_class_t kind = H5Tget_class(type);
    if ((kind == H5T_INTEGER || kind == H5T_FLOAT) && !is_plain(type))
        refuse(
            ErrorKind::unsupported, path,
            "holds numbers that are neither integers of 1, 2, 4 or 8 bytes nor IEEE 754 numbers of 2, 4 or "
            "8 bytes; convert them (numpy: astype(\"f8\"))");
}

Hdf5File Hdf5File::create(const std::filesystem::path& file) {
    silence_hdf5();
    Hdf5Place place{file, ExitStatus::output};
    note_hdf5_file(place);
    const Hdf5Handle access = file_access(place),
                     creation(check_hdf5(H5Pcreate(H5P_FILE_CREATE), place, "the file", "created"), H5Pclose);
    // Most data sets are one chunk: an index of 2 kB for each would be most of a small file.
    check_hdf5(H5Pset_istore_k(creation, 4), place, "the file", "created");
    Hdf5Handle handle(H5Fcreate(file.c_str(), H5F_ACC_TRUNC, creation, access), close_written_file);
    if (handle < 0)
        throw hdf5_error(place, "cannot be created", "; check the folder, its permissions and free space");
    return {std::move(place), std::move(handle)};
}

Hdf5File Hdf5File::open(const std::filesystem::path& file, bool writable, ExitStatus status) {
    silence_hdf5();
    std::error_code code;
    if (!std::filesystem::exists(file, code))
        throw Error(status, ErrorKind::missing,
                    fmt::format("{}: no such file; check the path", file.string()));
    if (std::filesystem::is_directory(file, code))
        throw Error(status, ErrorKind::malformed,
                    fmt::format("{}: is a folder, not an HDF5 file", file.string()));
    if (!std::filesystem::is_regular_file(file, code))  // opening a pipe would wait for ever
        throw Error(status, ErrorKind::malformed, fmt::format("{}: is not a file", file.string()));
    Hdf5Place place{file, status};
    note_hdf5_file(place);
    const Hdf5Handle access = file_access(place);
    Hdf5Handle handle(H5Fopen(file.c_str(), writable ? H5F_ACC_RDWR : H5F_ACC_RDONLY, access),
                      writable ? close_written_file : H5Fclose);
    if (handle < 0) refuse_to_open(place);
    return {std::move(place), std::move(handle)};
}

void Hdf5File::close() {
    if (handle_.close() < 0)
        throw hdf5_error(place_, "cannot be written", "; make room or change output.path");
}

bool Hdf5File::exists(const std::string& path) const {
    note_hdf5_file(place_);  // where several files are open: every reading begins with this question
    // H5Lexists wants every group on the way to exist; it fails below a data set, and where a link leaves the
    // file.
    const auto found = [&](const std::string& name) {
        const htri_t answer = H5Lexists(handle_, name.c_str(), within_the_file());
        if (answer < 0)
            if (const std::string reason = hdf5_failure().words; reason.starts_with(leaves_the_file))
                refuse(ErrorKind::unsupported, path, "is missing: " + reason);
        return answer > 0;
    };
    for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
        if (!found(path.substr(0, slash))) return false;
    return path == "/" || found(path);
}

bool Hdf5File::is_group(const std::string& path) const {
    if (!exists(path)) return false;
    const Hdf5Handle found = object(path, false);
    return H5Iget_type(found) == H5I_GROUP;
}

std::vector<std::string> Hdf5File::children(const std::string& path) const {
    if (exists(path) && !is_group(path)) refuse(ErrorKind::malformed, path, "is not a group");
    const Hdf5Handle group = object(path, false);
    std::vector<std::string> names;
    const auto take = [](hid_t, const char* name, const H5L_info_t*, void* data) -> herr_t {
        static_cast<std::vector<std::string>*>(data)->emplace_back(name);
        return 0;
    };
    check(H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, take, &names), path, "listed");
    return names;
}

std::vector<std::string> Hdf5File::paths() const {
    std::vector<std::string> found;
    const auto take = [](hid_t, const char* name, const H5L_info_t* link, void* data) -> herr_t {
        if (link->type == H5L_TYPE_HARD)
            static_cast<std::vector<std::string>*>(data)->push_back("/" + std::string(name));
        return 0;
    };
    check(H5Lvisit(handle_, H5_INDEX_NAME, H5_ITER_INC, take, &found), "/", "listed");
    return found;
}

void Hdf5File::remove(const std::string& path) {
    if (exists(path)) check(H5Ldelete(handle_, path.c_str(), H5P_DEFAULT), path, "removed");
}

Hdf5Handle Hdf5File::data_set(const std::string& path, Sources sources) const {
    if (!exists(path)) refuse(ErrorKind::missing, path, "is missing");
    if (is_group(path)) refuse(ErrorKind::malformed, path, "is a group; a data set is needed");
    Hdf5Handle set(check(H5Dopen2(handle_, path.c_str(), within_the_file()), path, "opened as a data set"),
                   H5Dclose);
    check_storage(set, path, sources);
    return set;
}

void Hdf5File::check_sources(hid_t creation, Index entries, const std::string& path) const {
    std::size_t count = 0;
    check(H5Pget_virtual_count(creation, &count), path, "described");
    const auto name = [&](auto read, std::size_t i) {
        const auto length = static_cast<std::size_t>(check(read(creation, i, nullptr, 0), path, "described"));
        std::string text(length, '\0');
        check(read(creation, i, text.data(), length + 1), path, "described");
        return text;
    };
    Index given = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (name(H5Pget_virtual_filename, i) != ".")
            throw Error(place_.status, ErrorKind::unsupported,
                        fmt::format("{}: {} keeps its entries in another file, which is not read; copy them "
                                    "into this one",
                                    place_.file.string(), path));
        const std::string source = name(H5Pget_virtual_dsetname, i);
        const Hdf5Handle set = data_set(source.starts_with('/') ? source : "/" + source);
        const Hdf5Handle there(check(H5Dget_space(set), source, "described"), H5Sclose);
        const Hdf5Handle shown(check(H5Pget_virtual_vspace(creation, i), path, "described"), H5Sclose);
        const Hdf5Handle from(check(H5Pget_virtual_srcspace(creation, i), path, "described"), H5Sclose);
        std::array<hsize_t, H5S_MAX_RANK> first{}, last{}, extents{};
        const Index shows = check(H5Sget_select_npoints(shown), path, "described");
        bool within = H5Sget_simple_extent_npoints(there) >= shows;
        if (within && H5Sget_select_type(from) == H5S_SEL_HYPERSLABS) {
            const int rank = H5Sget_simple_extent_dims(there, extents.data(), nullptr);
            within = rank == H5Sget_simple_extent_ndims(from) &&
                     H5Sget_select_bounds(from, first.data(), last.data()) >= 0 &&
                     std::equal(last.begin(), last.begin() + rank, extents.begin(), std::less<>());
        }
        if (within) given += shows;
    }
    // What no source gives would be read as zero.
    if (given < entries)
        throw Error(place_.status, ErrorKind::malformed,
                    fmt::format("{}: {} has {} entries, its sources give {}", place_.file.string(), path,
                                entries, given));
}

void Hdf5File::check_storage(hid_t set, const std::string& path, Sources sources) const {
    const Hdf5Handle creation(check(H5Dget_create_plist(set), path, "described"), H5Pclose);
    const auto layout = static_cast<H5D_layout_t>(check(H5Pget_layout(creation), path, "described"));
    const bool chunked = layout == H5D_CHUNKED;
    if (layout == H5D_CONTIGUOUS && H5Pget_external_count(creation) > 0)
        refuse(ErrorKind::unsupported, path,
               "keeps its entries in another file, which is not read; copy them into this one");
    if (layout == H5D_VIRTUAL && sources == Sources::none)
        throw Error(place_.status, ErrorKind::unsupported,
                    fmt::format("{}: {} is a virtual data set; copy what it shows into one of its own",
                                place_.file.string(), path));
    const Hdf5Handle space(check(H5Dget_space(set), path, "described"), H5Sclose);
    const Hdf5Handle type(check(H5Dget_type(set), path, "described"), H5Tclose);
    check_number(type, path);
    const Index entries = check(H5Sget_simple_extent_npoints(space), path, "described");
    if (layout == H5D_VIRTUAL) return check_sources(creation, entries, path);
    const double bytes = static_cast<double>(entries) * static_cast<double>(size_of_type(type, place_, path));
    const double stored = static_cast<double>(std::min<hsize_t>(H5Dget_storage_size(set), file_bytes(path)));
    // Deflate packs at most 1032 bytes into one; a small data set may be without storage and hold fill values
    // alone.
    constexpr double packing = 1032, small = 1 << 23;
    const double room = stored == 0 ? small : chunked ? std::max(small, packing * stored) : stored;
    if (bytes > room)
        refuse(ErrorKind::malformed, path,
               fmt::format(
                   "says that it has {} entries, {:.0f} bytes, but {:.0f} are stored: torn or never written",
                   entries, bytes, stored));
    if (chunked && !unpacked_.contains(path)) {
        check_chunks(set, place_, path);
        unpacked_.insert(path);
    }
}

hsize_t Hdf5File::file_bytes(const std::string& path) const {
    hsize_t bytes = 0;
    check(H5Fget_filesize(handle_, &bytes), path, "described");
    return bytes;
}

std::vector<Index> Hdf5File::shape(const std::string& path) const {
    const Hdf5Handle set = data_set(path);
    const Hdf5Handle space(check(H5Dget_space(set), path, "described"), H5Sclose);
    const hid_t rank = check(H5Sget_simple_extent_ndims(space), path, "described");
    std::vector<hsize_t> dimensions(static_cast<std::size_t>(rank));
    if (rank > 0) check(H5Sget_simple_extent_dims(space, dimensions.data(), nullptr), path, "described");
    return {dimensions.begin(), dimensions.end()};
}

std::vector<Index> Hdf5File::shape(const std::string& path, Index dimensions) const {
    std::vector<Index> found = shape(path);
    if (std::ssize(found) != dimensions)
        refuse(ErrorKind::contradiction, path,
               fmt::format("has {} dimensions, {} {} needed", found.size(), dimensions,
                           dimensions == 1 ? "is" : "are"));
    return found;
}

Index Hdf5File::length(const std::string& path, Index least) const {
    const Index entries = shape(path, 1).front();
    if (entries < least)
        refuse(ErrorKind::too_few, path,
               fmt::format("has {} entries, at least {} are needed", entries, least));
    return entries;
}

bool Hdf5File::is_integer(const std::string& path) const {
    const Hdf5Handle set = data_set(path);
    const Hdf5Handle type(check(H5Dget_type(set), path, "described"), H5Tclose);
    return class_of(type) == H5T_INTEGER;
}

double Hdf5File::resolution(const std::string& path) const {
    const Hdf5Handle set = data_set(path);
    const Hdf5Handle type(check(H5Dget_type(set), path, "described"), H5Tclose);
    if (class_of(type) != H5T_FLOAT) return 0;
    const std::size_t size = H5Tget_size(type);
    return size == 2 ? 0x1p-10 : size == 4 ? 0x1p-23 : 0x1p-52;
}

bool Hdf5File::has_fletcher32(const std::string& path) const {
    const Hdf5Handle set = data_set(path);
    const Hdf5Handle creation(check(H5Dget_create_plist(set), path, "described"), H5Pclose);
    const hid_t filters = check(H5Pget_nfilters(creation), path, "described");
    for (unsigned i = 0; i < static_cast<unsigned>(filters); ++i) {
        unsigned flags = 0, config = 0;
        std::size_t values = 0;
        if (H5Pget_filter2(creation, i, &flags, &values, nullptr, 0, nullptr, &config) ==
            H5Z_FILTER_FLETCHER32)
            return true;
    }
    return false;
}

Content Hdf5File::content(const std::string& path) const {
    const Hdf5Handle set = data_set(path);
    const Hdf5Handle type(check(H5Dget_type(set), path, "described"), H5Tclose);
    const H5T_class_t found = class_of(type);
    if (found == H5T_COMPOUND) return Content::table;
    if (found == H5T_STRING) return Content::texts;
    if (found == H5T_FLOAT || found == H5T_INTEGER) return Content::numbers;
    refuse(ErrorKind::malformed, path, "holds neither numbers nor texts nor a table");
}

Hdf5Handle Hdf5File::create_data_set(const std::string& path, hid_t type, const std::vector<Index>& shape,
                                     hid_t creation, hid_t access) {
    remove(path);
    const Hdf5Handle space = space_of(shape, place_, path);
    const Hdf5Handle links = link_properties(place_, path);
    return {check(H5Dcreate2(handle_, path.c_str(), type, space, links, creation, access), path, "created"),
            H5Dclose};
}

void Hdf5File::write_values(const std::string& path, hid_t type, const void* values, Index size,
                            const std::vector<Index>& shape) {
    Index product = 1;
    for (const Index extent : shape) product *= extent;
    if (product != size)
        refuse(ErrorKind::contradiction, path,
               fmt::format("has room for {} values, {} are given", product, size));
    const Hdf5Handle creation(check(H5Pcreate(H5P_DATASET_CREATE), path, "created"), H5Pclose),
        access(check(H5Pcreate(H5P_DATASET_ACCESS), path, "created"), H5Pclose);
    // HDF5 takes no filter for texts of any length.
    if (size > 0 && H5Tis_variable_str(type) <= 0) {
        // Whole rows: alike pieces of at most 64 MiB, as the last one is filled up.
        std::vector<hsize_t> chunk(shape.begin(), shape.end());
        const auto row_bytes = static_cast<hsize_t>(size / shape.front()) * size_of_type(type, place_, path);
        const hsize_t rows = chunk.front(), most = std::max<hsize_t>(1, (hsize_t{1} << 26) / row_bytes),
                      chunks = (rows + most - 1) / most;
        chunk.front() = (rows + chunks - 1) / chunks;
        check(H5Pset_chunk(creation, static_cast<int>(chunk.size()), chunk.data()), path, "created");
        check(H5Pset_fletcher32(creation), path, "created");
        // Nothing is kept until the set is closed: H5Dwrite itself says what cannot be written.
        check(H5Pset_chunk_cache(access, 0, 0, 0), path, "created");
    }
    const Hdf5Handle set = create_data_set(path, type, shape, creation, access);
    check(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), path, "written");
}

void Hdf5File::write(const std::string& path, const std::vector<double>& values, std::vector<Index> shape) {
    if (shape.empty()) shape = {std::ssize(values)};
    write_values(path, H5T_NATIVE_DOUBLE, values.data(), std::ssize(values), shape);
}

void Hdf5File::write(const std::string& path, const std::vector<std::int32_t>& values) {
    write_values(path, H5T_NATIVE_INT32, values.data(), std::ssize(values), {std::ssize(values)});
}

void Hdf5File::write(const std::string& path, const std::vector<Index>& values, std::vector<Index> shape) {
    if (shape.empty()) shape = {std::ssize(values)};
    write_values(path, H5T_NATIVE_INT64, values.data(), std::ssize(values), shape);
}

void Hdf5File::write(const std::string& path, const std::vector<std::string>& values) {
    std::vector<const char*> words;
    for (const std::string& value : values) words.push_back(value.c_str());
    write_values(path, text_type(place_, path), words.data(), std::ssize(words), {std::ssize(words)});
}

void Hdf5File::write_table(const std::string& path, const std::vector<TableColumn>& columns) {
    const auto size_of = [](const TableColumn& column) {
        return std::max({column.numbers.size(), column.integers.size(), column.texts.size()});
    };
    if (columns.empty()) refuse(ErrorKind::degenerate, path, "has no columns");
    const std::size_t rows = size_of(columns.front());
    for (const TableColumn& column : columns)
        if (size_of(column) != rows)
            refuse(ErrorKind::contradiction, path,
                   fmt::format("column {} has {} values, column {} has {}", column.name, size_of(column),
                               columns.front().name, rows));
    const Hdf5Handle text = text_type(place_, path);
    const auto type_of = [&](const TableColumn& column) -> hid_t {
        if (!column.texts.empty() || (column.empty_of_texts && rows == 0)) return text;
        return column.integers.empty() ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT64;
    };
    // Every member has 8 bytes.
    const Hdf5Handle type(check(H5Tcreate(H5T_COMPOUND, 8 * columns.size()), path, "described"), H5Tclose);
    for (std::size_t c = 0; c < columns.size(); ++c)
        check(H5Tinsert(type, columns[c].name.c_str(), 8 * c, type_of(columns[c])), path, "described");
    std::vector<std::byte> packed(8 * columns.size() * rows);
    for (std::size_t c = 0; c < columns.size(); ++c)
        for (std::size_t r = 0; r < rows; ++r) {
            std::byte* const to = packed.data() + 8 * (r * columns.size() + c);
            const TableColumn& column = columns[c];
            const char* const words = column.texts.empty() ? nullptr : column.texts[r].c_str();
            if (words != nullptr)
                std::memcpy(to, &words, 8);
            else if (!column.integers.empty())
                std::memcpy(to, &column.integers[r], 8);
            else
                std::memcpy(to, &column.numbers[r], 8);
        }
    write_values(path, type, packed.data(), static_cast<Index>(rows), {static_cast<Index>(rows)});
}

void Hdf5File::create_matrix(const std::string& path, Index rows, Index columns) {
    const Hdf5Handle creation(check(H5Pcreate(H5P_DATASET_CREATE), path, "created"), H5Pclose);
    // Fill values would write a large matrix twice.
    check(H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER), path, "created");
    check(H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY), path, "created");
    const Hdf5Handle set = create_data_set(path, H5T_NATIVE_DOUBLE, {rows, columns}, creation, H5P_DEFAULT);
    set_attribute(path, checksum_name, Index{0});  // here, as no space is claimed later
    if (rows == 0 || columns == 0) return;
    const haddr_t first = H5Dget_offset(set);
    if (first == HADDR_UNDEF) refuse(ErrorKind::library, path, "got no place in the file");
    unwritten_.push_back({static_cast<Index>(first), 8 * rows * columns});
}

Index Hdf5File::matrix_begin(const std::string& path, Index rows, Index columns) const {
    const std::vector<Index> found = shape(path);
    if (found != std::vector<Index>{rows, columns})
        refuse(ErrorKind::contradiction, path,
               fmt::format("has not the shape {} x {} of the matrix", rows, columns));
    const Hdf5Handle set = data_set(path);
    const Hdf5Handle type(check(H5Dget_type(set), path, "described"), H5Tclose);
    const haddr_t first = H5Dget_offset(set);
    if (check(H5Tequal(type, H5T_NATIVE_DOUBLE), path, "described") == 0 ||
        (first == HADDR_UNDEF && rows * columns > 0))
        refuse(ErrorKind::unsupported, path,
               "is not one that entries can be written into: not double precision, or in chunks");
    return static_cast<Index>(first);
}

void Hdf5File::set_checksum(const std::string& path, Index sum) {
    const Hdf5Handle set = data_set(path);
    if (check(H5Aexists(set, checksum_name), path, "described") == 0) return;
    const Hdf5Handle attribute(check(H5Aopen(set, checksum_name, H5P_DEFAULT), path, "opened"), H5Aclose);
    check(H5Awrite(attribute, H5T_NATIVE_INT64, &sum), path, "written");
}

void Hdf5File::read_rows(const std::string& path, Index first, const BlockCyclic& rows, int process,
                         double* to) const {
    const Index columns = shape(path, 2)[1], local = rows.local_size(process);
    if (local == 0 || columns == 0) return;
    const Hdf5Handle set = data_set(path);
    const Hdf5Handle type(check(H5Dget_type(set), path, "described"), H5Tclose);
    if (H5Tget_class(type) != H5T_FLOAT && H5Tget_class(type) != H5T_INTEGER)
        refuse(ErrorKind::malformed, path, "does not hold numbers");
    const Hdf5Handle space(check(H5Dget_space(set), path, "described"), H5Sclose);
    check(H5Sselect_none(space), path, "selected");
    const auto add = [&](Index from, Index blocks, Index block) {
        if (blocks == 0 || block == 0) return;
        const auto size = [](Index value) { return static_cast<hsize_t>(value); };
        const hsize_t start[] = {size(first + rows.to_global(from, process)), 0},
                      stride[] = {size(rows.block * rows.processes), size(columns)},
                      count[] = {size(blocks), 1}, extent[] = {size(block), size(columns)};
        check(H5Sselect_hyperslab(space, H5S_SELECT_OR, start, stride, count, extent), path, "selected");
    };
    const Index rest = local % rows.block;
    add(0, local / rows.block, rows.block);
    add(local - rest, 1, rest);
    const auto entries = static_cast<hsize_t>(local * columns);
    const Hdf5Handle memory(check(H5Screate_simple(1, &entries, nullptr), path, "selected"), H5Sclose);
    check(H5Dread(set, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, to), path, "read");
}

Hdf5Handle Hdf5File::object(const std::string& path, bool create) const {
    if (create && !exists(path))
        return {
            check(H5Gcreate2(handle_, path.c_str(), link_properties(place_, path), H5P_DEFAULT, H5P_DEFAULT),
                  path, "created"),
            H5Gclose};
    if (!exists(path)) refuse(ErrorKind::missing, path, "is missing");
    return {check(H5Oopen(handle_, path.c_str(), within_the_file()), path, "opened"), H5Oclose};
}

void Hdf5File::write_attribute(const std::string& path, const std::string& name, hid_t type, Index count,
                               bool scalar, const void* values) {
    const Hdf5Handle owner = object(path, true);
    const std::string full = path + "@" + name;
    if (check(H5Aexists(owner, name.c_str()), full, "looked up") > 0)
        check(H5Adelete(owner, name.c_str()), full, "replaced");
    const Hdf5Handle space = scalar ? Hdf5Handle(check(H5Screate(H5S_SCALAR), full, "described"), H5Sclose)
                                    : space_of({count}, place_, full);
    const Hdf5Handle attribute(
        check(H5Acreate2(owner, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), full, "created"),
        H5Aclose);
    if (count > 0) check(H5Awrite(attribute, type, values), full, "written");
}

void Hdf5File::set_attribute(const std::string& path, const std::string& name, double value) {
    write_attribute(path, name, H5T_NATIVE_DOUBLE, 1, true, &value);
}
void Hdf5File::set_attribute(const std::string& path, const std::string& name, Index value) {
    write_attribute(path, name, H5T_NATIVE_INT64, 1, true, &value);
}
void Hdf5File::set_attribute(const std::string& path, const std::string& name, const std::string& value) {
    const char* const text = value.c_str();
    write_attribute(path, name, text_type(place_, path), 1, true, &text);
}
void Hdf5File::set_attribute(const std::string& path, const std::string& name,
                             const std::vector<double>& values) {
    write_attribute(path, name, H5T_NATIVE_DOUBLE, std::ssize(values), false, values.data());
}
void Hdf5File::set_attribute(const std::string& path, const std::string& name,
                             const std::vector<Index>& values) {
    write_attribute(path, name, H5T_NATIVE_INT64, std::ssize(values), false, values.data());
}
void Hdf5File::set_attribute(const std::string& path, const std::string& name,
                             const std::vector<std::string>& values) {
    std::vector<const char*> words;
    for (const std::string& value : values) words.push_back(value.c_str());
    write_attribute(path, name, text_type(place_, path), std::ssize(values), false, words.data());
}

void Hdf5File::name_axes(const std::string& path, const std::vector<std::string>& names) {
    const Hdf5Handle set = data_set(path);
    for (std::size_t axis = 0; axis < names.size(); ++axis)
        check(H5DSset_label(set, static_cast<unsigned>(axis), names[axis].c_str()), path, "labelled");
}

void Hdf5File::attach_scale(const std::string& path, std::size_t axis, const std::string& scale_path) {
    const Hdf5Handle set = data_set(path), scale = data_set(scale_path);
    const std::string name = scale_path.substr(scale_path.rfind('/') + 1);
    if (H5DSis_scale(scale) <= 0) check(H5DSset_scale(scale, name.c_str()), scale_path, "labelled");
    check(H5DSattach_scale(set, scale, static_cast<unsigned>(axis)), path, "labelled");
}

void Hdf5File::detach_scales(const std::string& path) {
    const Hdf5Handle set = data_set(path);
    for (const char* const name : scale_attributes)
        if (has_attribute(path, name)) check(H5Adelete(set, name), path, "labelled");
}

template <class T>
std::vector<T> Hdf5File::read_values(const std::string& path, hid_t type, Index size) const {
    const Hdf5Handle set = data_set(path, Sources::of_this_file);
    const Hdf5Handle stored(check(H5Dget_type(set), path, "described"), H5Tclose);
    const H5T_class_t found = class_of(stored);
    if (found != H5T_FLOAT && found != H5T_INTEGER)
        refuse(ErrorKind::malformed, path, "does not hold numbers");
    if (found == H5T_FLOAT && H5Tget_class(type) == H5T_INTEGER)
        refuse(ErrorKind::malformed, path, "holds floating-point numbers, integers are needed");
    const Hdf5Handle space(check(H5Dget_space(set), path, "described"), H5Sclose);
    const Index entries = check(H5Sget_simple_extent_npoints(space), path, "described");
    if (size != any_size && entries != size)
        refuse(ErrorKind::contradiction, path, fmt::format("has {} entries, {} are needed", entries, size));
    std::vector<T> values(static_cast<std::size_t>(entries));
    if (entries > 0) check(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), path, "read");
    return values;
}

std::vector<double> Hdf5File::read_doubles(const std::string& path, Index size) const {
    return read_values<double>(path, H5T_NATIVE_DOUBLE, size);
}
std::vector<std::int32_t> Hdf5File::read_int32(const std::string& path, Index size) const {
    // Ids that do not fit must not be clipped in silence: read wide, then narrowed.
    const std::vector<Index> wide = read_int64(path, size);
    for (const Index value : wide)
        if (value < std::numeric_limits<std::int32_t>::min() ||
            value > std::numeric_limits<std::int32_t>::max())
            refuse(ErrorKind::out_of_range, path, fmt::format("holds {}, which is no 32-bit integer", value));
    std::vector<std::int32_t> values(wide.size());
    std::transform(wide.begin(), wide.end(), values.begin(),
                   [](Index v) { return static_cast<std::int32_t>(v); });
    return values;
}
std::vector<Index> Hdf5File::read_int64(const std::string& path, Index size) const {
    return read_values<Index>(path, H5T_NATIVE_INT64, size);
}

std::vector<std::string> Hdf5File::read_texts(const std::string& path, Index size) const {
    const Hdf5Handle set = data_set(path);
    const Hdf5Handle stored(check(H5Dget_type(set), path, "described"), H5Tclose);
    if (H5Tget_class(stored) != H5T_STRING) refuse(ErrorKind::malformed, path, "does not hold texts");
    const Hdf5Handle space(check(H5Dget_space(set), path, "described"), H5Sclose);
    const Index entries = check(H5Sget_simple_extent_npoints(space), path, "described");
    if (size != any_size && entries != size)
        refuse(ErrorKind::contradiction, path, fmt::format("has {} entries, {} are needed", entries, size));
    return texts(stored, space, static_cast<std::size_t>(entries), place_, path, [&](hid_t type, void* to) {
        check(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, to), path, "read");
    });
}

std::vector<TableColumn> Hdf5File::read_table(const std::string& path) const {
    const Hdf5Handle set = data_set(path);
    const Hdf5Handle stored(check(H5Dget_type(set), path, "described"), H5Tclose);
    if (H5Tget_class(stored) != H5T_COMPOUND) refuse(ErrorKind::malformed, path, "is not a table");
    const Hdf5Handle space(check(H5Dget_space(set), path, "described"), H5Sclose);
    const auto rows = static_cast<std::size_t>(check(H5Sget_simple_extent_npoints(space), path, "described"));
    std::vector<TableColumn> columns(
        static_cast<std::size_t>(check(H5Tget_nmembers(stored), path, "described")));
    for (std::size_t c = 0; c < columns.size(); ++c) {
        TableColumn& column = columns[c];
        const auto member = static_cast<unsigned>(c);
        char* const name = H5Tget_member_name(stored, member);
        column.name = name == nullptr ? "" : name;
        check(H5free_memory(name), path, "described");
        const Hdf5Handle type(check(H5Tget_member_type(stored, member), path, "described"), H5Tclose);
        const auto read = [&](hid_t as, void* to) {
            const Hdf5Handle one(
                check(H5Tcreate(H5T_COMPOUND, size_of_type(as, place_, path)), path, "described"), H5Tclose);
            check(H5Tinsert(one, column.name.c_str(), 0, as), path, "described");
            if (rows > 0) check(H5Dread(set, one, H5S_ALL, H5S_ALL, H5P_DEFAULT, to), path, "read");
        };
        check_number(type, path);
        const H5T_class_t found = H5Tget_class(type);
        if (found == H5T_STRING) {
            column.texts = texts(type, space, rows, place_, path, read);
        } else if (found == H5T_INTEGER) {
            column.integers.resize(rows);
            read(H5T_NATIVE_INT64, column.integers.data());
        } else if (found == H5T_FLOAT) {
            column.numbers.resize(rows);
            read(H5T_NATIVE_DOUBLE, column.numbers.data());
        } else {
            refuse(ErrorKind::malformed, path,
                   fmt::format("column {} holds neither numbers nor texts", column.name));
        }
    }
    return columns;
}

bool Hdf5File::has_attribute(const std::string& path, const std::string& name) const {
    return exists(path) && H5Aexists_by_name(handle_, path.c_str(), name.c_str(), H5P_DEFAULT) > 0;
}

std::vector<std::string> Hdf5File::attributes(const std::string& path) const {
    const Hdf5Handle owner = object(path, false);
    std::vector<std::string> names;
    const auto take = [](hid_t, const char* name, const H5A_info_t*, void* data) -> herr_t {
        static_cast<std::vector<std::string>*>(data)->emplace_back(name);
        return 0;
    };
    check(H5Aiterate2(owner, H5_INDEX_NAME, H5_ITER_INC, nullptr, take, &names), path, "listed");
    std::erase_if(names, [](const std::string& name) {
        return name == DIMENSION_LABELS ||
               std::ranges::find(scale_attributes, name) != std::end(scale_attributes);
    });
    return names;
}

std::pair<Hdf5File::AttributeContent, bool> Hdf5File::attribute_content(const std::string& path,
                                                                        const std::string& name) const {
    const std::string full = path + "@" + name;
    const Hdf5Handle owner = object(path, false);
    const Hdf5Handle attribute(check(H5Aopen(owner, name.c_str(), H5P_DEFAULT), full, "opened"), H5Aclose);
    const Hdf5Handle stored(check(H5Aget_type(attribute), full, "described"), H5Tclose);
    const Hdf5Handle space(check(H5Aget_space(attribute), full, "described"), H5Sclose);
    const bool single = H5Sget_simple_extent_type(space) == H5S_SCALAR;
    switch (H5Tget_class(stored)) {
        case H5T_STRING:
            return {AttributeContent::texts, single};
        case H5T_INTEGER:
            return {AttributeContent::integers, single};
        default:
            return {AttributeContent::numbers, single};
    }
}

std::string Hdf5File::attribute_as_text(const std::string& path, const std::string& name) const {
    return visit_attribute(path, name, [](const auto& values, bool) {
        return values.size() == 1 ? fmt::format("{}", values.front())
                                  : fmt::format("[{}]", fmt::join(values, ", "));
    });
}

template <class T>
std::vector<T> Hdf5File::read_attribute(const std::string& path, const std::string& name, hid_t type,
                                        bool scalar) const {
    const std::string full = path + "@" + name;
    if (!has_attribute(path, name)) refuse(ErrorKind::missing, full, "is missing");
    const Hdf5Handle owner = object(path, false);
    const Hdf5Handle attribute(check(H5Aopen(owner, name.c_str(), H5P_DEFAULT), full, "opened"), H5Aclose);
    const Hdf5Handle stored(check(H5Aget_type(attribute), full, "described"), H5Tclose);
    const Hdf5Handle space(check(H5Aget_space(attribute), full, "described"), H5Sclose);
    const Index entries = check(H5Sget_simple_extent_npoints(space), full, "described");
    if (static_cast<hsize_t>(entries) > file_bytes(full))
        refuse(ErrorKind::malformed, full, fmt::format("says that it has {} values: torn", entries));
    if (scalar && entries != 1)
        refuse(ErrorKind::contradiction, full, fmt::format("has {} values, one is needed", entries));
    const H5T_class_t found = H5Tget_class(stored);
    const auto size = static_cast<std::size_t>(entries);
    if constexpr (std::is_same_v<T, std::string>) {
        if (found != H5T_STRING) refuse(ErrorKind::malformed, full, "is not a text");
        return texts(stored, space, size, place_, full,
                     [&](hid_t as, void* to) { check(H5Aread(attribute, as, to), full, "read"); });
    } else {
        if (found != H5T_INTEGER && (found != H5T_FLOAT || H5Tget_class(type) == H5T_INTEGER))
            refuse(ErrorKind::malformed, full,
                   H5Tget_class(type) == H5T_INTEGER ? "is not an integer" : "is not a number");
        check_number(stored, full);
        std::vector<T> values(size);
        if (size > 0) check(H5Aread(attribute, type, values.data()), full, "read");
        return values;
    }
}

double Hdf5File::number_attribute(const std::string& path, const std::string& name) const {
    return read_attribute<double>(path, name, H5T_NATIVE_DOUBLE, true).front();
}
Index Hdf5File::integer_attribute(const std::string& path, const std::string& name) const {
    return read_attribute<Index>(path, name, H5T_NATIVE_INT64, true).front();
}
std::string Hdf5File::text_attribute(const std::string& path, const std::string& name) const {
    return read_attribute<std::string>(path, name, H5T_C_S1, true).front();
}
std::vector<double> Hdf5File::numbers_attribute(const std::string& path, const std::string& name) const {
    return read_attribute<double>(path, name, H5T_NATIVE_DOUBLE, false);
}
std::vector<Index> Hdf5File::integers_attribute(const std::string& path, const std::string& name) const {
    return read_attribute<Index>(path, name, H5T_NATIVE_INT64, false);
}
std::vector<std::string> Hdf5File::texts_attribute(const std::string& path, const std::string& name) const {
    return read_attribute<std::string>(path, name, H5T_C_S1, false);
}

std::pair<std::filesystem::path, std::string> file_and_path(const std::string& argument) {
    const auto colon = argument.rfind(":/");
    if (colon == std::string::npos || colon == 0 || colon + 2 >= argument.size())
        throw Error(
            ExitStatus::study, ErrorKind::malformed,
            fmt::format("\"{}\" is not FILE.h5:/path; write for example kernel.h5:/kernel/gram", argument));
    return {argument.substr(0, colon), argument.substr(colon + 1)};
}

}  // namespace tangram
