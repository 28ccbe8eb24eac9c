#pragma once
#include <functional>

#include "packed_slice.hpp"
#include "tile_contraction.hpp"

namespace tangram {

/// The tiles of the kernel's matrices that this rank computes: their sums are loaded, a slice is added,
/// traces and squares are taken, and they are stored. On this machine's cores, where how packed tiles are
/// laid out, read and multiplied is behind tile_contraction(), or on the problem's back end, as far
/// as that takes them.
/// No rank hears of another here.
template <class Real>
class TileProducts {
  public:
    /// All references outlive the object.
    /// @param sets  the training set, and the test set if there is one
    TileProducts(const KernelProblem& problem, KernelMatrices& matrices,
                 std::span<const KernelRows<Real>> sets, int rank);

    /// Traces and squares that others compute become zero: a stored sum is whole on every rank, from here on
    /// it grows where it is computed.
    void keep_own_sums();
    /// From here on slices that are contracted like that are added there; the same on every rank.
    void let_back_end_take(const std::function<bool(Contraction)>& takes);
    /// Flops that add() takes, as ContractionChoice counts them.
    double flops(const Slice& slice) const;
    /// Whether slices that are contracted like that are added by the problem's back end, which may keep the
    /// sums until store_sums().
    bool is_on_back_end(Contraction contraction) const;
    /// Adds a slice to its formula's matrices, the tiles shared out over the OpenMP threads. Where it is not
    /// on the back end, all sums are here.
    /// @param between  called between tiles by the first thread
    void add(const Slice& slice, const PackedSlice<Real>& packed, const std::function<void()>& between);

  private:
    struct TilePlace {
        Index row, column;
    };
    /// Tiles of one matrix: left tile I times right tile J of the training set.
    struct Tiles {
        std::vector<TilePlace> places;
        double pairs = 0;  ///< of rows
    };
    /// Parameters [first, last) of a segment of a slice.
    struct Share {
        std::size_t segment;
        Index first, last;
    };
    static std::vector<std::vector<Share>> parts_of(const Slice& slice);
    static bool is_symmetric(const Slice& slice) { return slice.formula != Formula::asymmetric_signgd; }
    void add_tiles(const Slice& slice, const PackedSlice<Real>& packed, std::size_t left_set,
                   const Tiles& tiles, const std::function<void()>& between);
    void add_on_back_end(const Slice& slice, const PackedSlice<Real>& packed,
                         const std::function<void()>& between);
    void add_segment_on_back_end(const Slice& slice, const PackedSlice<Real>& packed,
                                 const std::function<void()>& between);
    void keep_what_is_stored();
    void add_tile(const Slice& slice, const std::vector<Share>& shares, const PackedSlice<Real>& packed,
                  std::size_t left_set, TilePlace at);
    void add_squares(const Slice& slice, const PackedSlice<Real>& packed);
    void set_trace(const Slice& slice, std::size_t selected, Index tile, const double* diagonal, Index step);

    const KernelProblem* problem_;
    KernelMatrices* matrices_;
    std::span<const KernelRows<Real>> sets_;
    int rank_;
    bool back_end_takes_factors_ = false, back_end_takes_matches_ = false;
    Tiles all_, half_, cross_;
};

extern template class TileProducts<float>;
extern template class TileProducts<double>;

}  // namespace tangram
