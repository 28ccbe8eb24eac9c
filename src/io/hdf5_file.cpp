#include "tangram/io/hdf5_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace tangram {

namespace {

/// HDF5 prints its error stack by itself unless told otherwise, once per process.
void silence() {
    static const bool once = [] {
        H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
        return true;
    }();
    static_cast<void>(once);
}

Hdf5Handle text_type() {
    Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

std::vector<hsize_t> extents(const std::vector<Index>& shape) { return {shape.begin(), shape.end()}; }

Hdf5Handle space_of(const std::vector<Index>& shape) {
    const auto dimensions = extents(shape);
    return {H5Screate_simple(static_cast<int>(dimensions.size()), dimensions.data(), nullptr), H5Sclose};
}

}  // namespace

std::string hdf5_failure() {
    std::string text;
    const auto take = [](unsigned, const H5E_error2_t* error, void* data) -> herr_t {
        auto& to = *static_cast<std::string*>(data);
        if (to.empty() && error->desc != nullptr) to = error->desc;
        return 0;
    };
    // Upward starts at the innermost function, whose words say the cause (errno and all).
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take, &text);
    return text.empty() ? "unknown HDF5 failure" : text;
}

Hdf5File::Hdf5File(std::filesystem::path file, ExitStatus status, Hdf5Handle handle)
    : file_(std::move(file)), status_(status), handle_(std::move(handle)) {}

hid_t Hdf5File::check(hid_t id, const std::string& path, const char* action) const {
    if (id < 0)
        throw Error(status_, fmt::format("{}: {} cannot be {}: {}", file_.string(), path, action, hdf5_failure()));
    return id;
}

Hdf5File Hdf5File::create(const std::filesystem::path& file) {
    silence();
    Hdf5Handle handle(H5Fcreate(file.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
    if (handle < 0)
        throw Error(ExitStatus::output, fmt::format("{}: cannot be created: {}; check the folder, its permissions and "
                                                    "free space",
                                                    file.string(), hdf5_failure()));
    return {file, ExitStatus::output, std::move(handle)};
}

Hdf5File Hdf5File::open(const std::filesystem::path& file, bool writable, ExitStatus status) {
    silence();
    std::error_code code;
    if (!std::filesystem::exists(file, code))
        throw Error(status, fmt::format("{}: no such file; check the path", file.string()));
    Hdf5Handle handle(H5Fopen(file.c_str(), writable ? H5F_ACC_RDWR : H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
    if (handle < 0) {
        const bool hdf5 = H5Fis_hdf5(file.c_str()) > 0;
        throw Error(status, hdf5 ? fmt::format("{}: is torn or locked: {}; restore it from a copy or delete it",
                                               file.string(), hdf5_failure())
                                 : fmt::format("{}: is not an HDF5 file", file.string()));
    }
    return {file, status, std::move(handle)};
}

void Hdf5File::close() { check(handle_.close(), "the file", "written completely"); }

bool Hdf5File::exists(const std::string& path) const {
    // H5Lexists wants every group on the way to exist.
    for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
        if (H5Lexists(handle_, path.substr(0, slash).c_str(), H5P_DEFAULT) <= 0) return false;
    return path == "/" || H5Lexists(handle_, path.c_str(), H5P_DEFAULT) > 0;
}

void Hdf5File::remove(const std::string& path) {
    if (exists(path)) check(H5Ldelete(handle_, path.c_str(), H5P_DEFAULT), path, "removed");
}

Hdf5Handle Hdf5File::data_set(const std::string& path) const {
    if (!exists(path))
        throw Error(status_, fmt::format("{}: {} is missing", file_.string(), path));
    return {check(H5Dopen2(handle_, path.c_str(), H5P_DEFAULT), path, "opened as a data set"), H5Dclose};
}

std::vector<Index> Hdf5File::shape(const std::string& path) const {
    const Hdf5Handle set = data_set(path);
    const Hdf5Handle space(check(H5Dget_space(set), path, "described"), H5Sclose);
    const int rank = H5Sget_simple_extent_ndims(space);
    std::vector<hsize_t> dimensions(static_cast<std::size_t>(std::max(rank, 0)));
    if (rank > 0) H5Sget_simple_extent_dims(space, dimensions.data(), nullptr);
    return {dimensions.begin(), dimensions.end()};
}

Hdf5Handle Hdf5File::create_data_set(const std::string& path, hid_t type, const std::vector<Index>& shape,
                                     bool allocate) {
    remove(path);
    const Hdf5Handle space = space_of(shape);
    const Hdf5Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose), creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_create_intermediate_group(links, 1);
    if (allocate) {
        // Fill values would write a large matrix twice (lesson 14); variable-length texts need them.
        H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
        H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
    }
    return {check(H5Dcreate2(handle_, path.c_str(), type, space, links, creation, H5P_DEFAULT), path, "created"),
            H5Dclose};
}

void Hdf5File::write_values(const std::string& path, hid_t type, const void* values, const std::vector<Index>& shape) {
    const Hdf5Handle set = create_data_set(path, type, shape, false);
    check(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), path, "written");
}

void Hdf5File::write(const std::string& path, const std::vector<double>& values, std::vector<Index> shape) {
    if (shape.empty()) shape = {std::ssize(values)};
    write_values(path, H5T_NATIVE_DOUBLE, values.data(), shape);
}

void Hdf5File::write(const std::string& path, const std::vector<std::int32_t>& values) {
    write_values(path, H5T_NATIVE_INT32, values.data(), {std::ssize(values)});
}

void Hdf5File::write(const std::string& path, const std::vector<Index>& values) {
    write_values(path, H5T_NATIVE_INT64, values.data(), {std::ssize(values)});
}

void Hdf5File::write_table(const std::string& path, const std::vector<TableColumn>& columns) {
    const Hdf5Handle text = text_type();
    std::size_t rows = 0;
    const auto type_of = [&](const TableColumn& column) -> hid_t {
        if (!column.texts.empty()) return text;
        return column.integers.empty() ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT64;
    };
    const Hdf5Handle type(H5Tcreate(H5T_COMPOUND, 8 * columns.size()), H5Tclose);  // every member has 8 bytes
    for (std::size_t c = 0; c < columns.size(); ++c) {
        rows = std::max({rows, columns[c].numbers.size(), columns[c].integers.size(), columns[c].texts.size()});
        check(H5Tinsert(type, columns[c].name.c_str(), 8 * c, type_of(columns[c])), path, "described");
    }
    std::vector<std::byte> packed(8 * columns.size() * rows);
    for (std::size_t c = 0; c < columns.size(); ++c)
        for (std::size_t r = 0; r < rows; ++r) {
            std::byte* const to = packed.data() + 8 * (r * columns.size() + c);
            const TableColumn& column = columns[c];
            const char* const words = column.texts.empty() ? nullptr : column.texts.at(r).c_str();
            if (words != nullptr)
                std::memcpy(to, &words, 8);
            else if (!column.integers.empty())
                std::memcpy(to, &column.integers.at(r), 8);
            else
                std::memcpy(to, &column.numbers.at(r), 8);
        }
    write_values(path, type, packed.data(), {static_cast<Index>(rows)});
}

void Hdf5File::create_matrix(const std::string& path, Index rows, Index columns) {
    create_data_set(path, H5T_NATIVE_DOUBLE, {rows, columns}, true);
}

Hdf5Handle Hdf5File::object(const std::string& path, bool create) const {
    if (create && !exists(path)) {
        const Hdf5Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
        H5Pset_create_intermediate_group(links, 1);
        return {check(H5Gcreate2(handle_, path.c_str(), links, H5P_DEFAULT, H5P_DEFAULT), path, "created"), H5Gclose};
    }
    if (!exists(path)) throw Error(status_, fmt::format("{}: {} is missing", file_.string(), path));
    return {check(H5Oopen(handle_, path.c_str(), H5P_DEFAULT), path, "opened"), H5Oclose};
}

void Hdf5File::write_attribute(const std::string& path, const std::string& name, hid_t type, Index count, bool scalar,
                               const void* values) {
    const Hdf5Handle owner = object(path, true);
    if (H5Aexists(owner, name.c_str()) > 0) check(H5Adelete(owner, name.c_str()), path + "@" + name, "replaced");
    const Hdf5Handle space = scalar ? Hdf5Handle(H5Screate(H5S_SCALAR), H5Sclose) : space_of({count});
    const Hdf5Handle attribute(check(H5Acreate2(owner, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT),
                                     path + "@" + name, "created"),
                               H5Aclose);
    check(H5Awrite(attribute, type, values), path + "@" + name, "written");
}

void Hdf5File::set_attribute(const std::string& path, const std::string& name, double value) {
    write_attribute(path, name, H5T_NATIVE_DOUBLE, 1, true, &value);
}
void Hdf5File::set_attribute(const std::string& path, const std::string& name, Index value) {
    write_attribute(path, name, H5T_NATIVE_INT64, 1, true, &value);
}
void Hdf5File::set_attribute(const std::string& path, const std::string& name, const std::string& value) {
    const char* const text = value.c_str();
    write_attribute(path, name, text_type(), 1, true, &text);
}
void Hdf5File::set_attribute(const std::string& path, const std::string& name, const std::vector<Index>& values) {
    write_attribute(path, name, H5T_NATIVE_INT64, std::ssize(values), false, values.data());
}
void Hdf5File::set_attribute(const std::string& path, const std::string& name, const std::vector<std::string>& values) {
    std::vector<const char*> texts;
    for (const std::string& value : values) texts.push_back(value.c_str());
    write_attribute(path, name, text_type(), std::ssize(values), false, texts.data());
}

template <class T>
std::vector<T> Hdf5File::read_values(const std::string& path, hid_t type) const {
    const Hdf5Handle set = data_set(path);
    const Hdf5Handle stored(check(H5Dget_type(set), path, "described"), H5Tclose);
    const H5T_class_t found = H5Tget_class(stored);
    if (found != H5T_FLOAT && found != H5T_INTEGER)
        throw Error(status_, fmt::format("{}: {} does not hold numbers", file_.string(), path));
    if (found == H5T_FLOAT && H5Tget_class(type) == H5T_INTEGER)
        throw Error(status_, fmt::format("{}: {} holds floating-point numbers, integers are needed", file_.string(), path));
    Index size = 1;
    for (const Index extent : shape(path)) size *= extent;
    std::vector<T> values(static_cast<std::size_t>(size));
    check(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), path, "read");
    return values;
}

std::vector<double> Hdf5File::read_doubles(const std::string& path) const {
    return read_values<double>(path, H5T_NATIVE_DOUBLE);
}
std::vector<std::int32_t> Hdf5File::read_int32(const std::string& path) const {
    // Ids that do not fit must not be clipped in silence: read wide, then narrowed.
    const std::vector<Index> wide = read_int64(path);
    for (const Index value : wide)
        if (value < -2147483648LL || value > 2147483647LL)
            throw Error(status_, fmt::format("{}: {} holds {}, which is no 32-bit integer", file_.string(), path, value));
    std::vector<std::int32_t> values(wide.size());
    std::transform(wide.begin(), wide.end(), values.begin(), [](Index v) { return static_cast<std::int32_t>(v); });
    return values;
}
std::vector<Index> Hdf5File::read_int64(const std::string& path) const {
    return read_values<Index>(path, H5T_NATIVE_INT64);
}

bool Hdf5File::has_attribute(const std::string& path, const std::string& name) const {
    return exists(path) && H5Aexists_by_name(handle_, path.c_str(), name.c_str(), H5P_DEFAULT) > 0;
}

double Hdf5File::number_attribute(const std::string& path, const std::string& name) const {
    const Hdf5Handle owner = object(path, false);
    const Hdf5Handle attribute(check(H5Aopen(owner, name.c_str(), H5P_DEFAULT), path + "@" + name, "opened"), H5Aclose);
    double value = 0;
    check(H5Aread(attribute, H5T_NATIVE_DOUBLE, &value), path + "@" + name, "read as a number");
    return value;
}

std::string Hdf5File::text_attribute(const std::string& path, const std::string& name) const {
    const Hdf5Handle owner = object(path, false);
    const Hdf5Handle attribute(check(H5Aopen(owner, name.c_str(), H5P_DEFAULT), path + "@" + name, "opened"), H5Aclose);
    const Hdf5Handle type = text_type();
    char* text = nullptr;
    check(H5Aread(attribute, type, &text), path + "@" + name, "read as a text");
    const std::string value = text == nullptr ? "" : text;
    H5free_memory(text);
    return value;
}

std::pair<std::filesystem::path, std::string> file_and_path(const std::string& argument) {
    const auto colon = argument.rfind(":/");
    if (colon == std::string::npos || colon == 0 || colon + 2 >= argument.size())
        throw Error(ExitStatus::study,
                    fmt::format("\"{}\" is not FILE.h5:/path; write for example kernel.h5:/kernel/gram", argument));
    return {argument.substr(0, colon), argument.substr(colon + 1)};
}

}  // namespace tangram
