#pragma once
#include "packed_slice.hpp"
#include "transfers.hpp"

namespace tangram {

/// A slice on its way between the ranks of a grid: the packed tiles and the messages that carry them. When it
/// goes, its messages have arrived. First pack() on every rank or on none, then post() on every rank.
template <class Real>
class SliceOnItsWay {
  public:
    explicit SliceOnItsWay(const Communicator& comm) : comm_(&comm), transfers_(comm.get()) {}

    /// Packs this rank's tiles and makes all that post() needs. Local. No message may be on its way.
    /// @param back_end  as PackedSlice::pack has it
    void pack(const Slice& slice, std::span<const KernelRows<Real>> sets, ProductBackEnd* back_end);
    /// Begins the sends of this rank's tiles and the receives of those needed. @return bytes to be received
    double post(std::span<const KernelRows<Real>> sets);
    void wait() { transfers_.wait(); }
    /// Gives MPI the time to move it on; on MPI's own thread.
    void advance() { transfers_.advance(); }
    /// The tiles; others' after wait(). Those that messages find on a back end stand there, not here.
    const PackedSlice<Real>& packed() const { return packed_; }

  private:
    /// visit(bytes of a tile, rank, data set, whether it is sent) for every message, in the order of tiles.
    template <class Visit>
    void for_messages(std::span<const KernelRows<Real>> sets, Visit visit);

    const Communicator* comm_;
    PackedSlice<Real> packed_;
    Transfers transfers_;  // goes first: its messages end in the tiles
};

extern template class SliceOnItsWay<float>;
extern template class SliceOnItsWay<double>;

}  // namespace tangram
