#pragma once
#include <vector>

#include "tangram/gram/product_back_end.hpp"

namespace tangram {

/// What stands where in a packed tile. P = products::panel_rows entries of a panel lie side by side:
/// multiplied out:  [segment][piece of product_depth][panel of rows][parameter][P]
/// factors:         [chunk][panel of tokens][entries of delta, then of the input][P]
/// matching rows:   [octet][column][8]
/// Padded with zeros. Every rank can derive the form of every tile.
struct TileForm {
    Index rows = 0;
    std::vector<Index> row_tokens;  ///< factors: token rows of each row
    std::vector<TokenChunk> chunks;
    std::vector<MatchingRows> matches;  ///< ascending ids
    std::vector<Index> matching_rows;
    Index octets = 0;
};

/// A packed tile, or a segment of it on.
template <class Real>
struct PackedTile {
    const Real* entries;
    const TileForm* form;
};

/// Rows rounded up to whole panels.
Index padded_rows(Index rows);

/// Where products are added: a tile of tile_rows x tile_rows, column-major, and the same of the tensor's
/// group (nullptr: groups are not kept apart).
struct TileSums {
    double *whole, *group = nullptr;
};

}  // namespace tangram
