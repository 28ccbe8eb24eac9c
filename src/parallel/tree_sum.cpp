#include "tangram/parallel/tree_sum.hpp"

#include <algorithm>

#include "tangram/parallel/communicator.hpp"

namespace tangram {

namespace {

constexpr int tag = 71;

/// Calls transfer(first, count) for pieces that MPI's int counts can hold.
template <class Transfer>
void in_pieces(Index size, Transfer transfer) {
    constexpr Index piece = largest_piece / 8;
    for (Index first = 0; first < size; first += piece)
        transfer(first, narrow(std::min(piece, size - first), "piece of a vector"));
}

void add_to(std::vector<double>& sum, const std::vector<double>& other) {
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += other[i];
}

}  // namespace

TreeSum::TreeSum(MPI_Comm comm, Index leaves, Index size) : comm_(comm), leaves_(leaves), size_(size) {
    int rank = 0, ranks = 1;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    TANGRAM_MPI(MPI_Comm_size(comm, &ranks));
    rank_ = rank;
    ranks_ = ranks;
    next_ = first();
    if (ranks > 1) received_.resize(static_cast<std::size_t>(size));
    nodes_.reserve(130);  // two of each level
    spare_.reserve(130);
}

Index TreeSum::owner(Index leaf) const {
    Index rank = leaf * ranks_ / leaves_;
    while (first_of(rank + 1) <= leaf) ++rank;
    while (first_of(rank) > leaf) --rank;
    return rank;
}

std::vector<double> TreeSum::empty() {
    if (spare_.empty()) return std::vector<double>(static_cast<std::size_t>(size_), 0.0);
    std::vector<double> values = std::move(spare_.back());
    spare_.pop_back();
    std::ranges::fill(values, 0.0);
    return values;
}

void TreeSum::add(std::vector<double>& leaf) {
    nodes_.push_back({0, next_++, std::move(leaf)});
    while (nodes_.size() > 1) {
        const Node &left = nodes_[nodes_.size() - 2], &right = nodes_.back();
        if (left.level != right.level || left.place + 1 != right.place || left.place % 2 != 0) break;
        merge_last();
    }
}

/// The last two nodes become their parent.
void TreeSum::merge_last() {
    Node& left = nodes_[nodes_.size() - 2];
    add_to(left.values, nodes_.back().values);
    ++left.level;
    left.place /= 2;
    spare_.push_back(std::move(nodes_.back().values));
    nodes_.pop_back();
}

/// Node 2 place of a level and the one behind it become their parent, on the rank that holds the first.
void TreeSum::combine(Index level, Index place) {
    const auto at = [&](Index p) {
        return std::ranges::find_if(nodes_,
                                    [&](const Node& node) { return node.level == level && node.place == p; });
    };
    const auto left = at(2 * place), right = at(2 * place + 1);
    if (!exists(level, 2 * place + 1)) {
        if (left != nodes_.end()) *left = {level + 1, place, std::move(left->values)};
        return;
    }
    const Index to = owner((2 * place) << level), from = owner((2 * place + 1) << level);
    if (to == from && left == nodes_.end()) return;  // another rank's, or added already
    if (rank_ == to && to != from) {
        in_pieces(size_, [&](Index first, int count) {
            TANGRAM_MPI(MPI_Recv(received_.data() + first, count, MPI_DOUBLE, static_cast<int>(from), tag,
                                 comm_, MPI_STATUS_IGNORE));
        });
        add_to(left->values, received_);
    } else if (rank_ == from && to != from) {
        in_pieces(size_, [&](Index first, int count) {
            TANGRAM_MPI(
                MPI_Send(right->values.data() + first, count, MPI_DOUBLE, static_cast<int>(to), tag, comm_));
        });
    } else if (to == from) {
        add_to(left->values, right->values);
    }
    if (left != nodes_.end()) {
        left->level = level + 1;
        left->place = place;
    }
    if (right != nodes_.end()) {
        spare_.push_back(std::move(right->values));
        nodes_.erase(right);
    }
}

void TreeSum::finish(std::vector<double>& sum) {
    for (Index level = 0; exists(level, 1); ++level)
        for (Index place = 0; exists(level, 2 * place); ++place) combine(level, place);
    if (rank_ == 0) {
        sum.swap(nodes_.front().values);
        spare_.push_back(std::move(nodes_.front().values));
        nodes_.clear();
    }
    broadcast_bytes(comm_, std::as_writable_bytes(std::span(sum)), 0);
    next_ = first();
}

}  // namespace tangram
