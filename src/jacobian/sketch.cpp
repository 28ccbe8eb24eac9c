#include "tangram/jacobian/sketch.hpp"

#include <algorithm>
#include <cmath>

namespace tangram {

namespace {

/// The next number of SplitMix64 in this state.
std::uint64_t mixed(std::uint64_t state) {
    state += 0x9e3779b97f4a7c15ULL;
    state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9ULL;
    state = (state ^ (state >> 27)) * 0x94d049bb133111ebULL;
    return state ^ (state >> 31);
}

/// What the signs of one side of a tensor start from; the name goes in byte by byte.
std::uint64_t key_of(std::uint64_t seed, std::string_view tensor, SketchSide side) {
    std::uint64_t key = mixed(seed);
    for (const char c : tensor) key = mixed(key ^ static_cast<unsigned char>(c));
    return mixed(key ^ static_cast<std::uint64_t>(side));
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
