#pragma once
#include "tangram/index.hpp"

/// The constants that decide the bits of the Gram matrix. Everything else (ranks, grid, memory, order of
/// arrival) must not: an entry G_ij is the same sequence of floating-point operations on every layout.
///
/// 1. Forward and backward passes. Every operation treats a row, or an example, alone and in a fixed order.
///    An entry of a product (linear layers, attention) is one chain of fused multiply-adds in ascending order
///    of the summed index, started by the bias or by the sum so far, whatever rows go along with it
///    (products.hpp). exp, tanh, erf, sin, cos, log and pow are those of elementary.hpp, no library's.
/// 2. Gradients. An example's gradient of a linear weight is the sum over its tokens, in token order, of
///    delta x^T, one chain of fused multiply-adds; biases, norms and table rows likewise, product and sum
///    rounded separately (-ffp-contract=off). A sketched weight's delta and x are projected first, each entry
///    one chain over d_out or d_in, ascending (jacobian/sketch.hpp).
///    A vocabulary's delta is computed again wherever it is needed, from the row's features and its
///    log sum_v exp(z_v), each z_v one chain over the width (model/token_softmax.hpp).
/// 3. Products. How a tensor is contracted follows from its shape and the data alone
///    (jacobian/contraction.hpp). Multiplied out: its parameters, in storage order, are cut into pieces of
///    `product_depth`; an entry of a piece's product is one chain of fused multiply-adds in ascending order.
///    In factors: for every pair of tokens two such chains of whole depth, their product and the sums over
///    tokens in float64. Matching rows: one chain over `matching_columns` columns for every pair of equal row
///    ids, ascending.
/// 4. Sums. Each of these is added to the float64 entry as it comes, in the order of tensors
///    (Program::parameters), components, and pieces or columns and ids. The two triangles are then made equal
///    by copying.
///
/// Every step treats an entry alone (products.hpp), and a pair of rows alike in either order: no bit depends
/// on the ranks, the grid, the memory, the tile that an entry stands in or the order of examples.
namespace tangram::arithmetic {

/// Rows and columns of the largest compute tile: one of float64 and two of float32, product_depth deep, fill
/// half of a 2 MiB second-level cache. No bit depends on it.
inline constexpr Index tile_rows = 256;

/// Rows of the tiles of a kernel of so many rows, which are also the blocks of its layout while it is
/// assembled, and what ranks share the passes in: small kernels in small tiles, so that there are enough of
/// them (128: 5 % slower at 4096 rows, a quarter faster at 512 on two ranks; 32: a panel of products; 16,
/// half a panel, where the passes take longer than the products).
constexpr Index tile_rows_of(Index rows) {
    return rows <= 64 ? 16 : rows <= 256 ? 32 : rows <= 1024 ? 128 : tile_rows;
}

/// Depth (parameters) of one float32 chain in "mixed" precision: 32 rows of it fill a first-level cache;
/// adding the chain's end to the float64 entry costs 3 %; rounding stays near sqrt(depth) 2^-24 of the rows'
/// norms.
inline constexpr Index product_depth = 256;

/// Columns of a table's rows in one float32 chain where rows are matched.
inline constexpr Index matching_columns = 64;

/// Tokens of the vocabulary that softmax sums over at once, and whose deltas are contracted in factors at
/// once: the powers of each block are summed in float64, block after block; a chain of deltas ends with its
/// block. Beside 4096 tokens, the features (768 to 4096 numbers) that go along with each block cost less than
/// the block.
inline constexpr Index vocabulary_block = 4096;

/// Parameters that are added to a tile at once while it stays in the cache; a slice of the Jacobian has as
/// many at least (slice_depth_of()). A multiple of product_depth; no bit depends on it, checkpoints do.
inline constexpr Index slice_depth = 4096;

/// Examples that go through the model together. No bit depends on it: 1. holds for every composition of a
/// block. Measured with 64 tokens each: 16 is 3 % faster than 32 at hidden sizes 64 and 768, and half the
/// activations.
inline constexpr Index examples_per_block = 16;

/// Bytes of their activations and gradients at most, of more than one example: memory of a rank that more
/// ranks do not make less. Measured at hidden size 2048 with 64 tokens each: 4 examples take as long as 16,
/// one alone 10 to 25 % longer. No bit depends on it.
inline constexpr Index block_bytes = Index{1} << 30;

}  // namespace tangram::arithmetic
