#pragma once
#include "packed_form.hpp"
#include "row_tiles.hpp"
#include "slices.hpp"
#include "tangram/jacobian/held_factors.hpp"

namespace tangram {

/// How a tensor is cut into the segments of slices.
struct Cutting {
    Index length;        ///< of what is cut: the tensor's parameters, or its columns
    Index most;          ///< of it in one slice
    bool shares_slices;  ///< a slice holds segments of several tensors
};

/// A way to get a tensor's share of the kernel: how tensors are cut, what a packed tile of them holds. From
/// tokens and shapes alone. There is one object of each, contraction_kind().
class ContractionKind {
  public:
    virtual ~ContractionKind() = default;
    virtual Contraction contraction() const = 0;
    /// @param rows  of the kernel
    virtual Cutting cutting(const Parameter& parameter, Index rows) const = 0;
    /// Of `share` of `length`, for a pair of rows, as ContractionChoice counts them.
    virtual double pair_flops(const ContractionChoice& choice, Index share, Index length) const = 0;
    virtual TileForm form(const RowTiles& rows, Index tile, ParameterId parameter) const = 0;
    /// Entries of one segment of a packed tile, for one copy.
    virtual Index entries(const Segment& segment, const TileForm& form) const = 0;

    /// Entries of a packed tile.
    Index entries(const Slice& slice, const TileForm& form) const;
};

/// The same with the numbers: packs tiles and multiplies packed tiles. A row's or a pair's bits depend on
/// themselves alone, whatever thread or tile they stand in.
template <class Real>
class TileContraction : public ContractionKind {
  public:
    /// Overwrites `out`, on all threads.
    virtual void pack(const HeldFactors<Real>& factors, const RowTiles& rows, Index tile,
                      const Segment& segment, const TileForm& form, Real* out) const = 0;
    /// to[r + c tile_rows] += the segment's share of the kernel of row r of the left tile and row c of the
    /// right one, as arithmetic.hpp, 3. and 4. have it. On this thread.
    /// @param left, right  where the segment stands in the packed tiles
    /// @param lower_only   entries with r < c may be left out (a tile with itself)
    virtual void add_product(const Segment& segment, PackedTile<Real> left, PackedTile<Real> right,
                             bool lower_only, TileSums to) const = 0;
    /// squares[r] += the segment's share of the kernel of row r with itself, r in `rows`, sums in float64. On
    /// this thread.
    /// @param right  the entries of `left`, or of an asymmetric kernel their signs
    virtual void add_squares(const Segment& segment, PackedTile<Real> left, const Real* right, RowRange rows,
                             double* squares) const = 0;
};

/// Whether packed tiles hold gradients that are multiplied out, projected or not: what a back end multiplies.
inline bool is_multiplied_out(Contraction contraction) {
    return contraction == Contraction::multiply_out || contraction == Contraction::sketched;
}

const ContractionKind& contraction_kind(Contraction contraction);
template <class Real>
const TileContraction<Real>& tile_contraction(Contraction contraction);

/// One object each, in a file of its own.
template <class Real>
const TileContraction<Real>& multiplied_out();
template <class Real>
const TileContraction<Real>& in_factors();
template <class Real>
const TileContraction<Real>& matching_rows();

}  // namespace tangram
