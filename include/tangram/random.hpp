#pragma once
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

#include "tangram/elementary.hpp"
#include "tangram/index.hpp"

/// Random numbers that follow from names and positions alone, so that every rank draws the same and in any
/// order.
namespace tangram::random {

/// The next number of SplitMix64 (Steele, Lea, Flood 2014) in this state.
inline std::uint64_t mixed(std::uint64_t state) {
    state += 0x9e3779b97f4a7c15ULL;
    state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9ULL;
    state = (state ^ (state >> 27)) * 0x94d049bb133111ebULL;
    return state ^ (state >> 31);
}

/// What the numbers of one tensor start from; the name goes in byte by byte.
inline std::uint64_t key_of(std::uint64_t seed, std::string_view tensor) {
    std::uint64_t key = mixed(seed);
    for (const char c : tensor) key = mixed(key ^ static_cast<unsigned char>(c));
    return key;
}

/// Standard normal number at a position of a tensor (Box, Muller 1958).
inline double normal(std::uint64_t key, Index position) {
    const std::uint64_t first = mixed(key ^ static_cast<std::uint64_t>(2 * position)),
                        second = mixed(key ^ static_cast<std::uint64_t>(2 * position + 1));
    const double radius = std::sqrt(-2 * elementary::log((static_cast<double>(first >> 11) + 1) * 0x1p-53));
    return radius * elementary::cos(2 * std::numbers::pi * static_cast<double>(second >> 11) * 0x1p-53);
}

}  // namespace tangram::random
