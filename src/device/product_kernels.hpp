#pragma once
#include <utility>

#include "entry_kernels.hpp"

/// The matrix products of a network's passes (network_kernels.hpp).
namespace tangram::device {

/// out(a, b) = start(a, b) + sum over k of x(a, k) y(k, b), each one chain; x(a, k) is the entry of x at a
/// x_row + k x_depth, and so on. Chains go on with `repeats` such sums, of operands x_repeat and y_repeat
/// further on.
template <class Real, class Entry = Real>
struct ProductOperands {
    Index rows, columns;
    const Real* x;
    Index x_row, x_depth;
    const Entry* y;
    Index y_depth, y_column;
    const Real* start;  ///< nullptr: +0
    Index start_row;    ///< 0: the same row for all
    Real* out;
    Index out_row;
    Index repeats = 1, x_repeat = 0, y_repeat = 0;
};

/// A tile of a product: which of its entries, and between which k some of them have summands.
template <class Real, class Entry = Real>
struct ProductTile {
    ProductOperands<Real, Entry> of;
    Index first_row, first_column;
    Range depth;
    bool nothing = false;  ///< to do
};

/// Products in tiles of Source::tile_rows x tile_columns, 16 x 16 threads. Source: blocks(), tile_of(b), and
/// depth_of(b, row), the k of a row of that tile, where Source::ragged.
template <class Real, class Source>
struct TiledProducts {
    static constexpr int rows = Source::tile_rows, columns = Source::tile_columns,
                         chunk = 64 / static_cast<int>(sizeof(Real)), own_rows = rows / 16,
                         own_columns = columns / 16, x_copies = rows * chunk / kernel_threads,
                         y_copies = columns * chunk / kernel_threads;
    static_assert(x_copies > 0 && y_copies > 0);
    /// Two chunks of both sides: while one is multiplied the next one is on its way. Four entries more than a
    /// row of them has keep threads that copy along k off each other's banks.
    struct Memory {
        alignas(16) Real x[2][chunk][rows + 4];
        alignas(16) Real y[2][chunk][columns + 4];
    };
    struct Registers {
        Real chain[own_rows][own_columns], x[x_copies], y[y_copies];
        Range depth[own_rows];
    };
    using Tile = decltype(std::declval<Source>().tile_of(0));
    Source source;

    Index blocks() const { return source.blocks(); }
    template <class Block>
    TANGRAM_KERNEL void run(Block& block, Index b) const {
        const Tile tile = source.tile_of(b);
        if (tile.nothing) return;
        const Index chunks = (tile.depth.end - tile.depth.begin + chunk - 1) / chunk,
                    all = chunks > 0 ? chunks * tile.of.repeats : 0;
        block.phase([&](int thread, Registers& own) {
            begin(tile, b, thread, own);
            fetch(tile, chunks, 0, all, thread, own);
            keep(tile, block.memory(), 0, thread, own);
        });
        for (Index c = 0; c < all; ++c)
            block.phase([&](int thread, Registers& own) {
                fetch(tile, chunks, c + 1, all, thread, own);
                multiply(tile, block.memory(), first_k(tile, chunks, c), static_cast<int>(c % 2), thread,
                         own);
                keep(tile, block.memory(), static_cast<int>((c + 1) % 2), thread, own);
            });
        block.phase([&](int thread, Registers& own) {
            for_entries(tile, thread, [&](int r, int c, Index row, Index column) {
                tile.of.out[row * tile.of.out_row + column] = own.chain[r][c];
            });
        });
    }

  private:
    TANGRAM_KERNEL static Index first_k(const Tile& tile, Index chunks, Index c) {
        return tile.depth.begin + c % chunks * chunk;
    }
    template <class Visit>
    TANGRAM_KERNEL static void for_entries(const Tile& tile, int thread, Visit visit) {
        TANGRAM_KERNEL_UNROLLED
        for (int r = 0; r < own_rows; ++r) {
            TANGRAM_KERNEL_UNROLLED
            for (int c = 0; c < own_columns; ++c) {
                const Index row = tile.first_row + thread / 16 * own_rows + r,
                            column = tile.first_column + thread % 16 * own_columns + c;
                if (row < tile.of.rows && column < tile.of.columns) visit(r, c, row, column);
            }
        }
    }
    TANGRAM_KERNEL void begin(const Tile& tile, Index b, int thread, Registers& own) const {
        TANGRAM_KERNEL_UNROLLED
        for (int r = 0; r < own_rows; ++r) {
            TANGRAM_KERNEL_UNROLLED
            for (int c = 0; c < own_columns; ++c) own.chain[r][c] = Real(0);
            if constexpr (Source::ragged)
                own.depth[r] = source.depth_of(b, tile.first_row + thread / 16 * own_rows + r);
        }
        if (tile.of.start == nullptr) return;
        for_entries(tile, thread, [&](int r, int c, Index row, Index column) {
            own.chain[r][c] = tile.of.start[row * tile.of.start_row + column];
        });
    }
    /// Reads a thread's share of the c-th chunk, zeros beyond the operands.
    TANGRAM_KERNEL static void fetch(const Tile& tile, Index chunks, Index c, Index all, int thread,
                                     Registers& own) {
        if (c >= all) return;
        const Index k = first_k(tile, chunks, c), repeat = c / chunks;
        const auto& of = tile.of;
        const Real* const x = of.x + repeat * of.x_repeat;
        const auto* const y = of.y + repeat * of.y_repeat;
        TANGRAM_KERNEL_UNROLLED
        for (int i = 0; i < x_copies; ++i) {
            const Spot at = spot(thread + i * kernel_threads, rows, of.x_depth == 1);
            const bool there = tile.first_row + at.row < of.rows && k + at.k < tile.depth.end;
            own.x[i] = there ? x[(tile.first_row + at.row) * of.x_row + (k + at.k) * of.x_depth] : Real(0);
        }
        TANGRAM_KERNEL_UNROLLED
        for (int i = 0; i < y_copies; ++i) {
            const Spot at = spot(thread + i * kernel_threads, columns, of.y_depth == 1);
            const bool there = tile.first_column + at.row < of.columns && k + at.k < tile.depth.end;
            own.y[i] =
                there ? number<Real>(y[(tile.first_column + at.row) * of.y_column + (k + at.k) * of.y_depth])
                      : Real(0);
        }
    }
    /// Stores it where it is multiplied next.
    TANGRAM_KERNEL static void keep(const Tile& tile, Memory& memory, int which, int thread,
                                    const Registers& own) {
        TANGRAM_KERNEL_UNROLLED
        for (int i = 0; i < x_copies; ++i) {
            const Spot at = spot(thread + i * kernel_threads, rows, tile.of.x_depth == 1);
            memory.x[which][at.k][at.row] = own.x[i];
        }
        TANGRAM_KERNEL_UNROLLED
        for (int i = 0; i < y_copies; ++i) {
            const Spot at = spot(thread + i * kernel_threads, columns, tile.of.y_depth == 1);
            memory.y[which][at.k][at.row] = own.y[i];
        }
    }
    /// The chains grow by a chunk, ascending, and by nothing that stands beyond its end.
    TANGRAM_KERNEL static void multiply(const Tile& tile, const Memory& memory, Index k, int which,
                                        int thread, Registers& own) {
        const Index left = tile.depth.end - k;
        const auto grow_by = [&](int i) {
            Real x[own_rows], y[own_columns];
            TANGRAM_KERNEL_UNROLLED
            for (int r = 0; r < own_rows; ++r) x[r] = memory.x[which][i][thread / 16 * own_rows + r];
            TANGRAM_KERNEL_UNROLLED
            for (int c = 0; c < own_columns; ++c) y[c] = memory.y[which][i][thread % 16 * own_columns + c];
            TANGRAM_KERNEL_UNROLLED
            for (int r = 0; r < own_rows; ++r) {
                if constexpr (Source::ragged)
                    if (k + i < own.depth[r].begin || k + i >= own.depth[r].end) continue;
                TANGRAM_KERNEL_UNROLLED
                for (int c = 0; c < own_columns; ++c) own.chain[r][c] = std::fma(x[r], y[c], own.chain[r][c]);
            }
        };
        if (left >= chunk) {
            TANGRAM_KERNEL_UNROLLED
            for (int i = 0; i < chunk; ++i) grow_by(i);
        } else {
            for (int i = 0; i < static_cast<int>(left); ++i) grow_by(i);
        }
    }

    /// The q-th entry of a chunk of one side, so that neighbours are read by neighbouring threads.
    struct Spot {
        int row, k;
    };
    TANGRAM_KERNEL static Spot spot(int q, int side, bool along_k) {
        return along_k ? Spot{q / chunk, q % chunk} : Spot{q % side, q / side};
    }
};

constexpr Index tiles_of(Index entries, int side) { return (entries + side - 1) / side; }

/// One product, of a linear layer or a part of the vocabulary, whose weights are stored as such entries.
template <class Real, class Entry>
struct WholeProduct {
    static constexpr int tile_rows = 128, tile_columns = 64;
    static constexpr bool ragged = false;
    ProductOperands<Real, Entry> of;
    Index depth, column_tiles;

    Index blocks() const { return tiles_of(of.rows, tile_rows) * column_tiles; }
    TANGRAM_KERNEL ProductTile<Real, Entry> tile_of(Index b) const {
        const Place at = place_of(b, column_tiles);
        return {of, at.row * tile_rows, at.column * tile_columns, {0, depth}};
    }
};

/// Tiles of the products of each head, 32 x 32: which one a block has.
struct HeadTile {
    Index example, head, first_row, first_column;
};
struct HeadTiles {
    static constexpr int side = 32;
    Index examples, heads, row_tiles, column_tiles;

    Index blocks() const { return examples * heads * row_tiles * column_tiles; }
    TANGRAM_KERNEL HeadTile tile_of(Index b) const {
        const Place column = place_of(b, column_tiles), row = place_of(column.row, row_tiles),
                    head = place_of(row.row, heads);
        return {head.row, head.column, row.column * side, column.column * side};
    }
};

/// Products of keys (or values, or their like) with queries: keys x queries of each head.
template <class Real>
struct KeyProducts {
    static constexpr int tile_rows = HeadTiles::side, tile_columns = HeadTiles::side;
    static constexpr bool ragged = false;
    Heads of;
    HeadTiles tiles;
    const Real *keys, *queries;
    Real* out;

    Index blocks() const { return tiles.blocks(); }
    TANGRAM_KERNEL ProductTile<Real> tile_of(Index b) const {
        const HeadTile at = tiles.tile_of(b);
        const AttentionExample& example = of.examples[at.example];
        const SeenKeys seen = of.seen(example);
        const Range some = seen.keys_of(at.first_column, tile_columns);
        ProductTile<Real> tile{};
        tile.nothing = at.first_row >= example.keys || at.first_column >= example.queries ||
                       at.first_row >= some.end || at.first_row + tile_rows <= some.begin;
        if (tile.nothing) return tile;
        tile.first_row = at.first_row;
        tile.first_column = at.first_column;
        tile.depth = {0, of.size};
        tile.of = {example.keys,
                   example.queries,
                   keys + example.key_row * of.key_stride + of.group_of(at.head) * of.size,
                   of.key_stride,
                   1,
                   queries + example.query_row * of.query_stride + at.head * of.size,
                   1,
                   of.query_stride,
                   nullptr,
                   0,
                   out + of.weights_of(example, at.head),
                   example.queries};
        return tile;
    }
};

enum class Over { keys, queries };

/// Over keys: sums of coefficients times rows of keys (or their like), by query and head. Over queries: of
/// coefficients times rows of queries (or their like), by key and its head, over all heads that share it.
template <class Real, Over over>
struct HeadSums {
    static constexpr int tile_rows = HeadTiles::side, tile_columns = HeadTiles::side;
    static constexpr bool ragged = true;
    Heads of;
    HeadTiles tiles;  ///< of heads; over queries of heads of keys
    Mode mode;
    const Real *coefficients, *rows;
    Real* out;

    Index blocks() const { return tiles.blocks(); }
    TANGRAM_KERNEL ProductTile<Real> tile_of(Index b) const {
        const HeadTile at = tiles.tile_of(b);
        const AttentionExample& example = of.examples[at.example];
        const Rows to = by_query ? queries_of(example) : keys_of(example),
                   from = by_query ? keys_of(example) : queries_of(example);
        ProductTile<Real> tile{};
        tile.nothing = at.first_row >= to.count || at.first_column >= of.size;
        if (tile.nothing) return tile;
        tile.first_row = at.first_row;
        tile.first_column = at.first_column;
        const Index sharing = by_query ? 1 : of.heads / of.key_value_heads, head = at.head * sharing;
        Real* const sums = out + to.first * to.stride + at.head * of.size;
        tile.of = {to.count,
                   of.size,
                   coefficients + of.weights_of(example, head),
                   by_query ? 1 : example.queries,
                   by_query ? example.queries : 1,
                   rows + from.first * from.stride + (by_query ? of.group_of(head) : head) * of.size,
                   from.stride,
                   1,
                   mode == Mode::add ? sums : nullptr,
                   to.stride,
                   sums,
                   to.stride,
                   sharing,
                   by_query ? 0 : example.keys * example.queries,
                   by_query ? 0 : of.size};
        const SeenKeys seen = of.seen(example);
        const Index last = at.first_row + tile_rows < to.count ? at.first_row + tile_rows : to.count;
        tile.depth = {range_of(seen, at.first_row).begin, range_of(seen, last - 1).end};
        return tile;
    }
    TANGRAM_KERNEL Range depth_of(Index b, Index row) const {
        const SeenKeys seen = of.seen(of.examples[tiles.tile_of(b).example]);
        return row < (by_query ? seen.queries : seen.keys) ? range_of(seen, row) : Range{0, 0};
    }

  private:
    static constexpr bool by_query = over == Over::keys;
    /// An example's, in a matrix of all.
    struct Rows {
        Index first, stride, count;
    };
    TANGRAM_KERNEL Rows queries_of(const AttentionExample& example) const {
        return {example.query_row, of.query_stride, example.queries};
    }
    TANGRAM_KERNEL Rows keys_of(const AttentionExample& example) const {
        return {example.key_row, of.key_stride, example.keys};
    }
    /// What takes part in a row's sum: all that any of the rows beside it sees, or is seen by.
    TANGRAM_KERNEL Range range_of(const SeenKeys& seen, Index row) const {
        const Index first = row - row % of.together, left = (by_query ? seen.queries : seen.keys) - first,
                    count = of.together < left ? of.together : left;
        return by_query ? seen.keys_of(first, count) : seen.queries_of(first, count);
    }
};

}  // namespace tangram::device
