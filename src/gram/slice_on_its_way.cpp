#include "slice_on_its_way.hpp"

namespace tangram {

template <class Real>
template <class Visit>
void SliceOnItsWay<Real>::for_messages(std::span<const KernelRows<Real>> sets, Visit visit) {
    const int me = comm_->rank();
    for (const auto& place : packed_.places()) {
        const RowTiles& tiles = sets[place.set].tiles;
        const std::span<std::byte> bytes = packed_.message(place);
        const int owner = tiles.owner(place.tile);
        if (owner != me) visit(bytes, owner, static_cast<int>(place.set), false);
        for (int rank = 0; owner == me && rank < comm_->size(); ++rank)
            if (rank != me && tiles.needs(rank, place.tile))
                visit(bytes, rank, static_cast<int>(place.set), true);
    }
}

template <class Real>
void SliceOnItsWay<Real>::pack(const Slice& slice, std::span<const KernelRows<Real>> sets,
                               ProductBackEnd* back_end) {
    packed_.pack(slice, sets, comm_->rank(), back_end);
    for_messages(sets,
                 [&](std::span<std::byte> bytes, int, int, bool) { transfers_.reserve(std::ssize(bytes)); });
}

template <class Real>
double SliceOnItsWay<Real>::post(std::span<const KernelRows<Real>> sets) {
    double received = 0;
    // Receives first: what arrives before them would be stored elsewhere and copied.
    for_messages(sets, [&](std::span<std::byte> bytes, int from, int set, bool sent) {
        if (sent) return;
        transfers_.receive(bytes, from, set);
        received += static_cast<double>(bytes.size());
    });
    for_messages(sets, [&](std::span<std::byte> bytes, int to, int set, bool sent) {
        if (sent) transfers_.send(bytes, to, set);
    });
    return received;
}

template class SliceOnItsWay<float>;
template class SliceOnItsWay<double>;

}  // namespace tangram
