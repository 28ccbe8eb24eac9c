#include "../src/model/elementary.hpp"

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
    }
    EXPECT_TRUE(std::isfinite(elementary::exp(largest)));
    EXPECT_TRUE(std::isnan(elementary::exp(this->nan)));
    EXPECT_TRUE(std::isnan(elementary::tanh(this->nan)));
}

TYPED_TEST(Elementary, BitsDoNotDependOnThePlaceInALoop) {
    using Real = TypeParam;
    std::vector<Real> x, e(100), t(100);
    for (int i = 0; i < 100; ++i) x.push_back(static_cast<Real>(5 * std::sin(1.0 + i)));
    for (std::size_t first = 0; first < 20; ++first) {
        for (std::size_t i = first; i < x.size(); ++i) {
            e[i] = elementary::exp(x[i]);
            t[i] = elementary::tanh(x[i]);
        }
        for (std::size_t i = first; i < x.size(); ++i) {
            volatile Real alone = x[i];
            EXPECT_EQ(e[i], elementary::exp(Real(alone)));
            EXPECT_EQ(t[i], elementary::tanh(Real(alone)));
        }
    }
}

}  // namespace
}  // namespace tangram
