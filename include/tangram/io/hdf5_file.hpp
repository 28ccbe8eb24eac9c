#pragma once
#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tangram/error.hpp"
#include "tangram/index.hpp"
#include "tangram/io/hdf5_handle.hpp"
#include "tangram/parallel/block_cyclic.hpp"

namespace tangram {

/// One column of a table: a name and as many values as the other columns, in one of the three vectors.
struct TableColumn {
    std::string name;
    std::vector<double> numbers{};
    std::vector<Index> integers{};
    std::vector<std::string> texts{};
    bool empty_of_texts = false;  ///< what a column without values holds: texts, or numbers
};

/// Bytes [first, first + size) of a file.
struct FileRange {
    Index first = 0, size = 0;
};

/// The attribute of a matrix that holds its checksum (matrix_io.hpp).
inline constexpr const char* checksum_name = "checksum";

enum class Content { numbers, texts, table };

/// An HDF5 file opened by one process, for everything that is small. Paths are absolute ("/kernel/gram");
/// groups on the way are created. Every function throws Error with the status given to open() or create(),
/// naming file and path. Local: under MPI one rank uses it, inside collectively().
class Hdf5File {
  public:
    /// A new file in place of what is there; failures are Error(output). Readable by HDF5 1.10 and h5py 3.7.
    static Hdf5File create(const std::filesystem::path& file);
    /// @param status  of failures: output for files that tangram wrote, input for somebody else's
    static Hdf5File open(const std::filesystem::path& file, bool writable, ExitStatus status);
    /// Closes; what HDF5 cannot write then is an Error, and the file on disk is torn.
    void close();

    bool exists(const std::string& path) const;
    bool is_group(const std::string& path) const;  ///< false where there is nothing, too
    /// Names of the groups and data sets in a group, in alphabetical order.
    std::vector<std::string> children(const std::string& path) const;
    /// Paths of all groups and data sets but the root, what a group holds behind it, in alphabetical order.
    /// No group is entered twice, no link to elsewhere followed.
    std::vector<std::string> paths() const;
    /// Removes a group with all it holds, or a data set; nothing where there is none. The space is used again
    /// by what is written before close(), never later: remove and write in one go.
    void remove(const std::string& path);
    /// Counts the chunks of a data set as looked at, which each data set's are once for a handle: another
    /// handle has done it.
    void trust_chunks(const std::string& path) { unpacked_.insert(path); }
    std::vector<Index> shape(const std::string& path) const;
    /// The shape of a data set that must have so many dimensions.
    std::vector<Index> shape(const std::string& path, Index dimensions) const;
    /// Entries of a data set that must have one dimension and at least `least` of them.
    Index length(const std::string& path, Index least = 0) const;
    /// Whether a data set holds integers.
    bool is_integer(const std::string& path) const;
    /// Relative distance of neighbouring numbers of a data set's type: 2^-52, 2^-23 or 2^-10; 0 for integers.
    double resolution(const std::string& path) const;
    /// Whether the entries of a data set carry HDF5's checksum, which a reading looks at.
    bool has_fletcher32(const std::string& path) const;
    /// What a data set holds.
    Content content(const std::string& path) const;

    /// Data sets in place of what is there. Numbers and tables stand in chunks that carry HDF5's checksum
    /// (Fletcher's), which every reader looks at; it does not cover texts. An empty shape means one
    /// dimension; else its product must be the number of values, row-major.
    void write(const std::string& path, const std::vector<double>& values, std::vector<Index> shape = {});
    void write(const std::string& path, const std::vector<std::int32_t>& values);
    void write(const std::string& path, const std::vector<Index>& values, std::vector<Index> shape = {});
    void write(const std::string& path, const std::vector<std::string>& values);  ///< variable-length UTF-8
    /// A compound data set; texts are variable-length UTF-8.
    void write_table(const std::string& path, const std::vector<TableColumn>& columns);
    /// A float64 data set whose entries and checksum write_matrix fills in later; its space is allocated now,
    /// no fill value is written.
    void create_matrix(const std::string& path, Index rows, Index columns);
    /// Where the matrices stand that create_matrix made since the file was opened: bytes that nothing was
    /// written to yet.
    const std::vector<FileRange>& unwritten() const noexcept { return unwritten_; }
    /// Where in the file the entries of such a matrix begin, row after row as doubles of this machine.
    Index matrix_begin(const std::string& path, Index rows, Index columns) const;
    /// The checksum of such a matrix, in the place that was made for it.
    void set_checksum(const std::string& path, Index sum);
    /// Rows `first` + i of a data set of two dimensions, all i that `rows` gives to `process`, one after the
    /// other.
    void read_rows(const std::string& path, Index first, const BlockCyclic& rows, int process,
                   double* to) const;

    /// Attributes of a group (created where missing) or data set; an old value is replaced.
    void set_attribute(const std::string& path, const std::string& name, double value);
    void set_attribute(const std::string& path, const std::string& name, Index value);
    void set_attribute(const std::string& path, const std::string& name, const std::string& value);
    void set_attribute(const std::string& path, const std::string& name, const std::vector<double>& values);
    void set_attribute(const std::string& path, const std::string& name, const std::vector<Index>& values);
    void set_attribute(const std::string& path, const std::string& name,
                       const std::vector<std::string>& values);

    /// Names the axes of a data set, as HDF5's dimension scales do.
    void name_axes(const std::string& path, const std::vector<std::string>& names);
    /// Makes a data set of one dimension, as long as that axis, hold the coordinates of an axis of another
    /// one, which is no such scale itself.
    void attach_scale(const std::string& path, std::size_t axis, const std::string& scale);
    /// A data set's axes have no scales any more, and it is the scale of none. All that were attached to each
    /// other are detached together: where one is removed, the others still point at it.
    void detach_scales(const std::string& path);

    /// Readers say which data set is missing, holds something else, or has not `size` entries where a size is
    /// given. Integers are read as doubles, never the other way round; any byte order and width; h5py's False
    /// and True are 0 and 1.
    std::vector<double> read_doubles(const std::string& path, Index size = any_size) const;
    std::vector<std::int32_t> read_int32(const std::string& path, Index size = any_size) const;
    std::vector<Index> read_int64(const std::string& path, Index size = any_size) const;
    std::vector<std::string> read_texts(const std::string& path, Index size = any_size) const;
    /// Columns in the file's order, each in the vector of its type.
    std::vector<TableColumn> read_table(const std::string& path) const;

    bool has_attribute(const std::string& path, const std::string& name) const;
    /// Names of the attributes of a group or data set, in alphabetical order, without those in which HDF5
    /// keeps dimension scales.
    std::vector<std::string> attributes(const std::string& path) const;
    /// An attribute of any type as text: numbers with all their digits, several values in brackets.
    std::string attribute_as_text(const std::string& path, const std::string& name) const;
    /// What `work` makes of an attribute of any type: of a vector of texts, of Index or of double, and of
    /// whether it is a single value.
    template <class Work>
    auto visit_attribute(const std::string& path, const std::string& name, Work work) const {
        const auto [content, single] = attribute_content(path, name);
        if (content == AttributeContent::texts) return work(texts_attribute(path, name), single);
        if (content == AttributeContent::integers) return work(integers_attribute(path, name), single);
        return work(numbers_attribute(path, name), single);
    }
    double number_attribute(const std::string& path, const std::string& name) const;
    Index integer_attribute(const std::string& path, const std::string& name) const;
    std::string text_attribute(const std::string& path, const std::string& name) const;
    std::vector<double> numbers_attribute(const std::string& path, const std::string& name) const;
    std::vector<Index> integers_attribute(const std::string& path, const std::string& name) const;
    std::vector<std::string> texts_attribute(const std::string& path, const std::string& name) const;

    static constexpr Index any_size = -1;

  private:
    enum class AttributeContent { numbers, integers, texts };
    /// What an attribute holds, and whether it is a scalar.
    std::pair<AttributeContent, bool> attribute_content(const std::string& path,
                                                        const std::string& name) const;
    Hdf5File(Hdf5Place place, Hdf5Handle handle);
    hid_t check(hid_t returned, const std::string& path, const char* action) const;
    [[noreturn]] void refuse(ErrorKind kind, const std::string& path, const std::string& problem) const;
    /// What a data set may show as its own.
    enum class Sources { none, of_this_file };
    Hdf5Handle data_set(const std::string& path, Sources sources = Sources::none) const;
    /// Refuses a data set whose entries stand in other files, that claims more than the file can hold, or
    /// whose chunks do not unpack to what they should.
    void check_storage(hid_t set, const std::string& path, Sources sources) const;
    /// Refuses a virtual data set that shows another file's, that shows virtual ones, or that has entries
    /// from nowhere.
    void check_sources(hid_t creation, Index entries, const std::string& path) const;
    /// Refuses a type of numbers of another make than processors compute with; other types pass.
    void check_number(hid_t type, const std::string& path) const;
    hsize_t file_bytes(const std::string& path) const;
    Hdf5Handle create_data_set(const std::string& path, hid_t type, const std::vector<Index>& shape,
                               hid_t creation, hid_t access);
    Hdf5Handle object(const std::string& path, bool create) const;
    void write_values(const std::string& path, hid_t type, const void* values, Index size,
                      const std::vector<Index>& shape);
    void write_attribute(const std::string& path, const std::string& name, hid_t type, Index count,
                         bool scalar, const void* values);
    template <class T>
    std::vector<T> read_values(const std::string& path, hid_t type, Index size) const;
    template <class T>
    std::vector<T> read_attribute(const std::string& path, const std::string& name, hid_t type,
                                  bool scalar) const;

    Hdf5Place place_;
    Hdf5Handle handle_;
    std::vector<FileRange> unwritten_;
    mutable std::set<std::string> unpacked_;  ///< chunked data sets that were looked at
};

/// "F.h5:/path" as file and path. @throws Error(study) where the colon or the path's slash is missing
std::pair<std::filesystem::path, std::string> file_and_path(const std::string& argument);

}  // namespace tangram
