#include "tangram/io/input_file.hpp"

#include <fmt/core.h>

namespace tangram {

InputFile::InputFile(MPI_Comm comm, std::filesystem::path file, ExitStatus status)
    : comm_(comm), name_(std::move(file)), status_(status) {
    collectively(comm_, [&] {
        int rank = 0;
        TANGRAM_MPI(MPI_Comm_rank(comm_, &rank));
        if (rank == 0) file_.emplace(Hdf5File::open(name_, false, status_));
    });
}

DistributedMatrix InputFile::read_matrix(const std::string& path, const ProcessGrid& grid, Index block,
                                         Orientation orientation) const {
    DistributedMatrix matrix = tangram::read_matrix({name_, status_}, path, grid, block, orientation);
    check(path, matrix, matrix.rows(), matrix.columns());
    return matrix;
}

void InputFile::read_into(const std::string& path, DistributedMatrix& matrix, Orientation orientation) const {
    const auto [rows, columns] = tangram::read_into({name_, status_}, path, matrix, orientation);
    check(path, matrix, rows, columns);
}

void InputFile::check(const std::string& path, const DistributedMatrix& matrix, Index rows,
                      Index columns) const {
    if (!read([&](const Hdf5File& h5) { return h5.has_attribute(path, checksum_name) ? 1 : 0; })) return;
    const Index stored = read([&](const Hdf5File& h5) { return h5.integer_attribute(path, checksum_name); });
    if (stored != checksum(matrix, rows, columns))
        throw Error(
            status_, ErrorKind::malformed,
            fmt::format("{}: is torn: {} has another checksum than when it was written; delete the file "
                        "to compute it again",
                        name_.string(), path));
}

void InputFile::share(std::vector<std::string>& texts) const {
    std::vector<Index> lengths;
    std::string joined;
    for (const std::string& text : texts) {
        lengths.push_back(std::ssize(text));
        joined += text;
    }
    broadcast(comm_, lengths, 0);
    broadcast(comm_, joined, 0);
    texts.clear();
    std::size_t from = 0;
    for (const Index length : lengths) {
        texts.push_back(joined.substr(from, static_cast<std::size_t>(length)));
        from += static_cast<std::size_t>(length);
    }
}

}  // namespace tangram
