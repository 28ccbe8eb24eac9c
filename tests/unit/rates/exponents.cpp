#include "tangram/rates/exponents.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/expect_error.hpp"
#include "unit/rates/normal.hpp"

namespace tangram {
namespace {

TEST(Exponents, OfAnExactPowerLaw) {
    const std::vector<double> sizes{100, 200, 400, 800};
    std::vector<double> values;
    for (const double n : sizes)
        for (const double factor : {1.0, 2.0, 0.5}) values.push_back(factor * std::pow(n, -0.6));
    const Interval found = power_law(sizes, values, 3);
    EXPECT_NEAR(found.value, 0.6, 1e-12);
    EXPECT_NEAR(found.high - found.low, 0, 1e-10);  // every repeat has the same slope
    EXPECT_NEAR(power_law(sizes, std::vector<double>{1, 0.5, 0.25, 0.125}, 1).value, 1.0, 1e-12);
    // A bend shows in the straight line's own error.
    const Interval bent = power_law(sizes, std::vector<double>{1, 0.5, 0.4, 0.39}, 1);
    EXPECT_GT(bent.high - bent.low, 0.3);
    testing::expect_error(ExitStatus::numerical, ErrorKind::out_of_range, {}, [&] {
        power_law(sizes, std::vector<double>{1, 0.5, 0, 0.1}, 1);
    });
    testing::expect_error(ExitStatus::numerical, ErrorKind::too_few, {},
                          [&] { power_law(sizes, values, 2); });
}

TEST(Exponents, IntervalsHoldTheTruth) {
    // Independent noise of 5 % at six sizes, five repeats: the spread of one repeat's slope is wider than the
    // mean's error by sqrt(5), so the interval covers nearly always, and never misses by more than it says in
    // one of 20.
    testing::Normal normal(9);
    const std::vector<double> sizes{64, 128, 256, 512, 1024, 2048};
    int covered = 0;
    for (int draw = 0; draw < 200; ++draw) {
        std::vector<double> values;
        for (const double n : sizes)
            for (int k = 0; k < 5; ++k) values.push_back(std::pow(n, -0.5) * std::exp(0.05 * normal()));
        const Interval found = power_law(sizes, values, 5);
        covered += found.low <= 0.5 && 0.5 <= found.high ? 1 : 0;
        EXPECT_LT(found.high - found.low, 0.2);
    }
    EXPECT_GE(covered, 190);
}

TEST(Exponents, SourceOfAKnownTarget) {
    // v_k^2 = k^-(2as+1): the power beyond rank k is k^-2as/(2as), to 1/k of itself; the tail beyond n is
    // missing.
    const Index n = 4000;
    const double a = 1.5;
    const DecayWindow window{5, 100};
    struct Case {
        double s, sigma, spread;
    };
    // The spread: standard deviation of the exponent over 200 draws (numpy).
    for (const auto& [s, sigma, spread] :
         {Case{0.25, 0.05, 0.0033}, Case{0.5, 0.05, 0.041}, Case{1, 0.005, 0.2}}) {
        std::vector<double> exact, noisy;
        testing::Normal normal(static_cast<std::uint64_t>(100 * s));
        for (Index k = 1; k <= n; ++k) {
            const double v =
                std::sqrt(static_cast<double>(n) * std::pow(static_cast<double>(k), -(2 * a * s + 1)));
            exact.push_back(v * v);
            noisy.push_back(std::pow(v + sigma * normal(), 2));
        }
        std::string why;
        const auto found = fit_source(exact, 0.0, a, 0, window, why);
        ASSERT_TRUE(found) << why;
        // The missing tail (n/k)^-2as and the step 1/k bend the slope by at most 0.1.
        EXPECT_NEAR(found->tail_exponent, 2 * a * s, 0.15) << s;
        EXPECT_NEAR(found->source, found->tail_exponent / (2 * a), 1e-12);
        EXPECT_NEAR(found->noisy, found->tail_exponent / (1 + found->tail_exponent), 1e-12);
        EXPECT_TRUE(std::isinf(found->crossover));
        const auto sampled = fit_source(noisy, sigma, a, 0, window, why);
        ASSERT_TRUE(sampled) << why;
        EXPECT_NEAR(sampled->tail_exponent, found->tail_exponent, 3 * spread) << s;
    }
}

/// l_k = (k + 20)^-2 and v_k^2 = (k + 20)^-4: 2 a s = 3, s = 3/4. On log k alone s would read as 0.28,
/// outside the kernel's space.
TEST(Exponents, SourceBehindAnOnsetIsOnTheDecaysAbscissa) {
    std::vector<double> squares;
    const Index n = 4000;
    for (Index k = 1; k <= n; ++k)
        squares.push_back(static_cast<double>(n) * std::pow(static_cast<double>(k) + 20, -4));
    std::string why;
    for (const Index last : {30, 50}) {
        const auto found = fit_source(squares, 0.0, 2, 20, {1, last}, why);
        ASSERT_TRUE(found) << why;
        // The tail beyond n that is missing is (70/4020)^3 = 5e-6 of the power, the sum's step 1e-4.
        EXPECT_NEAR(found->source, 0.75, 0.002);
    }
    const auto plain = fit_source(squares, 0.0, 2, 0, {1, 50}, why);
    ASSERT_TRUE(plain);
    EXPECT_LT(plain->source, 0.35);
}

TEST(Exponents, SourceSaysWhyThereIsNone) {
    testing::Normal normal(4);
    std::vector<double> noise, rising;
    for (int k = 1; k <= 1000; ++k) {
        noise.push_back(std::pow(normal(), 2));
        rising.push_back(1);
    }
    std::string why;
    EXPECT_FALSE(fit_source(noise, 1.0, 1.5, 0, {2, 50}, why));
    EXPECT_NE(why.find("sigma"), std::string::npos) << why;
    EXPECT_FALSE(fit_source(std::vector<double>(1000, 0.0), 0.0, 1.5, 0, {2, 50}, why));
    // Power that stands in the last ranks falls too slowly to be an exponent, but it falls.
    const auto flat = fit_source(rising, 0.0, 1.5, 0, {2, 50}, why);
    ASSERT_TRUE(flat);
    EXPECT_LT(flat->tail_exponent, 0.1);
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {}, [&] {
        fit_source(std::vector<double>{1, NAN}, 0.0, 1.5, 0, {1, 2}, why);
    });
    const RateExponent none = unknown_rate("observed", "nothing was seen");
    EXPECT_FALSE(none.known());
    EXPECT_EQ(none.note, "nothing was seen");
}

}  // namespace
}  // namespace tangram
