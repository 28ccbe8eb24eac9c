#pragma once
#include <cstddef>
#include <memory>

#include "tangram/parallel/mpi.hpp"

namespace tangram {

/// Memory that the ranks of a host share, zero at first: pages of a file without a name, which go with the
/// last rank that maps them. What one rank writes the others see behind the next collective call. Where ranks
/// do not see one another's processes (containers) each has its own.
class SharedMemory {
  public:
    /// Collective over comm. @param bytes  the same on every rank
    /// @throws Error(study, no_memory) on every rank where the system has no room for them
    SharedMemory(MPI_Comm comm, Index bytes);

    std::byte* data() const { return pages_.get(); }
    /// This rank's place among those that share the memory, and their number.
    int rank() const { return rank_; }
    int ranks() const { return ranks_; }

  private:
    struct Unmap {
        Index bytes;
        void operator()(std::byte* pages) const;
    };

    std::unique_ptr<std::byte, Unmap> pages_;
    int rank_ = 0, ranks_ = 1;
};

}  // namespace tangram
