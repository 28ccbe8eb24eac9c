#include "tangram/parallel/rank_groups.hpp"

#include <fmt/core.h>

namespace tangram {

RankGroups::RankGroups(MPI_Comm comm, int size) : size_(size) {
    int ranks = 0, rank = 0;
    TANGRAM_MPI(MPI_Comm_size(comm, &ranks));
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    if (size < 1 || size > ranks)
        throw Error(ExitStatus::study, ErrorKind::out_of_range,
                    fmt::format("groups of {} ranks cannot be made of {}", size, ranks));
    count_ = ranks / size;
    mine_ = rank / size < count_ ? rank / size : -1;
    const Communicator part(comm, mine_, rank);
    if (mine_ >= 0) grid_.emplace(ProcessGrid::most_square(part.get()));
    grid_rows_ = ProcessGrid::rows_of_most_square(size);
}

}  // namespace tangram
