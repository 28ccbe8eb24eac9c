#include "tangram/jacobian/sketch.hpp"

#include <algorithm>
#include <cmath>

#include "tangram/products.hpp"
#include "tangram/random.hpp"

namespace tangram {

namespace {

using random::mixed;

/// What the signs of one side of a tensor start from.
std::uint64_t key_of(std::uint64_t seed, std::string_view tensor, SketchSide side) {
    return mixed(random::key_of(seed, tensor) ^ static_cast<std::uint64_t>(side));
}

int sign_of(std::uint64_t row_key, Index column) {
    return (mixed(row_key ^ static_cast<std::uint64_t>(column)) >> 63) != 0 ? 1 : -1;
}

}  // namespace

bool Sketch::holds(ParameterId parameter) const {
    return std::binary_search(parameters.begin(), parameters.end(), parameter);
}

SketchShape sketch_shape(Index d_out, Index d_in, Index dimension) {
    auto root = static_cast<Index>(std::sqrt(static_cast<double>(dimension)));
    while (root * root > dimension) --root;
    while ((root + 1) * (root + 1) <= dimension) ++root;
    SketchShape shape{};
    shape.out = std::clamp<Index>(root, 1, d_out);
    shape.in = std::clamp<Index>(dimension / shape.out, 1, d_in);
    shape.out = std::clamp<Index>(dimension / shape.in, 1, d_out);
    return shape;
}

Index padded_columns(Index k) {
    return (k + products::panel_rows - 1) / products::panel_rows * products::panel_rows;
}

int random_sign(std::uint64_t seed, std::string_view tensor, SketchSide side, Index row, Index column) {
    return sign_of(mixed(key_of(seed, tensor, side) ^ static_cast<std::uint64_t>(row)), column);
}

template <class Real>
std::vector<Real> sketch_matrix(std::uint64_t seed, std::string_view tensor, SketchSide side, Index d,
                                Index k, Index stride) {
    std::vector<Real> matrix(static_cast<std::size_t>(d * stride), Real(0));
    const std::uint64_t key = key_of(seed, tensor, side);
    const auto size = static_cast<Real>(1 / std::sqrt(static_cast<double>(k)));
    for (Index row = 0; row < d; ++row) {
        const std::uint64_t row_key = mixed(key ^ static_cast<std::uint64_t>(row));
        for (Index column = 0; column < k; ++column)
            matrix[static_cast<std::size_t>(row * stride + column)] =
                sign_of(row_key, column) > 0 ? size : -size;
    }
    return matrix;
}

template std::vector<float> sketch_matrix(std::uint64_t, std::string_view, SketchSide, Index, Index, Index);
template std::vector<double> sketch_matrix(std::uint64_t, std::string_view, SketchSide, Index, Index, Index);

}  // namespace tangram
