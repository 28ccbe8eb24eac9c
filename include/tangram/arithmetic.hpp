#pragma once
#include "tangram/index.hpp"

/// The constants that decide the bits of the Gram matrix. Everything else (ranks, grid, memory, order of arrival)
/// must not: an entry G_ij is the same sequence of floating-point operations on every layout.
///
/// 1. Forward and backward passes. Linear layers multiply chunks of exactly `linear_rows` rows, the last one padded,
///    so that BLAS takes the same path for every row (OpenBLAS gives a row other bits in a small product). All
///    other operations treat a row, or an example, alone and in a fixed order.
/// 2. Gradients. An example's gradient of a linear weight is the sum over its tokens, in token order, of
///    delta x^T, product and sum rounded separately (-ffp-contract=off); biases, norms and embedding rows likewise.
/// 3. Products. The parameters of each tensor, in storage order, are cut into slices of `product_depth`; a slice of
///    `tile_rows` rows times another is one BLAS product of exactly tile_rows x tile_rows x (slice depth), the last
///    tile padded with zero rows. For a pair of tiles the one with the larger index stands on the left.
/// 4. Sums. The product of a slice is added to the float64 tile in the order of tensors (Program::parameters), components
///    and slices. The two triangles are then made equal by copying.
namespace tangram::arithmetic {

/// Rows of one product of a linear layer. Large enough that OpenBLAS's small-matrix path (seen up to 17 rows at
/// 64 x 64) is not taken and the weight's packing is amortised; small enough that the last, padded chunk is cheap.
inline constexpr Index linear_rows = 128;

/// Rows and columns of a compute tile, which is also the block of the Gram matrix's layout while it is assembled.
/// Measured on one AVX-512 core: 128 reaches 0.70 of the large-product sgemm rate, 256 reaches 0.83.
inline constexpr Index tile_rows = 256;

/// Depth (parameters) of one product, that is of one float32 accumulation in "mixed" precision. Deep enough that
/// adding the product to the float64 tile costs about 5 %; shallow enough that rounding stays near
/// sqrt(depth) 2^-24 of the rows' norms and that two slices of all rows are small.
inline constexpr Index product_depth = 1024;

/// Examples that go through the model together. No bit depends on it: 1. holds for every composition of a block.
inline constexpr Index examples_per_block = 32;

}  // namespace tangram::arithmetic
