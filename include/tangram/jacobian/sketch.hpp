#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "tangram/model/program.hpp"

/// Random projections of the gradients of linear weights, sum_t delta_t x_t^T (d_out x d_in): the gradient
/// becomes sum_t (S_out^T delta_t)(S_in^T x_t)^T, k_out x k_in. The entries of S_out and S_in are
/// independent, of mean 0 and variance 1/k_out and 1/k_in, and of every tensor others, so that every product
/// of two projected gradients has the exact product for its mean.
namespace tangram {

/// Which gradients are projected, and to what.
struct Sketch {
    Index dimension = 0;  ///< k of every tensor: k_out k_in at most; 0: no sketch
    std::uint64_t seed = 1;
    std::vector<ParameterId> parameters = {};  ///< the tensors that are projected, ascending

    bool holds(ParameterId parameter) const;
};

/// k_out and k_in. A side that they do not make smaller is left as it is.
struct SketchShape {
    Index out, in;
    Index size() const { return out * in; }
};

/// The shape of at most `dimension` entries that errs least. For gradients of rank one the variance of an
/// entry of G is near 1/k_out + 1/k_in times the product of the squared norms [derived], hence k_out = k_in,
/// and where a side is smaller than that, all of it and the rest for the other. The whole, d_out x d_in,
/// where dimension >= d_out d_in.
SketchShape sketch_shape(Index d_out, Index d_in, Index dimension);

/// Entries from row to row of a random matrix of k columns: whole panels (products.hpp).
Index padded_columns(Index k);

enum class SketchSide : std::uint64_t { out = 1, in = 2 };

/// +1 or -1 with equal probability: a hash (SplitMix64's, Steele, Lea, Flood 2014) of its arguments, the same
/// on every machine. Local.
int random_sign(std::uint64_t seed, std::string_view tensor, SketchSide side, Index row, Index column);

/// The d x k matrix S of one side of a tensor, entries random_sign / sqrt(k), row-major with `stride` entries
/// from row to row, of which those behind k are zero. Local.
template <class Real>
std::vector<Real> sketch_matrix(std::uint64_t seed, std::string_view tensor, SketchSide side, Index d,
                                Index k, Index stride);

extern template std::vector<float> sketch_matrix(std::uint64_t, std::string_view, SketchSide, Index, Index,
                                                 Index);
extern template std::vector<double> sketch_matrix(std::uint64_t, std::string_view, SketchSide, Index, Index,
                                                  Index);

}  // namespace tangram
