#pragma once
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "tangram/host_device.hpp"

/// The elementary functions that bits of the Gram matrix come from: the C library's differ from one to the
/// next. Each is one sequence of additions, products, divisions and fused multiply-adds, every one rounded as
/// IEEE 754 has it, so that its bits are the same with any compiler that contracts nothing, on CPUs and GPUs
/// alike. exp, tanh and erf have no branches or tables, so that loops over them vectorise, and an entry's
/// bits do not depend on its place in a loop. All fit 2 units in the last place
/// (tests/unit/model/elementary.cpp). Coefficients that are no double are literals: a compiler's long double
/// is not the same everywhere.
namespace tangram::elementary {

/// Inlined whatever a compiler thinks of their size: only so does a loop over them vectorise.
#define TANGRAM_ELEMENTARY TANGRAM_HOST_DEVICE [[gnu::always_inline]] inline

/// The formats' numbers. `degree`: the first term left out of the series of exp is below a tenth of the
/// precision.
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
TANGRAM_ELEMENTARY Reduced<Real> reduced(Real x) {
    using F = Format<Real>;
    constexpr Real log2_e = static_cast<Real>(1.44269504088896340736);
    const Real shifted = std::fma(x, log2_e, F::shift);
    const Real n = shifted - F::shift;
    const Real r = std::fma(-n, F::ln2_low, std::fma(-n, F::ln2_high, x));
    using Bits = typename F::Bits;
    return {std::bit_cast<Bits>(shifted) - std::bit_cast<Bits>(F::shift), r};
}

/// sign^j / (first + step j)!, j < count. Each is rounded once: factorials up to 18! are doubles.
template <class Real, std::size_t count>
constexpr std::array<Real, count> inverse_factorials(int first = 0, int step = 1, int sign = 1) {
    std::array<Real, count> inverse{};
    for (std::size_t j = 0; j < count; ++j) {
        double factorial = 1;
        for (int k = 2; k <= first + step * static_cast<int>(j); ++k) factorial *= k;
        inverse[j] = static_cast<Real>((sign < 0 && j % 2 == 1 ? -1.0 : 1.0) / factorial);
    }
    return inverse;
}

/// sum over k >= first of c_k x^(k - first), in Horner's order.
template <std::size_t first = 0, class Real, std::size_t count>
TANGRAM_ELEMENTARY Real polynomial(const std::array<Real, count>& c, Real x) {
    if constexpr (first + 1 == count)
        return c[first];
    else
        return std::fma(polynomial<first + 1>(c, x), x, c[first]);
}

/// 2^n of a normal number.
template <class Real>
TANGRAM_ELEMENTARY Real power_of_two(typename Format<Real>::Bits n) {
    using F = Format<Real>;
    return std::bit_cast<Real>(static_cast<typename F::Bits>((n + F::bias) << F::mantissa));
}

/// exp(r) = sum r^k / k!, |r| <= ln(2)/2, times 2^n.
template <class Real>
TANGRAM_ELEMENTARY Real exp(Real x) {
    using F = Format<Real>;
    constexpr auto series = inverse_factorials<Real, F::degree + 1>();
    const bool zero = x < F::lowest;  // selected, as processors take long to round a result to zero
    const Real bounded = zero ? Real(0) : x;
    const auto [n, r] = reduced(bounded > F::highest ? F::highest : bounded);
    // In two steps, the last of which alone rounds: results may be subnormal.
    const auto half = static_cast<typename F::Bits>(static_cast<typename F::Signed>(n) >> 1);
    const Real power = polynomial(series, r) * power_of_two<Real>(half) * power_of_two<Real>(n - half);
    return zero ? Real(0) : power;
}

/// x + x^3 P(x^2) / Q(x^2) below 0.625 (the coefficients of Cephes, Moshier 1989), 1 - 2 / (exp(2x) + 1)
/// above.
template <class Real>
TANGRAM_ELEMENTARY Real tanh(Real x) {
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

/// The coefficients of erf (tools/reference/error_function.py): of its series, (-1)^k / (k! (2k + 1))
/// 2/sqrt(pi), less the first's 1, and of exp(x^2) erfc(x) in powers of (x - 2) / (x + 2), fitted on 1 <= x
/// <= `one`, where erf is 1 but for rounding.
template <class Real>
struct ErrorFunction;
template <>
struct ErrorFunction<float> {
    static constexpr float one = 4.0F;
    static constexpr std::size_t terms = 11;
    static constexpr std::array<float, 6> above() {
        return {2.55395677903787442607e-1F,  -4.27185853134231517812e-1F, 2.41657280176852731100e-1F,
                -7.89868297341670863856e-2F, 3.72997415227561505803e-3F,  7.21280698900284045059e-3F};
    }
};
template <>
struct ErrorFunction<double> {
    static constexpr double one = 6.0;
    static constexpr std::size_t terms = 19;
    static constexpr std::array<double, 13> above() {
        return {2.55395676310505759148e-1,  -4.27185847413956818927e-1, 2.41658194242469193411e-1,
                -7.89785810164137583349e-2, 3.73289239849602335530e-3,  6.99746178516696258189e-3,
                -8.47142590907872422433e-4, -9.81976462495872129944e-4, 4.35362400366626412051e-5,
                1.74288466025110380033e-4,  2.76222882108491736019e-5,  -2.66138277143084897204e-5,
                -1.26460299869906679449e-5};
    }
};
template <class Real>
constexpr std::array<Real, ErrorFunction<Real>::terms> error_function_series() {
    constexpr double series[] = {
        1.28379167095512573896e-1,   -3.76126389031837524632e-1,  1.12837916709551257390e-1,
        -2.68661706451312517594e-2,  5.22397762544218784211e-3,   -8.54832702345085283255e-4,
        1.20553329817896642510e-4,   -1.49256503584062509775e-5,  1.64621143658892474016e-6,
        -1.63658446912349243174e-7,  1.48071928158792172395e-8,   -1.22905553017179273530e-9,
        9.42275906465041097062e-11,  -6.71136685516411037793e-12, 4.46322426328647734493e-13,
        -2.78351620721092135490e-14, 1.63426140953671518943e-15,  -9.06397084280867247920e-17,
        4.76334804051506811970e-18};
    std::array<Real, ErrorFunction<Real>::terms> rounded{};
    for (std::size_t k = 0; k < rounded.size(); ++k) rounded[k] = static_cast<Real>(series[k]);
    return rounded;
}

/// x + x S(x^2) below 1 (Abramowitz, Stegun 1964, 7.1.5), 1 - exp(-x^2) R((x - 2) / (x + 2)) above.
template <class Real>
TANGRAM_ELEMENTARY Real erf(Real x) {
    using F = ErrorFunction<Real>;
    constexpr auto series = error_function_series<Real>();
    constexpr auto above = F::above();
    const Real magnitude = std::abs(x), bounded = magnitude > F::one ? F::one : magnitude;
    const Real square = bounded * bounded;
    const Real below = std::fma(bounded, polynomial(series, square), bounded);
    const Real rest = polynomial(above, (bounded - Real(2)) / (bounded + Real(2)));
    const Real result = bounded < Real(1) ? below : std::fma(-exp(-square), rest, Real(1));
    return std::copysign(result, x);
}

/// x = n pi/2 + high + low, |high + low| <= pi/4 but for rounding; |x| <= 2^30. Cody and Waite 1980, with
/// pi/2 in three doubles: x - n A is exact in one fused multiply-add, and what n B loses is kept.
struct QuarterTurns {
    std::uint64_t n;
    double high, low;
};
TANGRAM_HOST_DEVICE inline QuarterTurns quarter_turns(double x) {
    constexpr double A = 0x1.921fb54442d18p+0, B = 0x1.1a62633145c07p-54, C = -0x1.f1976b7ed8fbcp-110;
    constexpr double per_turn = 0x1.45f306dc9c883p-1, shift = Format<double>::shift;  // 2/pi
    const double shifted = std::fma(x, per_turn, shift), n = shifted - shift;
    const double r = std::fma(-n, A, x), product = n * B, lost = std::fma(n, B, -product);
    const double high = r - product, back = high - r;
    const double low = (r - (high - back)) - (product + back);  // Knuth's two-sum
    return {std::bit_cast<std::uint64_t>(shifted), high, low - std::fma(n, C, lost)};
}

/// sin and cos of high + low by their series to the 17th power.
TANGRAM_HOST_DEVICE inline double sine_of(double high, double low) {
    constexpr auto series = inverse_factorials<double, 8>(3, 2, -1);  // 1/3!, -1/5!, ...
    const double square = high * high;
    const double correction =
        std::fma(low, std::fma(-0.5, square, 1.0), -high * square * polynomial(series, square));
    return high + correction;
}
TANGRAM_HOST_DEVICE inline double cosine_of(double high, double low) {
    constexpr auto series = inverse_factorials<double, 7>(4, 2, -1);  // 1/4!, -1/6!, ...
    const double square = high * high, half = 0.5 * square, near = 1.0 - half;
    const double rest = std::fma(square * square, polynomial(series, square), -high * low);
    return near + (((1.0 - near) - half) + rest);
}

/// sin(x), or a quarter turn on; NaN beyond 2^30, where no position of a text is.
TANGRAM_HOST_DEVICE inline double sine_after(double x, std::uint64_t turns) {
    if (!(std::abs(x) <= 0x1p30)) return std::numeric_limits<double>::quiet_NaN();
    const QuarterTurns at = quarter_turns(x);
    const std::uint64_t quarter = at.n + turns;
    const double size = quarter % 2 == 0 ? sine_of(at.high, at.low) : cosine_of(at.high, at.low);
    return quarter % 4 < 2 ? size : -size;
}
TANGRAM_HOST_DEVICE inline double sin(double x) { return x == 0 ? x : sine_after(x, 0); }
TANGRAM_HOST_DEVICE inline double cos(double x) { return sine_after(x, 1); }

/// log(x) = high + low to some 2^-59 of it, x positive and finite: x = 2^k m, sqrt(1/2) <= m < sqrt(2), and
/// log(m) = 2 artanh(s), s = (m - 1) / (m + 1).
struct Logarithm {
    double high, low;
};
TANGRAM_HOST_DEVICE inline Logarithm logarithm(double x) {
    using F = Format<double>;
    constexpr std::uint64_t root_half = std::bit_cast<std::uint64_t>(0x1.6a09e667f3bcdp-1);
    constexpr std::array<double, 10> series{1.0 / 3,  1.0 / 5,  1.0 / 7,  1.0 / 9,  1.0 / 11,
                                            1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19, 1.0 / 21};
    const bool subnormal = x < std::numeric_limits<double>::min();
    const std::uint64_t bits = std::bit_cast<std::uint64_t>(subnormal ? x * 0x1p54 : x);
    const std::int64_t exponent = static_cast<std::int64_t>(bits - root_half) >> F::mantissa;
    const double m = std::bit_cast<double>(bits - (static_cast<std::uint64_t>(exponent) << F::mantissa));
    const double k = static_cast<double>(exponent) - (subnormal ? 54.0 : 0.0);
    const double above = m - 1.0, below = m + 1.0, lost = m - (below - 1.0);
    const double s = above / below, square = s * s;
    const double rest = (std::fma(-s, below, above) - s * lost) / below;
    const double whole = k * F::ln2_high;  // exact: 32 bits times 11
    const double high = whole + 2.0 * s, cut = 2.0 * s - (high - whole);
    const double tail = 2.0 * std::fma(s * square, polynomial(series, square), rest);
    const double low = cut + std::fma(k, F::ln2_low, tail);
    const double sum = high + low;
    return {sum, low - (sum - high)};
}

TANGRAM_HOST_DEVICE inline double log(double x) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    if (x > 0 && x < infinity) return logarithm(x).high;
    return x == 0 ? -infinity : x == infinity ? infinity : std::numeric_limits<double>::quiet_NaN();
}

/// x^y = exp(y log(x)), x positive and finite; fits as the others where |y log(x)| <= 300.
TANGRAM_HOST_DEVICE inline double pow(double x, double y) {
    const Logarithm of_x = logarithm(x);
    const double product = y * of_x.high, rest = std::fma(y, of_x.low, std::fma(y, of_x.high, -product));
    const double power = exp(product);
    return std::fma(power, rest, power);
}

#undef TANGRAM_ELEMENTARY

}  // namespace tangram::elementary
