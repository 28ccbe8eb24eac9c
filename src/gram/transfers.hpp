#pragma once
#include <span>
#include <vector>

#include "tangram/parallel/communicator.hpp"

namespace tangram {

/// Messages on their way between ranks, of any length: cut into pieces that MPI's int counts can hold. What
/// is sent and received has to stay where it is until they have arrived; the destructor waits for them, also
/// while an exception unwinds. Messages between two ranks of the same tag match in order.
class Transfers {
  public:
    /// @param comm   outlives the object
    /// @param piece  bytes of one transfer, 1 to 2^31 - 1, equal on every rank; tests cut finely
    explicit Transfers(MPI_Comm comm, Index piece = largest_piece) : comm_(comm), piece_(piece) {}
    Transfers(const Transfers&) = delete;
    Transfers& operator=(const Transfers&) = delete;
    ~Transfers();

    /// Memory for a message of so many bytes beside those before it, so that posting it allocates nothing.
    void reserve(Index bytes) { reserved_ += (bytes + piece_ - 1) / piece_, requests_.reserve(reserved()); }
    void send(std::span<const std::byte> bytes, int to, int tag);
    void receive(std::span<std::byte> bytes, int from, int tag);

    bool empty() const { return requests_.empty(); }
    /// Until all have arrived; none is left.
    void wait();
    /// Gives MPI the time to move them on.
    void advance();

  private:
    std::size_t reserved() const { return static_cast<std::size_t>(reserved_); }

    MPI_Comm comm_;
    Index piece_;
    Index reserved_ = 0;
    std::vector<MPI_Request> requests_;
};

}  // namespace tangram
