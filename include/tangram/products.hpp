#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#if defined(__AVX__)
#include <immintrin.h>
#endif

#include "tangram/index.hpp"

/// The one product that every bit of the Gram matrix comes from: blocks of sums over k of x_k y_k, each entry
/// one chain of fused multiply-adds in ascending k. How entries share registers, and how wide the processor's
/// vectors are, changes the speed and no bit.
namespace tangram::products {

// Before GCC decides what stays in registers: with AVX2 sums and x else go through memory, at a seventh of
// the speed. With AVX-512 it does without.
#if defined(__AVX512F__) || !defined(__GNUC__)
#define TANGRAM_UNROLLED
#else
#define TANGRAM_UNROLLED _Pragma("GCC unroll 32")
#endif

#if defined(__AVX512F__)
inline constexpr Index vector_bytes = 64;
#elif defined(__AVX__)
inline constexpr Index vector_bytes = 32;
#else
inline constexpr Index vector_bytes = 16;
#endif

/// Rows of a packed panel.
inline constexpr Index panel_rows = vector_bytes == 64 ? 32 : 24;
/// Rows and columns of a block, both divide panel_rows: the registers busy, none spilled. Two AVX-512
/// registers of float32 (four of float64) to 8 columns; where there are 16 registers, 3 to 4 columns: 12 for
/// sums, 3 for x, 1 for y.
template <class Real>
inline constexpr Index block_rows = vector_bytes == 64 ? 32
                                                       : 3 * vector_bytes / static_cast<Index>(sizeof(Real));
inline constexpr Index block_columns = vector_bytes == 64 ? 8 : 4;

/// A vector of entries that the processor works on at once; as many as it can unless said otherwise.
template <class Real, Index width = vector_bytes / static_cast<Index>(sizeof(Real))>
struct Vector {
    static constexpr Index lanes = width;
    typedef Real type __attribute__((vector_size(width * static_cast<Index>(sizeof(Real)))));
};

/// x y + sum, entry by entry, rounded once (twice on a processor without fused multiply-adds).
template <class Real, Index lanes, class V = typename Vector<Real, lanes>::type>
inline V fused(Real y, V x, V sum) {
    const V factor = y - V{};  // y in every lane; y - 0 is y, -0 too
    [[maybe_unused]] constexpr bool single = std::is_same_v<Real, float>;
#if defined(__AVX512F__)
    if constexpr (single && sizeof(V) == 64)
        return (V)_mm512_fmadd_ps((__m512)factor, (__m512)x, (__m512)sum);
    else if constexpr (sizeof(V) == 64)
        return (V)_mm512_fmadd_pd((__m512d)factor, (__m512d)x, (__m512d)sum);
    else
#endif
#if defined(__AVX__) && defined(__FMA__)
        if constexpr (single && sizeof(V) == 32)
        return (V)_mm256_fmadd_ps((__m256)factor, (__m256)x, (__m256)sum);
    else if constexpr (sizeof(V) == 32)
        return (V)_mm256_fmadd_pd((__m256d)factor, (__m256d)x, (__m256d)sum);
    else
#endif
    {
#if defined(__FP_FAST_FMAF) && defined(__FP_FAST_FMA)
        for (Index lane = 0; lane < lanes; ++lane) sum[lane] = std::fma(factor[lane], x[lane], sum[lane]);
#else
        sum += factor * x;
#endif
        return sum;
    }
}

/// sums[c * rows + r] (+)= sum_k x[k * x_stride + r] y[k * y_stride + c * y_step], r < rows, c < columns.
/// Local. `rows` is a multiple of the vector's lanes. Prefetches from `ahead` on, 64 bytes for every eight k,
/// where it is not nullptr.
template <Index rows, Index columns, bool accumulate, class Real>
inline void block_sums(const Real* x, Index x_stride, const Real* y, Index y_stride, Index y_step,
                       Index depth, Real* sums, const char* ahead = nullptr) {
    constexpr Index lanes = std::min(rows, Vector<Real>::lanes), vectors = rows / lanes;
    static_assert(rows % lanes == 0);
    using V = typename Vector<Real, lanes>::type;
    V running[columns][vectors];
    TANGRAM_UNROLLED
    for (Index c = 0; c < columns; ++c) {
        TANGRAM_UNROLLED
        for (Index v = 0; v < vectors; ++v) {
            if constexpr (accumulate)
                std::memcpy(&running[c][v], sums + c * rows + v * lanes, sizeof(V));
            else
                running[c][v] = V{};
        }
    }
    constexpr Index unrolled = 8;
    for (Index k = 0; k < depth; k += unrolled) {
        if (ahead != nullptr) {
            __builtin_prefetch(ahead, 0, 2);
            ahead += 64;
        }
        const Index end = std::min(unrolled, depth - k);
        for (Index u = 0; u < end; ++u, x += x_stride, y += y_stride) {
            V at[vectors];
            TANGRAM_UNROLLED
            for (Index v = 0; v < vectors; ++v) {
                std::memcpy(&at[v], x + v * lanes, sizeof(V));
#if defined(__AVX__) && !defined(__AVX512F__)
                asm("" : "+x"(at[v]));  // loaded once, not for every column
#endif
            }
            TANGRAM_UNROLLED
            for (Index c = 0; c < columns; ++c) {
                TANGRAM_UNROLLED
                for (Index v = 0; v < vectors; ++v)
                    running[c][v] = fused<Real, lanes>(y[c * y_step], at[v], running[c][v]);
            }
        }
    }
    TANGRAM_UNROLLED
    for (Index c = 0; c < columns; ++c) {
        TANGRAM_UNROLLED
        for (Index v = 0; v < vectors; ++v)
            std::memcpy(sums + c * rows + v * lanes, &running[c][v], sizeof(V));
    }
}

#undef TANGRAM_UNROLLED

}  // namespace tangram::products
