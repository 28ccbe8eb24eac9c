#include "transfers.hpp"

#include <algorithm>

namespace tangram {

Transfers::~Transfers() {
    // Of a destructor there is nothing to say to a caller; MPI's own failure would be the next call's too.
    if (!requests_.empty())
        MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE);
}

void Transfers::send(std::span<const std::byte> bytes, int to, int tag) {
    for (Index first = 0; first < std::ssize(bytes); first += piece_) {
        requests_.push_back(MPI_REQUEST_NULL);
        TANGRAM_MPI(MPI_Isend(bytes.data() + first,
                              narrow(std::min(piece_, std::ssize(bytes) - first), "piece of a transfer"),
                              MPI_BYTE, to, tag, comm_, &requests_.back()));
    }
}

void Transfers::receive(std::span<std::byte> bytes, int from, int tag) {
    for (Index first = 0; first < std::ssize(bytes); first += piece_) {
        requests_.push_back(MPI_REQUEST_NULL);
        TANGRAM_MPI(MPI_Irecv(bytes.data() + first,
                              narrow(std::min(piece_, std::ssize(bytes) - first), "piece of a transfer"),
                              MPI_BYTE, from, tag, comm_, &requests_.back()));
    }
}

void Transfers::wait() {
    TANGRAM_MPI(MPI_Waitall(narrow(std::ssize(requests_), "number of messages of a slice"), requests_.data(),
                            MPI_STATUSES_IGNORE));
    requests_.clear();
    reserved_ = 0;
}

void Transfers::advance() {
    int done = 0;
    if (!requests_.empty())
        TANGRAM_MPI(MPI_Testall(narrow(std::ssize(requests_), "number of messages of a slice"),
                                requests_.data(), &done, MPI_STATUSES_IGNORE));
}

}  // namespace tangram
