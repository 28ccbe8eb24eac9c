#include "tangram/io/input_file.hpp"

namespace tangram {

InputFile::InputFile(MPI_Comm comm, std::filesystem::path file, ExitStatus status)
    : comm_(comm), name_(std::move(file)), status_(status) {
    collectively(comm_, [&] {
        int rank = 0;
        TANGRAM_MPI(MPI_Comm_rank(comm_, &rank));
        if (rank == 0) file_.emplace(Hdf5File::open(name_, false, status_));
    });
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
