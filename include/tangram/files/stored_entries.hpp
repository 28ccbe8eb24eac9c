#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "tangram/index.hpp"

namespace tangram {

/// How a safetensors file stores the entries of a tensor, little-endian.
enum class DType { F64, F32, F16, BF16 };

static_assert(std::endian::native == std::endian::little,
              "stored entries are little-endian and read in place");

/// IEEE binary16 to binary32, exact: sign, exponent and fraction in binary32's places, the exponent counted
/// from 127 in place of 15. A subnormal number is a fraction of 2^-14, by way of the normal ones beside it.
constexpr float from_half(std::uint16_t half) {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
    const std::uint32_t magnitude = static_cast<std::uint32_t>(half & 0x7FFFU) << 13;
    const float subnormal = std::bit_cast<float>(magnitude + (113U << 23)) - 0x1p-14F;
    // Infinity and NaN have the largest exponent there and here.
    const std::uint32_t value = magnitude < 0x00800000U   ? std::bit_cast<std::uint32_t>(subnormal)
                                : magnitude < 0x0F800000U ? magnitude + (112U << 23)
                                                          : magnitude | 0x7F800000U;
    return std::bit_cast<float>(sign | value);
}

constexpr float from_brain_float(std::uint16_t stored) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(stored) << 16);
}

/// Calls work(entry), where entry(from, i) is the i-th of the entries of that type that begin at `from`, at
/// any address, in another precision: F16 and BF16 are exact in every other one.
template <class Real, class Work>
void with_entries(DType type, Work work) {
    const auto load = []<class Stored>(const std::byte* from, Index i, Stored) {
        Stored stored;
        std::memcpy(&stored, from + i * static_cast<Index>(sizeof stored), sizeof stored);
        return stored;
    };
    switch (type) {
        case DType::F64:
            return work(
                [=](const std::byte* from, Index i) { return static_cast<Real>(load(from, i, double())); });
        case DType::F32:
            return work(
                [=](const std::byte* from, Index i) { return static_cast<Real>(load(from, i, float())); });
        case DType::F16:
            return work([=](const std::byte* from, Index i) {
                return static_cast<Real>(from_half(load(from, i, std::uint16_t())));
            });
        case DType::BF16:
            return work([=](const std::byte* from, Index i) {
                return static_cast<Real>(from_brain_float(load(from, i, std::uint16_t())));
            });
    }
    throw std::logic_error("a type of entries that is none");
}

/// Bytes of one entry.
inline constexpr Index bytes_of(DType type) { return type == DType::F64 ? 8 : type == DType::F32 ? 4 : 2; }

/// The type that entries of a precision have.
template <class Real>
inline constexpr DType dtype_of = sizeof(Real) == 4 ? DType::F32 : DType::F64;

/// A matrix where it is stored, in its own type of entries: entry (o, k) is the one at o o_stride + k
/// k_stride behind the first. One of the strides is 1.
struct StoredMatrix {
    const std::byte* first;
    DType type;
    Index o_stride, k_stride;

    StoredMatrix transposed() const { return {first, type, k_stride, o_stride}; }
    const std::byte* at(Index o, Index k) const {
        return first + (o * o_stride + k * k_stride) * bytes_of(type);
    }
};

}  // namespace tangram
