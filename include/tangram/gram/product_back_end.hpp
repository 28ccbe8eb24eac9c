#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// A run of parameters whose products are one chain of fused multiply-adds (arithmetic.hpp, 3.).
struct ProductPiece {
    /// Parameters that stand before it in a packed tile on the left, and on the right: its entries begin at
    /// so many times the tile's padded rows.
    Index left, right;
    Index depth;          ///< 1 .. arithmetic::product_depth
    bool ends_parameter;  ///< the diagonal is asked for once it is added
};

/// A tile of rows in packed pieces, each [panel of rows][parameter][panel_rows], padded with zeros.
template <class Real>
struct PackedRows {
    std::span<const Real> entries;
    Index rows, padded_rows;
};

/// Two packed tiles and where the sums of their products stand: rows of the left one x rows of the right one
/// in float64, column-major, columns `lld` apart.
struct TileProduct {
    std::size_t left, right;  ///< places in SliceProducts::tiles
    double* sums;
    Index lld;
    bool lower_only;  ///< a tile with itself: entries above the diagonal may be left out
    /// Where the diagonal behind the e-th piece that ends a parameter goes: rows numbers from e * rows on;
    /// nullptr: nowhere.
    double* diagonals;
};

/// What is added of a slice: every piece to the sums of every product, in order of the pieces.
template <class Real>
struct SliceProducts {
    Index panel_rows;
    std::span<const ProductPiece> pieces;
    std::span<const PackedRows<Real>> tiles;
    std::span<const TileProduct> products;
};

/// What multiplies packed tiles in place of this machine's cores; a device implements it. Local.
class ProductBackEnd {
  public:
    virtual ~ProductBackEnd() = default;
    /// What it is, for people.
    virtual std::string name() const = 0;
    /// sums[r + c lld] += the end of the chain over the piece's parameters k, ascending, from +0 on, of
    /// x_rk y_ck, rounded once each; piece after piece. Returns when the sums are there. Their bits are those
    /// of the host.
    /// @param between  called now and then on the calling thread
    /// @throws Error(numerical) where the device fails; the sums are then lost
    virtual void add(const SliceProducts<float>& slice, const std::function<void()>& between) = 0;
    virtual void add(const SliceProducts<double>& slice, const std::function<void()>& between) = 0;
};

}  // namespace tangram
