#pragma once
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

/// exp and tanh without branches or tables, so that loops over them vectorise; one sequence of exactly
/// rounded operations per entry, so that an entry's bits do not depend on its place in a loop. Both reduce to
/// exp(r) = sum r^k / k!, |r| <= ln(2)/2, and fit 2 units in the last place
/// (tests/unit/model/elementary.cpp).
namespace tangram::elementary {

/// The formats' numbers. `degree`: the first term left out of the series is below a tenth of the precision.
template <class Real>
struct Format;
template <>
struct Format<float> {
    using Bits = std::uint32_t;
    using Signed = std::int32_t;
    static constexpr int mantissa = 23, degree = 7;
    static constexpr Bits bias = 127;
    static constexpr float lowest = -104.0F, highest = 89.0F;  // exp is 0 below and infinite from there on
    static constexpr float shift = 0x1.8p23F;  // x + shift: x rounded to an integer in the last bits
    static constexpr float ln2_high = 0x1.62e4p-1F, ln2_low = 0x1.7f7d1cp-20F;
};
template <>
struct Format<double> {
    using Bits = std::uint64_t;
    using Signed = std::int64_t;
    static constexpr int mantissa = 52, degree = 13;
    static constexpr Bits bias = 1023;
    static constexpr double lowest = -746.0, highest = 710.0;
    static constexpr double shift = 0x1.8p52;
    static constexpr double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33;
};

/// x = n ln 2 + r.
template <class Real>
struct Reduced {
    typename Format<Real>::Bits n;
    Real r;
};

template <class Real>
inline Reduced<Real> reduced(Real x) {
    using F = Format<Real>;
    constexpr Real log2_e = static_cast<Real>(1.44269504088896340735992468100189214L);
    const Real shifted = std::fma(x, log2_e, F::shift);
    const Real n = shifted - F::shift;
    const Real r = std::fma(-n, F::ln2_low, std::fma(-n, F::ln2_high, x));
    using Bits = typename F::Bits;
    return {std::bit_cast<Bits>(shifted) - std::bit_cast<Bits>(F::shift), r};
}

/// 1 / k!
template <class Real>
inline constexpr auto inverse_factorials = [] {
    std::array<Real, Format<Real>::degree + 1> inverse{};
    long double factorial = 1.0L;
    for (std::size_t k = 0; k < inverse.size(); ++k, factorial *= static_cast<long double>(k))
        inverse[k] = static_cast<Real>(1.0L / factorial);
    return inverse;
}();

/// sum over k >= first of c_k x^(k - first), in Horner's order.
template <std::size_t first = 0, class Real, std::size_t count>
inline Real polynomial(const std::array<Real, count>& c, Real x) {
    if constexpr (first + 1 == count)
        return c[first];
    else
        return std::fma(polynomial<first + 1>(c, x), x, c[first]);
}

/// 2^n of a normal number.
template <class Real>
inline Real power_of_two(typename Format<Real>::Bits n) {
    using F = Format<Real>;
    return std::bit_cast<Real>(static_cast<typename F::Bits>((n + F::bias) << F::mantissa));
}

template <class Real>
inline Real exp(Real x) {
    using F = Format<Real>;
    const bool zero = x < F::lowest;  // selected, as processors take long to round a result to zero
    const Real bounded = zero ? Real(0) : x;
    const auto [n, r] = reduced(bounded > F::highest ? F::highest : bounded);
    // In two steps, the last of which alone rounds: results may be subnormal.
    const auto half = static_cast<typename F::Bits>(static_cast<typename F::Signed>(n) >> 1);
    const Real power =
        polynomial(inverse_factorials<Real>, r) * power_of_two<Real>(half) * power_of_two<Real>(n - half);
    return zero ? Real(0) : power;
}

/// x + x^3 P(x^2) / Q(x^2) below 0.625 (the coefficients of Cephes, Moshier 1989), 1 - 2 / (exp(2x) + 1)
/// above.
template <class Real>
inline Real tanh(Real x) {
    constexpr std::array<Real, 3> P{Real(-1614.68768441708447952), Real(-99.2877231001918586564),
                                    Real(-0.964399179425052238628)};
    constexpr std::array<Real, 4> Q{Real(4844.06305325125486048), Real(2235.48839060100448583),
                                    Real(112.811678491632931402), Real(1)};
    const Real magnitude = std::abs(x), square = x * x;
    const bool small = magnitude < Real(0.625);
    const Real p = polynomial(P, square), q = polynomial(Q, square);
    const Real above = exp(Real(2) * magnitude) + Real(1);  // both are computed, so that loops vectorise
    const Real ratio = (small ? p : Real(2)) / (small ? q : above);
    const Real below = std::fma(magnitude * square, ratio, magnitude);
    const Real result = small ? below : Real(1) - ratio;
    return std::copysign(result, x);
}

}  // namespace tangram::elementary
