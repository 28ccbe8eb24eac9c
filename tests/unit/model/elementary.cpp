#include "tangram/elementary.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace tangram {
namespace {

template <class Real>
class Elementary : public ::testing::Test {
  protected:
    static constexpr Real infinity = std::numeric_limits<Real>::infinity();
    static constexpr Real nan = std::numeric_limits<Real>::quiet_NaN();

    /// |found - expected| in units in the last place of the expected number.
    static long double error(Real found, long double expected) {
        const Real near = std::abs(static_cast<Real>(expected));
        return std::abs(static_cast<long double>(found) - expected) /
               static_cast<long double>(std::nextafter(near, infinity) - near);
    }
    /// Arguments of both signs and all magnitudes up to `largest`, from subnormal ones on, with full
    /// mantissas.
    static std::vector<Real> arguments(Real largest) {
        std::vector<Real> x;
        for (Real size = largest; size > 0; size *= Real(0.37))
            for (const Real sign : {Real(1), Real(-1)}) x.push_back(sign * size);
        for (int i = 0; i < 200000; ++i)
            x.push_back(largest *
                        static_cast<Real>(std::sin(1.0 + 0.7310585786300049 * static_cast<double>(i))));
        return x;
    }
};

using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Elementary, Reals);

TYPED_TEST(Elementary, ExpFitsTheLongDoubleFunction) {
    using Real = TypeParam;
    const Real largest = std::nextafter(std::log(std::numeric_limits<Real>::max()), Real(0));
    long double worst = 0;
    for (const Real scale : {largest, largest / 64, Real(1)})
        for (const Real x : this->arguments(scale))
            worst = std::max(worst, this->error(elementary::exp(x), std::exp(static_cast<long double>(x))));
    EXPECT_TRUE(worst <= 1.0L) << worst;
    // Subnormal results too.
    const Real smallest = std::log(std::numeric_limits<Real>::min());
    for (Real x = smallest; x > Real(1.25) * smallest; x -= Real(0.0137))
        EXPECT_TRUE(this->error(elementary::exp(x), std::exp(static_cast<long double>(x))) <= 1.0L) << x;
}

TYPED_TEST(Elementary, TanhFitsTheLongDoubleFunction) {
    using Real = TypeParam;
    long double worst = 0;
    for (const Real scale : {Real(25), Real(1), Real(0.05)})
        for (const Real x : this->arguments(scale))
            worst = std::max(worst, this->error(elementary::tanh(x), std::tanh(static_cast<long double>(x))));
    EXPECT_TRUE(worst <= 2.0L) << worst;
}

TYPED_TEST(Elementary, ErfFitsTheLongDoubleFunction) {
    using Real = TypeParam;
    long double worst = 0;
    for (const Real scale : {Real(7), Real(1.5), Real(0.05)})
        for (const Real x : this->arguments(scale))
            worst = std::max(worst, this->error(elementary::erf(x), std::erf(static_cast<long double>(x))));
    EXPECT_TRUE(worst <= 1.5L) << worst;
}

TYPED_TEST(Elementary, GrowingFunctionsGrow) {
    using Real = TypeParam;
    // Steps of 16 units in the last place of x or of 1: beyond them no rounding reaches.
    for (const Real step : {Real(16) * std::numeric_limits<Real>::epsilon(), Real(1) / Real(4096)})
        for (const Real near : {Real(-6), Real(-1), Real(-0.625), Real(0), Real(0.625), Real(1), Real(2)}) {
            Real e = elementary::exp(near), t = elementary::tanh(near), f = elementary::erf(near);
            for (int i = 1; i < 8192; ++i) {
                const Real x = near + Real(i) * step * std::max(Real(1), std::abs(near));
                EXPECT_LE(e, elementary::exp(x)) << x;
                EXPECT_LE(t, elementary::tanh(x)) << x;
                EXPECT_LE(f, elementary::erf(x)) << x;
                e = elementary::exp(x);
                t = elementary::tanh(x);
                f = elementary::erf(x);
            }
        }
}

TYPED_TEST(Elementary, ExtremesAreThoseOfTheStandardFunctions) {
    using Real = TypeParam;
    using Limits = std::numeric_limits<Real>;

    const Real largest = std::nextafter(std::log(Limits::max()), Real(0));
    const auto same = [](Real a, Real b) {
        return std::bit_cast<typename elementary::Format<Real>::Bits>(a) ==
               std::bit_cast<typename elementary::Format<Real>::Bits>(b);
    };
    for (const Real x : {this->infinity, -this->infinity, Real(0), Real(-0.0), Limits::max(),
                         Limits::lowest(), Limits::min(), -Limits::min(), Limits::denorm_min(),
                         -Limits::denorm_min(), Real(1000), Real(-1000), largest + Real(1)}) {
        EXPECT_TRUE(same(elementary::exp(x), std::exp(x))) << x << ": " << elementary::exp(x);
        EXPECT_TRUE(same(elementary::tanh(x), std::tanh(x))) << x << ": " << elementary::tanh(x);
        EXPECT_TRUE(same(elementary::erf(x), std::erf(x))) << x << ": " << elementary::erf(x);
    }
    EXPECT_TRUE(std::isfinite(elementary::exp(largest)));
    EXPECT_TRUE(std::isnan(elementary::exp(this->nan)));
    EXPECT_TRUE(std::isnan(elementary::tanh(this->nan)));
    EXPECT_TRUE(std::isnan(elementary::erf(this->nan)));
}

TYPED_TEST(Elementary, BitsDoNotDependOnThePlaceInALoop) {
    using Real = TypeParam;
    std::vector<Real> x, e(100), t(100), f(100);
    for (int i = 0; i < 100; ++i) x.push_back(static_cast<Real>(5 * std::sin(1.0 + i)));
    for (std::size_t first = 0; first < 20; ++first) {
        for (std::size_t i = first; i < x.size(); ++i) {
            e[i] = elementary::exp(x[i]);
            t[i] = elementary::tanh(x[i]);
            f[i] = elementary::erf(x[i]);
        }
        for (std::size_t i = first; i < x.size(); ++i) {
            volatile Real alone = x[i];
            EXPECT_EQ(e[i], elementary::exp(Real(alone)));
            EXPECT_EQ(t[i], elementary::tanh(Real(alone)));
            EXPECT_EQ(f[i], elementary::erf(Real(alone)));
        }
    }
}

using ElementaryDouble = Elementary<double>;

TEST_F(ElementaryDouble, SineAndCosineFitTheLongDoubleFunctions) {
    // Beside multiples of pi/2 too, where all but the last bits cancel.
    std::vector<double> x = arguments(0x1p30);
    for (const double largest : {1e6, 4096.0, 8.0, 1.0})
        for (const double at : arguments(largest)) x.push_back(at);
    for (int n = -3000; n <= 3000; ++n) {
        const double multiple = n * 1.57079632679489661923;
        for (const double at : {multiple, std::nextafter(multiple, 1e9), std::nextafter(multiple, -1e9)})
            x.push_back(at);
    }
    long double worst = 0;
    for (const double at : x) {
        worst = std::max(worst, error(elementary::sin(at), std::sin(static_cast<long double>(at))));
        worst = std::max(worst, error(elementary::cos(at), std::cos(static_cast<long double>(at))));
    }
    EXPECT_TRUE(worst <= 1.0L) << worst;
    EXPECT_TRUE(std::signbit(elementary::sin(-0.0)));
    EXPECT_EQ(elementary::cos(-0.0), 1.0);
    for (const double beyond : {0x1p31, -0x1p31, infinity, -infinity, nan}) {
        EXPECT_TRUE(std::isnan(elementary::sin(beyond))) << beyond;
        EXPECT_TRUE(std::isnan(elementary::cos(beyond))) << beyond;
    }
}

TEST_F(ElementaryDouble, LogAndPowFitTheLongDoubleFunctions) {
    long double worst_log = 0, worst_pow = 0;
    std::vector<double> positive;
    for (const double largest : {std::numeric_limits<double>::max(), 1e6, 2.0})
        for (const double x : arguments(largest))
            if (x > 0) positive.push_back(x);
    for (int i = -1000; i <= 1000; ++i) positive.push_back(1.0 + i * 0x1p-50);
    for (std::size_t i = 0; i < positive.size(); ++i) {
        const double x = positive[i], y = std::sin(static_cast<double>(i));
        const auto exact = static_cast<long double>(x);
        worst_log = std::max(worst_log, error(elementary::log(x), std::log(exact)));
        worst_pow =
            std::max(worst_pow, error(elementary::pow(x, y), std::pow(exact, static_cast<long double>(y))));
    }
    EXPECT_TRUE(worst_log <= 1.0L) << worst_log;
    EXPECT_TRUE(worst_pow <= 2.0L) << worst_pow;
    // Of many steps: what optimizers raise to their number.
    for (const double x : {0.9, 0.999, 1.001, 3.0})
        for (double y = 1; y * std::abs(std::log(x)) <= 300; y = std::ceil(1.01 * y)) {
            const long double exact = std::pow(static_cast<long double>(x), static_cast<long double>(y));
            EXPECT_TRUE(error(elementary::pow(x, y), exact) <= 2.0L) << x << " " << y;
        }
    EXPECT_EQ(elementary::pow(0.9, 1e6), 0.0);
    EXPECT_EQ(elementary::pow(10000.0, 0.0), 1.0);
    EXPECT_EQ(elementary::log(0.0), -infinity);
    EXPECT_EQ(elementary::log(-0.0), -infinity);
    EXPECT_EQ(elementary::log(infinity), infinity);
    EXPECT_TRUE(!std::signbit(elementary::log(1.0)) && elementary::log(1.0) == 0);
    for (const double x : {-1.0, -infinity, nan}) EXPECT_TRUE(std::isnan(elementary::log(x))) << x;
}

}  // namespace
}  // namespace tangram
