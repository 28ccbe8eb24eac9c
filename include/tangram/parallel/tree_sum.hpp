#pragma once
#include <mpi.h>

#include <functional>
#include <span>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// The sum of `leaves` vectors in the order of one binary tree, which their number alone decides: leaves 2i
/// and 2i + 1 are added, then those sums, and so on. Each rank makes the leaves of its range, one after the
/// other and in order, so that the result has the same bits on any number of ranks (of more ranks than leaves
/// some have none). Memory per rank: log2(leaves of its range) + 1 vectors. Bytes per rank: at most
/// log2(leaves) vectors, on a power of two of ranks one, and the result once more to hand it out, all in
/// pieces that stay in a cache from the first of their sums to the last.
class TreeSum {
  public:
    /// @param leaves  at least 1; equal on every rank, as size
    TreeSum(MPI_Comm comm, Index leaves, Index size);

    Index first() const { return first_of(rank_); }  ///< this rank's leaves are [first, last)
    Index last() const { return first_of(rank_ + 1); }
    /// Takes the next leaf of this rank's range, or the sum of the next two, of which the first is even.
    /// Local. @param sum  size entries; what it holds is lost
    void add(std::vector<double>& sum, Index leaves = 1);
    /// Memory for a leaf, used again: what it holds is not known. Local.
    std::vector<double> memory();
    /// The sum, on every rank, once all leaves were added; then they begin anew. Collective over comm.
    /// @param sum  size entries, overwritten
    void finish(std::vector<double>& sum);
    /// The same over `divisor` in pieces, one behind the other, that are gone when take() returns.
    /// @param take  called on every rank with the entries from `first` on; does not throw
    using Take = std::function<void(Index first, std::span<const double> piece)>;
    void finish(double divisor, const Take& take);

  private:
    struct Node {
        Index level, place;
        std::vector<double> values;
    };
    /// A piece of a node on its way to the root.
    struct Piece {
        Index level, place;
        double* values;
    };

    Index first_of(Index rank) const { return (rank * leaves_ + ranks_ - 1) / ranks_; }
    Index owner(Index leaf) const;
    /// Whether a node covers any leaf.
    bool exists(Index level, Index place) const { return (place << level) < leaves_; }
    void merge_last();
    void combine(Index level, Index place, int count);
    const double* piece(Index first, int count, double divisor, double* elsewhere);
    template <class Visit>
    void for_pieces(Visit visit);
    void begin_anew();

    MPI_Comm comm_;
    Index rank_ = 0, ranks_ = 1, leaves_, size_, next_;
    std::vector<Node> nodes_;  // of this rank, in order of their leaves
    std::vector<std::vector<double>> spare_;
    std::vector<Piece> pieces_;  // of all nodes, one behind the other
    std::vector<double> received_;
};

}  // namespace tangram
