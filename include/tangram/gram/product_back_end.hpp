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
    std::size_t pieces;       ///< place in SliceProducts::pieces
    double* sums;
    Index lld;
    bool lower_only;  ///< a tile with itself: entries above the diagonal may be left out
    bool diagonals;   ///< they are asked for behind each piece that ends a parameter
};

/// What is added of a slice: to the sums of every product every piece of its list, in order.
template <class Real>
struct SliceProducts {
    Index panel_rows;
    std::span<const std::vector<ProductPiece>> pieces;  ///< lists of them
    std::span<const PackedRows<Real>> tiles;
    std::span<const TileProduct> products;
    /// Takes the diagonals of a product that asks for them: behind its e-th piece that ends a parameter, rows
    /// numbers from e * rows on. Called by a later call of the back end.
    std::function<void(std::size_t product, const double* diagonals)> put_diagonals = {};
};

/// Share of a back end's memory that slices and sums do not fill: lists of what is to be done, and diagonals.
inline constexpr double back_end_overhead = 1.0 / 64;
/// Bytes of sums that are on their way to it or from it at once, in the host's memory.
inline constexpr double staged_sum_bytes = 64.0 * 1024 * 1024;

/// What multiplies packed tiles in place of this machine's cores; a device implements it. Sums may stay with
/// it from slice to slice. Local.
class ProductBackEnd {
  public:
    virtual ~ProductBackEnd() = default;
    /// What it is, for people.
    virtual std::string name() const = 0;
    /// Bytes of its own memory that it may take: slices, and as many sums as find room beside them.
    virtual double memory() const = 0;
    /// sums[r + c lld] += the end of the chain over the piece's parameters k, ascending, from +0 on, of
    /// x_rk y_ck, rounded once each; piece after piece. Their bits are those of the host. When it returns the
    /// slice has been read; sums are taken from where they stand, and are there again after store_sums().
    /// @param between  called now and then on the calling thread
    /// @throws Error(numerical) where the device fails; what it held is then lost
    virtual void add(const SliceProducts<float>& slice, const std::function<void()>& between) = 0;
    virtual void add(const SliceProducts<double>& slice, const std::function<void()>& between) = 0;
    /// Until what add() began is done and its diagonals are handed over. @throws as add()
    virtual void finish() = 0;
    /// All sums to where they stand; it holds none then. @throws Error(numerical), some are then lost
    virtual void store_sums() = 0;
    /// It holds no sums any more, and those that it held are not stored.
    virtual void drop_sums() noexcept = 0;
    /// Whether one of its calls has thrown because the device failed.
    virtual bool failed() const = 0;
    /// Whether add() has stored some sums since store_sums() or drop_sums(), to make room: where they belong
    /// then stand more slices than elsewhere. After a failure too.
    virtual bool sums_are_torn() const = 0;
};

}  // namespace tangram
