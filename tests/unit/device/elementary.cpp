#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tangram/device/device.hpp"
#include "unit/device/elementary_table.hpp"

namespace tangram {
namespace {

#if defined(TANGRAM_HAS_CUDA)

/// Of all magnitudes and both signs, from subnormal ones on; zeros, infinities, NaN.
template <class Real>
std::vector<Real> arguments() {
    using Limits = std::numeric_limits<Real>;
    std::vector<Real> x{Real(0), Real(-0.0), Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN()};
    for (const Real largest : {Limits::max(), Real(800), Real(8), Real(1)}) {
        for (Real size = largest; size > 0; size *= Real(0.37))
            for (const Real sign : {Real(1), Real(-1)}) x.push_back(sign * size);
        for (int i = 0; i < 20000; ++i)
            x.push_back(largest * static_cast<Real>(std::sin(1.0 + 0.7310585786300049 * i)));
    }
    return x;
}

template <class Real>
void expect_the_bits_of_the_host(int functions) {
    using Bits = typename elementary::Format<Real>::Bits;
    const std::vector<Real> x = arguments<Real>();
    for (int f = 0; f < functions; ++f) {
        const std::vector<Real> found = testing::elementary_values_on_gpu(f, x);
        ASSERT_EQ(found.size(), x.size()) << "CUDA failed";
        Index wrong = 0;
        for (std::size_t i = 0; i < x.size(); ++i) {
            const Real expected = testing::elementary_value(f, x[i]);
            // Which NaN it is, IEEE 754 leaves open.
            wrong += !(std::bit_cast<Bits>(found[i]) == std::bit_cast<Bits>(expected) ||
                       (std::isnan(found[i]) && std::isnan(expected)));
        }
        EXPECT_EQ(wrong, 0) << "function " << f;
    }
}

TEST(ElementaryOnAGpu, HaveTheBitsOfTheHost) {
    if (usable_gpus().count() == 0) GTEST_SKIP() << usable_gpus().words;
    expect_the_bits_of_the_host<float>(testing::elementary_functions);
    expect_the_bits_of_the_host<double>(testing::elementary_functions_of_double);
}

#endif

}  // namespace
}  // namespace tangram
