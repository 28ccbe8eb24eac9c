#include "tangram/parallel/tree_sum.hpp"

#include <algorithm>
#include <bit>

#include "tangram/parallel/communicator.hpp"

namespace tangram {

namespace {

constexpr int tag = 71;

/// Entries that are summed and handed out at once: 256 KiB, so that a rank's own and what it receives stay in
/// a second-level cache until they are handed out.
constexpr Index piece_size = 32768;

void add_to(double* sum, const double* other, Index count) {
    for (Index i = 0; i < count; ++i) sum[i] += other[i];
}

}  // namespace

TreeSum::TreeSum(MPI_Comm comm, Index leaves, Index size) : comm_(comm), leaves_(leaves), size_(size) {
    int rank = 0, ranks = 1;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    TANGRAM_MPI(MPI_Comm_size(comm, &ranks));
    rank_ = rank;
    ranks_ = ranks;
    next_ = first();
    if (ranks > 1) received_.resize(static_cast<std::size_t>(std::min(size, piece_size)));
    constexpr std::size_t most = 130;  // two of each level
    nodes_.reserve(most);
    pieces_.reserve(most);
    spare_.reserve(most);
}

Index TreeSum::owner(Index leaf) const {
    Index rank = leaf * ranks_ / leaves_;
    while (first_of(rank + 1) <= leaf) ++rank;
    while (first_of(rank) > leaf) --rank;
    return rank;
}

std::vector<double> TreeSum::memory() {
    if (spare_.empty()) return std::vector<double>(static_cast<std::size_t>(size_));
    std::vector<double> values = std::move(spare_.back());
    spare_.pop_back();
    return values;
}

void TreeSum::add(std::vector<double>& sum, Index leaves) {
    const Index level = std::countr_zero(static_cast<std::uint64_t>(leaves));
    nodes_.push_back({level, next_ >> level, std::move(sum)});
    next_ += leaves;
    if (next_ == last()) return;  // finish() adds what is there, while a piece of it is in the cache
    while (nodes_.size() > 1) {
        const Node &left = nodes_[nodes_.size() - 2], &right = nodes_.back();
        if (left.level != right.level || left.place + 1 != right.place || left.place % 2 != 0) break;
        merge_last();
    }
}

/// The last two nodes become their parent.
void TreeSum::merge_last() {
    Node& left = nodes_[nodes_.size() - 2];
    add_to(left.values.data(), nodes_.back().values.data(), size_);
    ++left.level;
    left.place /= 2;
    spare_.push_back(std::move(nodes_.back().values));
    nodes_.pop_back();
}

/// The pieces of node 2 place of a level and of the one behind it become their parent's, on the rank that
/// holds the first.
void TreeSum::combine(Index level, Index place, int count) {
    const auto at = [&](Index p) {
        return std::ranges::find_if(
            pieces_, [&](const Piece& piece) { return piece.level == level && piece.place == p; });
    };
    const auto left = at(2 * place), right = at(2 * place + 1);
    if (!exists(level, 2 * place + 1)) {
        if (left != pieces_.end()) *left = {level + 1, place, left->values};
        return;
    }
    const Index to = owner((2 * place) << level), from = owner((2 * place + 1) << level);
    if (to == from && left == pieces_.end()) return;  // another rank's, or added already
    if (rank_ == to && to != from) {
        TANGRAM_MPI(MPI_Recv(received_.data(), count, MPI_DOUBLE, static_cast<int>(from), tag, comm_,
                             MPI_STATUS_IGNORE));
        add_to(left->values, received_.data(), count);
    } else if (rank_ == from && to != from) {
        TANGRAM_MPI(MPI_Send(right->values, count, MPI_DOUBLE, static_cast<int>(to), tag, comm_));
    } else if (to == from) {
        add_to(left->values, right->values, count);
    }
    if (left != pieces_.end()) *left = {level + 1, place, left->values};
    if (right != pieces_.end()) pieces_.erase(right);
}

/// Entries [first, first + count) of the sum over `divisor`: where the first rank has them, on others in
/// `elsewhere`.
const double* TreeSum::piece(Index first, int count, double divisor, double* elsewhere) {
    pieces_.clear();
    for (Node& node : nodes_) pieces_.push_back({node.level, node.place, node.values.data() + first});
    for (Index level = 0; exists(level, 1); ++level)
        for (Index place = 0; exists(level, 2 * place); ++place) combine(level, place, count);
    double* const at = rank_ == 0 ? pieces_.front().values : elsewhere;
    if (rank_ == 0 && divisor != 1)
        for (Index i = 0; i < count; ++i) at[i] /= divisor;
    TANGRAM_MPI(MPI_Bcast(at, count, MPI_DOUBLE, 0, comm_));
    return at;
}

template <class Visit>
void TreeSum::for_pieces(Visit visit) {
    for (Index first = 0; first < size_; first += piece_size)
        visit(first, narrow(std::min(piece_size, size_ - first), "piece of a vector"));
}

void TreeSum::begin_anew() {
    for (Node& node : nodes_) spare_.push_back(std::move(node.values));
    nodes_.clear();
    next_ = first();
}

void TreeSum::finish(std::vector<double>& sum) {
    for_pieces([&](Index first, int count) { piece(first, count, 1, sum.data() + first); });
    if (rank_ == 0) sum.swap(nodes_.front().values);
    begin_anew();
}

void TreeSum::finish(double divisor, const Take& take) {
    for_pieces([&](Index first, int count) {
        const double* const at = piece(first, count, divisor, received_.data());
        take(first, {at, static_cast<std::size_t>(count)});
    });
    begin_anew();
}

}  // namespace tangram
