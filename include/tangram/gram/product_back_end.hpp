#pragma once
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

class FactorMemory;

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

/// Consecutive rows of a tile whose tokens are packed together in panels: their deltas and inputs.
struct TokenChunk {
    Index first_row, last_row;  ///< in the tile
    Index tokens;               ///< of all its rows
};
/// Tokens of a chunk at most, where no row alone has more; a back end takes no longer ones.
inline constexpr Index chunk_tokens = 128;

/// A tile of rows whose gradients stand as their factors: [chunk][panel of tokens][entries of delta, then of
/// input][panel_rows], padded with zeros.
template <class Real>
struct PackedTokens {
    std::span<const Real> entries;
    Index rows;
    std::span<const Index> row_tokens;   ///< of each row, at least 1
    std::span<const TokenChunk> chunks;  ///< of at most chunk_tokens
};

/// What is added of one matrix in factors, to the sums of every product: half the sum over tokens t of the
/// left row, then t' of the right one, of the product of delta_t . delta_t' and input_t . input_t', each a
/// chain, and half the same over t', then t (arithmetic.hpp, 3.).
template <class Real>
struct FactorProducts {
    Index panel_rows;
    Index delta_width, input_width;
    bool ends_parameter;  ///< diagonals are asked for: one number of each row
    std::span<const PackedTokens<Real>> tiles;
    std::span<const TileProduct> products;  ///< they have no pieces
    std::function<void(std::size_t product, const double* diagonals)> put_diagonals = {};  ///< as above
};

/// The rows of a tile whose gradients reach one row of a table (matching rows).
struct MatchingRows {
    Index id;            ///< row of the table
    Index first, count;  ///< places in the tile's list of rows
    Index first_octet;   ///< they are packed in groups of eight, the last one padded
};

/// A tile of rows that are matched: [copy][octet][column][8], padded with zeros.
template <class Real>
struct PackedMatches {
    std::span<const Real> entries;
    Index rows;
    std::span<const MatchingRows> matches;  ///< ascending ids
    std::span<const Index> matching_rows;
};

/// What is added of some columns of a table, to the sums of every product: for each id that both rows have,
/// ascending, the chain over the columns (arithmetic.hpp, 3.); of the right tile its last copy.
template <class Real>
struct MatchProducts {
    Index copies, columns;
    bool ends_parameter;  ///< diagonals are asked for: one number of each row
    std::span<const PackedMatches<Real>> tiles;
    std::span<const TileProduct> products;  ///< they have no pieces
    std::function<void(std::size_t product, const double* diagonals)> put_diagonals = {};  ///< as above
};

/// Rows of the host's memory, one behind the other: deltas of a pass, or inputs, of all examples held. Where
/// passes have left them in the back end's memory, nothing stands there: their address is a name.
template <class Real>
struct FactorRows {
    const Real* entries;
    Index rows, width;
};

/// A row's gradient of a matrix is the sum of delta_t input_t^T, t < tokens ascending: rows of FactorRows.
template <class Real>
struct RowFactors {
    const Real *delta, *input;
    Index tokens;
};

/// Entries [first, first + depth) of a matrix's gradient, delta_width x input_width and row-major, where they
/// stand in every packed tile of a slice.
struct OuterSegment {
    Index before;  ///< parameters of a tile that stand before it, with their copies
    Index first, depth;
    Index delta_width, input_width;
};

/// A tile of a slice, in the host's memory.
template <class Real>
struct TileToPack {
    std::span<Real> entries;
    Index rows, padded_rows;
    /// Of every outer segment, of every row; empty: another rank packs the tile.
    std::vector<RowFactors<Real>> factors;
    bool goes_home;  ///< its entries are wanted here, too; not for messages that reach the back end
    /// In factors, of each row and of some rows, as PackedTokens; tokens that a row's factors lack are zero.
    std::span<const Index> row_tokens = {};
    std::span<const TokenChunk> chunks = {};
};

/// A slice whose outer segments a back end may form in its own memory; all others are packed here. In factors
/// it has one segment, a whole matrix, and tiles as PackedTokens.
template <class Real>
struct SliceToPack {
    Index panel_rows;
    Index copies;  ///< of a segment: 2: behind its entries stand their signs
    Real sign;  ///< of what is positive; 0: no signs are taken; else of one copy the signs alone stand there
    std::vector<OuterSegment> segments;
    std::vector<FactorRows<Real>> factors;  ///< all that rows point into
    std::vector<TileToPack<Real>> tiles;    ///< all that the slice has on this rank
    bool in_factors = false;
};

/// Share of a back end's memory that slices and sums do not fill: lists of what is to be done, and diagonals.
inline constexpr double back_end_overhead = 1.0 / 64;
/// Bytes of sums, or of factors, that are on their way to it or from it at once, in the host's memory.
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
    /// slice has been read, and what was begun for the slice before is done; sums are taken from where they
    /// stand, and are there again after store_sums().
    /// @param between  called now and then on the calling thread
    /// @throws Error(numerical) where the device fails; what it held is then lost
    virtual void add(const SliceProducts<float>& slice, const std::function<void()>& between) = 0;
    virtual void add(const SliceProducts<double>& slice, const std::function<void()>& between) = 0;
    /// The same of what stands in factors, and of rows that are matched.
    virtual void add(const FactorProducts<float>& slice, const std::function<void()>& between) = 0;
    virtual void add(const FactorProducts<double>& slice, const std::function<void()>& between) = 0;
    virtual void add(const MatchProducts<float>& slice, const std::function<void()>& between) = 0;
    virtual void add(const MatchProducts<double>& slice, const std::function<void()>& between) = 0;
    /// Begins to form the outer segments of a slice in its own memory: each entry one chain of fused
    /// multiply-adds over the tokens, from +0 on, as the host's, or a copy of one of the factors'. The slice
    /// is the next one that is added; of its tiles that are packed here add() then reads from the host's
    /// memory what is no outer segment. Factors may stay with it until forget_factors(). @return false: it
    /// has no room, the host packs.
    /// @throws as add()
    virtual bool begin_packing(const SliceToPack<float>&) { return false; }
    virtual bool begin_packing(const SliceToPack<double>&) { return false; }
    /// Until those outer segments that go home are there. @throws as add()
    virtual void end_packing() {}
    /// Whether MPI reads and writes its memory, so that messages may carry the tiles of a slice that
    /// begin_packing() has taken from there to there.
    virtual bool messages_reach_it() const { return false; }
    /// Behind end_packing(), where they do: what was packed here goes there, and the others' tiles arrive
    /// there before add(). @param homes  of tiles of the slice @return where they stand. @throws as add()
    virtual std::vector<std::byte*> places_for_messages([[maybe_unused]] std::span<const void* const> homes) {
        return {};
    }
    /// Where passes on the same device may leave factors, as far as slices and sums that take `beside` bytes
    /// leave room in memory(); nullptr: nowhere. Factors that have to make room come home.
    virtual FactorMemory* factor_memory([[maybe_unused]] double beside) { return nullptr; }
    /// What was at the addresses of factors will be others. What is not home is lost.
    virtual void forget_factors() noexcept {}
    /// Until what add() began is done and its diagonals are handed over. @throws as add()
    virtual void finish() = 0;
    /// All sums to where they stand; it holds none then. @throws Error(numerical), some are then lost
    virtual void store_sums() = 0;
    /// It holds no sums any more, and those that it held are not stored.
    virtual void drop_sums() noexcept = 0;
    /// Its memory, and the host's that it has, until it adds again. It holds no sums, or they are lost.
    virtual void give_back_memory() noexcept {}
    /// Whether one of its calls has thrown because the device failed.
    virtual bool failed() const = 0;
    /// Whether add() has stored some sums since store_sums() or drop_sums(), to make room: where they belong
    /// then stand more slices than elsewhere. After a failure too.
    virtual bool sums_are_torn() const = 0;
};

}  // namespace tangram
