#include "tangram/rates/exponents.hpp"

#include <gtest/gtest.h>

#include <Eigen/LU>
#include <algorithm>
#include <cmath>
#include <vector>

#include "support/expect_error.hpp"
#include "tangram/rates/falling_error.hpp"
#include "tangram/rates/student.hpp"
#include "unit/rates/normal.hpp"

namespace tangram {
namespace {

using testing::Normal;

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
    // One repeat of two sizes shows neither spread nor bend.
    const Interval bare = power_law(std::vector<double>{10, 20}, std::vector<double>{1, 0.5}, 1);
    EXPECT_TRUE(std::abs(bare.value - 1) < 1e-12 && std::isnan(bare.low) && std::isnan(bare.high));
    testing::expect_error(ExitStatus::numerical, ErrorKind::out_of_range, {}, [&] {
        power_law(sizes, std::vector<double>{1, 0.5, 0, 0.1}, 1);
    });
    testing::expect_error(ExitStatus::numerical, ErrorKind::too_few, {},
                          [&] { power_law(sizes, values, 2); });
}

TEST(Exponents, IntervalsOfASlopeByHand) {
    // Three sizes one doubling apart: the second difference D of the logarithms leaves D^2/6, of one degree
    // of freedom, and the logarithms of the sizes 2 (log 2)^2; Student's quantile of one degree is 12.706.
    const double second = 2 * std::log(2.0) + std::log(0.3);
    const Interval bent = power_law(std::vector<double>{100, 200, 400}, std::vector<double>{1, 0.5, 0.3}, 1);
    EXPECT_NEAR(bent.high - bent.value, 12.706 * std::abs(second) / (std::sqrt(12.0) * std::log(2.0)), 1e-9);
    EXPECT_NEAR(bent.value - bent.low, bent.high - bent.value, 1e-12);
    // Four, L apart, of logarithms 0, -L, -L, -2 L: about their mean the sum of squares is 2 L^2, of which
    // the line of slope 3/5 takes 9/5 L^2; two degrees, 4.303.
    const std::vector<double> steps{1, 0.5, 0.5, 0.25};
    const double L = std::log(2.0), slope = 0.6, rest = 0.2 * L * L, xx = 5 * L * L;
    const Interval stairs = power_law(std::vector<double>{100, 200, 400, 800}, steps, 1);
    EXPECT_NEAR(stairs.value, slope, 1e-12);
    EXPECT_NEAR(stairs.high - stairs.value, 4.303 * std::sqrt(rest / 2 / xx), 1e-9);
    // Two sizes, slopes 0.4, 0.6 and 0.8: their standard deviation is 0.2, of two degrees.
    const Interval three =
        power_law(std::vector<double>{1, 2},
                  std::vector<double>{1, 1, 1, std::pow(2, -0.4), std::pow(2, -0.6), std::pow(2, -0.8)}, 3);
    EXPECT_NEAR(three.high - three.value, 4.303 * 0.2, 1e-9);
    // An exponent with the spread of halves does not go below zero.
    EXPECT_EQ(with_spread(0.1, std::vector<double>{0, 1})->low, 0);
}

TEST(Exponents, IntervalsOfTheSourceJoinThoseOfBothSlopes) {
    // s = 1/4 is low where the tail is low and the decay steep: ratios 1.25 and 1.5; high where it is the
    // other way round: 1.5 and 2/1.9.
    const SourceCapacity found =
        source_and_capacity({{1, 0.8, 1.5}, 1, {0.1, 0.05, 0.2}}, {2, 1.9, 3}, 0, true);
    const auto joined = [](double a, double b) {
        return std::exp(std::sqrt(std::log(a) * std::log(a) + std::log(b) * std::log(b)));
    };
    EXPECT_NEAR(found.source.value, 0.25, 1e-15);
    EXPECT_NEAR(found.source.low, 0.25 / joined(1.25, 1.5), 1e-12);
    EXPECT_NEAR(found.source.high, 0.25 * joined(1.5, 2 / 1.9), 1e-12);
}

TEST(Exponents, IntervalsHoldTheTruth) {
    // Independent noise of 5 % at six sizes, five repeats: the spread of one repeat's slope is wider than the
    // mean's error by sqrt(5), so the interval covers nearly always, and never misses by more than it says in
    // one of 20.
    Normal normal(9);
    const std::vector<double> sizes{64, 128, 256, 512, 1024, 2048};
    int covered = 0;
    for (int draw = 0; draw < 200; ++draw) {
        std::vector<double> values;
        for (const double n : sizes)
            for (int k = 0; k < 5; ++k) values.push_back(std::pow(n, -0.5) * std::exp(0.05 * normal()));
        const Interval found = power_law(sizes, values, 5);
        covered += found.low <= 0.5 && 0.5 <= found.high ? 1 : 0;
        EXPECT_LT(found.high - found.low, 0.25);
    }
    EXPECT_GE(covered, 190);
}

/// v_k^2 = ((k + onset)/(1 + onset))^-(1+tail) of n rows with noise; `exact`: every coefficient its own mean.
std::vector<double> squares_of(Index n, double tail, double onset, double sigma, Normal* normal) {
    std::vector<double> squares;
    for (Index k = 1; k <= n; ++k) {
        const double rank = (static_cast<double>(k) + onset) / (1 + onset),
                     mean = static_cast<double>(n) * std::pow(rank, -(1 + tail)) + sigma * sigma;
        squares.push_back(normal != nullptr ? mean * std::pow((*normal)(), 2) : mean);
    }
    return squares;
}

TEST(Exponents, TheTargetsPowerIsRead) {
    const Index n = 600;
    for (const double tail : {0.3, 1.5, 3.0})
        for (const double onset : {0.0, 20.0})
            for (const double sigma : {0.0, 0.3}) {
                std::string why;
                const auto found =
                    fit_target_power(squares_of(n, tail, onset, sigma, nullptr), {onset, 0, {1, n}}, why);
                ASSERT_TRUE(found) << why;
                // Means in place of draws are the likelihood's own; what is left is the search's resolution.
                EXPECT_NEAR(found->tail_exponent.value, tail, 4e-3) << onset << " " << sigma;
                EXPECT_NEAR(found->noise.value, sigma, 1e-2) << tail << " " << onset;
                const double constant = std::pow(1 + onset, 1 + tail);
                EXPECT_NEAR(found->constant / constant, 1, 0.05) << tail << " " << onset;
                const SourceCapacity source = source_and_capacity(*found, {1.5, 1.4, 1.6}, onset, true);
                EXPECT_NEAR(source.source.value, tail / 3, 2e-3);
                EXPECT_NEAR(source.noisy.high, found->tail_exponent.high / (1 + found->tail_exponent.high),
                            1e-12);
                if (sigma > 0) {  // constant/tail (k + 1/2 + onset)^-tail = sigma^2
                    const double at = std::pow(constant / (tail * sigma * sigma), 1 / tail) - 0.5 - onset;
                    EXPECT_NEAR(source.crossover, std::max(0.0, at), 0.1 * std::max(1.0, at));
                }
            }
}

TEST(Exponents, NothingBoundsASourceWithoutALaw) {
    const TargetPower power{{0.4, 0.2, 0.6}, 1, {0.1, 0.05, 0.2}}, at_limit{{0, 0, 0.1}, 1, {0.1, 0.05, 0.2}};
    EXPECT_TRUE(source_and_capacity(power, {2, 1.9, 2.1}, 0, true).outside());  // s = 0.1
    for (const SourceCapacity& found : {source_and_capacity(power, {2, 1.9, 2.1}, 0, false),
                                        source_and_capacity(at_limit, {2, 1.9, 2.1}, 0, true)}) {
        EXPECT_FALSE(found.outside());
        EXPECT_FALSE(found.inside());
    }
}

TEST(Exponents, IntervalsOfTheTargetsPowerHoldIt) {
    // 24 draws of chi-squared coefficients, the likelihood's own law: fewer than 20 covered once in 160
    // tries.
    const Index n = 300;
    for (const double given : {0.0, 0.3}) {
        Normal normal(21);
        int tail = 0, noise = 0;
        for (int draw = 0; draw < 24; ++draw) {
            std::string why;
            const auto found = fit_target_power(squares_of(n, 1.2, 0, 0.3, &normal), {0, given, {1, n}}, why);
            ASSERT_TRUE(found) << why;
            const auto &t = found->tail_exponent, &s = found->noise;
            tail += t.low <= 1.2 && 1.2 <= t.high ? 1 : 0;
            noise += s.low <= 0.3 && 0.3 <= s.high ? 1 : 0;
            EXPECT_GE(s.value, given - 1e-12);
            EXPECT_GE(s.low, given - 1e-12);
        }
        EXPECT_GE(tail, 20) << given;
        EXPECT_GE(noise, 20) << given;
    }
}

/// The likelihood of fit_target_power over the first ranks, by nested ternary searches: half the sum of
/// log m_k + z_k^2/m_k, m_k = signal k^-(1 + tail) + floor.
struct LikelihoodByHand {
    std::vector<double> squares;
    Index ranks;
    double floor = 0;  ///< of the last call

    template <class Function>
    static std::pair<double, double> least(double low, double high, int rounds, Function&& function) {
        for (int k = 0; k < rounds; ++k) {
            const double third = (high - low) / 3;
            if (function(low + third) < function(high - third))
                high -= third;
            else
                low += third;
        }
        return {0.5 * (low + high), function(0.5 * (low + high))};
    }
    double at(double tail, double log_signal, double log_floor) const {
        double sum = 0;
        for (Index k = 1; k <= ranks; ++k) {
            const double mean =
                std::exp(log_signal) * std::pow(static_cast<double>(k), -(1 + tail)) + std::exp(log_floor);
            sum += 0.5 * (std::log(mean) + squares[static_cast<std::size_t>(k - 1)] / mean);
        }
        return sum;
    }
    double profile(double tail) {
        const auto of_floor = [&](double log_floor) {
            return least(-6, 10, 24, [&](double log_signal) { return at(tail, log_signal, log_floor); })
                .second;
        };
        const auto [log_floor, found] = least(-6, 3, 24, of_floor);
        floor = std::exp(log_floor);
        return found;
    }
    double best_tail() {
        return least(-0.5, 4, 20, [&](double tail) { return profile(tail); }).first;
    }
    /// Where the profile leaves the best by 3.84 over two.
    double end(double best, double outside) {
        const double allowed = profile(best) + 0.5 * 3.8415;
        for (int k = 0; k < 14; ++k) {
            const double middle = 0.5 * (best + outside);
            (profile(middle) <= allowed ? best : outside) = middle;
        }
        return best;
    }
};

TEST(Exponents, IntervalsOfTheTargetsPowerByBruteForce) {
    // A tail of 2 over a floor that is lower at the second half of the ranks, and a scatter around 3/4 of
    // them.
    std::vector<double> squares;
    for (int k = 1; k <= 100; ++k)
        squares.push_back(((k <= 50 ? 1.5 : 0.5) + 3000 * std::pow(k, -3.0)) *
                          (0.75 + std::cos(2.0 * k) + 0.25 * std::cos(5.0 * k)));
    // Of ranks 1 to 100, and 1 to 1 + 100/2.
    LikelihoodByHand whole{squares, 100}, half{squares, 51};
    const double tail = whole.best_tail(), drift = 1.96 * (half.best_tail() - tail);
    const double floor = (whole.profile(tail), whole.floor);
    const double low = whole.end(tail, -0.5), at_low = whole.floor, high = whole.end(tail, 8),
                 at_high = whole.floor;
    std::string why;
    const auto found = fit_target_power(squares, {0, 0, {1, 100}}, why);
    ASSERT_TRUE(found) << why;
    EXPECT_NEAR(found->tail_exponent.value, tail, 0.01);
    EXPECT_NEAR(found->tail_exponent.low, std::max(0.0, tail - std::hypot(tail - low, drift)), 0.02);
    EXPECT_NEAR(found->tail_exponent.high, tail + std::hypot(high - tail, drift), 0.02);
    const double sampling = 1.96 * std::sqrt(2.0 / 100);
    EXPECT_NEAR(found->noise.value, std::sqrt(floor), 0.01);
    EXPECT_NEAR(found->noise.low, std::sqrt(std::min({floor, at_low, at_high}) * (1 - sampling)), 0.01);
    EXPECT_NEAR(found->noise.high, std::sqrt(std::max({floor, at_low, at_high}) * (1 + sampling)), 0.01);
}

// The likelihood alone prefers a power of no sum: the interval is that of the exponents from 0 on, and so is
// the floor; not the sliver that the other interval leaves above 0.
TEST(Exponents, ATargetsPowerHasASum) {
    std::vector<double> squares;
    for (int k = 1; k <= 200; ++k)
        squares.push_back((0.4 + 12 * std::pow(k, -0.75)) *
                          (0.75 + std::cos(2.0 * k) + 0.25 * std::cos(5.0 * k)));
    LikelihoodByHand whole{squares, 200}, half{squares, 101};
    EXPECT_LT(whole.best_tail(), -0.05);
    const double drift = 1.96 * std::max(0.0, half.best_tail());
    const double floor = (whole.profile(0), whole.floor), high = whole.end(0, 8), at_high = whole.floor;
    std::string why;
    const auto found = fit_target_power(squares, {0, 0, {1, 200}}, why);
    ASSERT_TRUE(found) << why;
    EXPECT_EQ(found->tail_exponent.value, 0);
    EXPECT_EQ(found->tail_exponent.low, 0);
    EXPECT_NEAR(found->tail_exponent.high, std::hypot(high, drift), 0.02);
    EXPECT_NEAR(found->noise.value, std::sqrt(floor), 0.01);
    EXPECT_NEAR(found->noise.high, std::sqrt(std::max(floor, at_high) * (1 + 1.96 * std::sqrt(2.0 / 200))),
                0.01);
}

TEST(Exponents, APowerIsToldFromNoiseByTwiceTheLogLikelihood) {
    // Two parameters more than one level for all take 5.99, chi-squared's quantile of two degrees.
    int told = 0, near = 0;
    for (const double power : {0.0, 7.0, 10.0, 14.0, 20.0}) {
        std::vector<double> squares;
        double mean = 0;
        for (int k = 1; k <= 40; ++k) {
            squares.push_back((1 + power * std::pow(k, -1.5)) * (0.75 + 0.6 * std::cos(2.0 * k)));
            mean += squares.back() / 40;
        }
        LikelihoodByHand hand{squares, 40};
        const double gained = 40 * (std::log(mean) + 1) - 2 * hand.profile(hand.best_tail());
        std::string why;
        EXPECT_EQ(fit_target_power(squares, {0, 0, {1, 40}}, why).has_value(), gained > 5.99) << gained;
        told += gained > 5.99 ? 1 : 0;
        near += gained > 3 && gained < 9 ? 1 : 0;
    }
    EXPECT_EQ(told, 2);
    EXPECT_GE(near, 2);
}

TEST(Exponents, TheTargetsPowerSaysWhyThereIsNone) {
    Normal normal(4);
    std::vector<double> noise, rising;
    for (int k = 1; k <= 1000; ++k) {
        noise.push_back(std::pow(normal(), 2));
        rising.push_back(k);
    }
    std::string why;
    EXPECT_FALSE(fit_target_power(noise, {0, 0, {2, 1000}}, why));
    EXPECT_NE(why.find("sigma = 1"), std::string::npos) << why;
    for (const auto& squares : {rising, std::vector<double>(1000, 0.0), std::vector<double>(1000, 1.0)})
        EXPECT_FALSE(fit_target_power(squares, {0, 0, {2, 1000}}, why));
    EXPECT_FALSE(fit_target_power(squares_of(20, 1, 0, 0, nullptr), {0, 0, {1, 20}}, why));
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {}, [&] {
        fit_target_power(std::vector<double>{1, NAN}, {0, 0, {1, 2}}, why);
    });
    const RateExponent none = unknown_rate("observed", "nothing was seen");
    EXPECT_FALSE(none.known());
    EXPECT_EQ(none.note, "nothing was seen");
}

TEST(Exponents, AFallingErrorHasALimit) {
    const std::vector<double> sizes{128, 256, 512, 1024, 2048};
    const auto errors = [&](double limit, double exponent, double spread, std::uint64_t seed) {
        Normal normal(seed);
        std::vector<double> values;
        for (const double n : sizes)
            for (int k = 0; k < 5; ++k)
                values.push_back(limit + 10 * std::pow(n, -exponent) + spread * normal());
        return values;
    };
    // Without spread only the search's resolution is left.
    const FallingError exact = falling_error({sizes, errors(0.3, 0.7, 0, 1), 5});
    EXPECT_EQ(exact.none, "");
    EXPECT_NEAR(exact.exponent.value, 0.7, 1e-4);
    EXPECT_NEAR(exact.limit.value, 0.3, 1e-4);
    // Limit and exponent are told together: where the limit is known from below, so is the exponent.
    const auto values = errors(0.3, 0.7, 0.003, 2);
    const FallingError free = falling_error({sizes, values, 5}),
                       held = falling_error({sizes, values, 5, INFINITY, 0.2999});
    EXPECT_LT(held.exponent.high - held.exponent.low, free.exponent.high - free.exponent.low);
    EXPECT_GE(held.limit.low, 0.2999);
    // No fall; a fall that is over after one size; five sizes of one run each, of which six have a rate.
    const std::vector<double> doubled{1, 2, 4, 8, 16, 32}, falling{1.3, 1, 0.8, 0.65, 0.55, 0.48};
    EXPECT_EQ(falling_error({doubled, falling, 1}).none, "");
    for (const auto& none : {falling_error({sizes, errors(0.3, 30, 0.003, 3), 5}),
                             falling_error({std::vector<double>{1, 100, 200, 400, 800, 1600},
                                            std::vector<double>{10.3, 0.3, 0.3, 0.3, 0.3, 0.3}, 1}),
                             falling_error({std::vector(doubled.begin(), doubled.end() - 1),
                                            std::vector(falling.begin(), falling.end() - 1), 1})}) {
        EXPECT_NE(none.none, "");
        EXPECT_TRUE(std::isnan(none.exponent.value));
    }
    testing::expect_error(ExitStatus::numerical, ErrorKind::too_few, {}, [&] {
        falling_error({std::vector<double>{1, 2}, std::vector<double>{1, 0.5}, 1});
    });
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {}, [&] {
        falling_error({std::vector<double>{1, 2, 4}, std::vector<double>{1, 0.5, NAN}, 1});
    });
}

/// What a curve leaves at an exponent: generalised least squares with the inverse of the covariance that
/// falling_error.hpp states (of its own a size has a tenth of the first's variance at least), the limit not
/// below zero.
struct BruteForce {
    Eigen::VectorXd sizes, errors;
    Eigen::MatrixXd inverse;
    double limit = 0;  ///< of the last call

    BruteForce(const std::vector<double>& n, const std::vector<double>& values, Index repeats, double whole)
        : sizes(std::ssize(n)), errors(std::ssize(n)) {
        const Index count = std::ssize(n);
        const auto R = static_cast<double>(repeats);
        Eigen::VectorXd variance(count);
        double own = 0;
        for (Index s = 0; s < count; ++s) {
            const Eigen::VectorXd of =
                Eigen::Map<const Eigen::VectorXd>(values.data() + s * repeats, repeats);
            sizes(s) = n[static_cast<std::size_t>(s)];
            errors(s) = of.mean();
            variance(s) = (of.array() - of.mean()).matrix().squaredNorm() / (R - 1);
            // V (1/n - 1/N) is the variance of this size: V/N.
            own += variance(s) / (1 / sizes(s) - 1 / whole) / whole / static_cast<double>(count);
        }
        Eigen::MatrixXd covariance(count, count);
        for (Index s = 0; s < count; ++s)
            for (Index t = 0; t < count; ++t)
                covariance(s, t) =
                    variance(std::max(s, t)) / R + (s == t ? std::max(own / 4, 0.1 * variance(0) / R) : 0.0);
        inverse = covariance.inverse();
    }
    double squares(double x) {
        Eigen::MatrixXd A(sizes.size(), 2);
        A.col(0).setOnes();
        A.col(1) = sizes.array().pow(-x) * std::pow(sizes(0), x);
        Eigen::VectorXd best = (A.transpose() * inverse * A).inverse() * (A.transpose() * inverse * errors);
        if (best(0) < 0) {
            const Eigen::VectorXd power = A.col(1);
            best << 0, power.dot(inverse * errors) / power.dot(inverse * power);
        }
        limit = best(0);
        const Eigen::VectorXd rest = errors - A * best;
        return rest.dot(inverse * rest);
    }
};

TEST(Exponents, IntervalsOfAFallingErrorByBruteForce) {
    // Three repeats a step of `spread` apart, nearly on 0.3 + 2 n^-0.7; the second curve bends away from it
    // by more than its spread, so that its sum of squares widens the intervals. Student's quantile of 4 x 2
    // degrees is 2.306; the search's grid is 1.2 % wide.
    const std::vector<double> sizes{50, 100, 200, 400}, spread{0.006, 0.004, 0.0025, 0.0012};
    for (const auto& [bend, whole] : {std::pair{0.0, 420.0}, {0.004, 420.0}, {0.0, 800.0}}) {
        std::vector<double> values;
        for (std::size_t s = 0; s < 4; ++s)
            for (const double k : {-1.0, 0.0, 1.0})
                values.push_back(0.3 + 2 * std::pow(sizes[s], -0.7) + k * spread[s] +
                                 (s % 2 == 1 ? bend : 0));
        BruteForce expected(sizes, values, 3, whole);
        double least = 1e300, best = 0, low = 4, high = 0, limit_low = 1, limit_high = 0;
        for (double x = 0.005; x < 4; x *= 1.001)
            if (const double found = expected.squares(x); found < least) least = found, best = x;
        const double allowed = 2.306 * 2.306 * std::max(1.0, least);  // 4 sizes less 3 parameters
        EXPECT_EQ(least > 2, bend > 0) << least;
        for (double x = 0.005; x < 4; x *= 1.001)
            if (expected.squares(x) <= least + allowed) {
                low = std::min(low, x), high = std::max(high, x);
                limit_low = std::min(limit_low, expected.limit);
                limit_high = std::max(limit_high, expected.limit);
            }
        const FallingError found = falling_error({sizes, values, 3, whole});
        EXPECT_EQ(found.none, "");
        EXPECT_NEAR(found.exponent.value / best, 1, 2e-3) << bend;
        EXPECT_NEAR(found.exponent.low / low, 1, 0.013) << bend;
        EXPECT_NEAR(found.exponent.high / high, 1, 0.013) << bend;
        EXPECT_NEAR(found.limit.low, limit_low, 2e-3) << bend;
        EXPECT_NEAR(found.limit.high, limit_high, 2e-3) << bend;
        // What all sizes have in common moves the limit alone, by 1.96 of it.
        const FallingError shared = falling_error({sizes, values, 3, whole, 0, 0.01});
        EXPECT_NEAR(found.limit.low - shared.limit.low, 0.0196, 1e-12);
        EXPECT_NEAR(shared.limit.high - found.limit.high, 0.0196, 1e-12);
        EXPECT_EQ(shared.exponent.high, found.exponent.high);
    }
}

TEST(Exponents, ALimitBetweenNothingAndHalfOfTheLastErrorIsNone) {
    // 2 n^-1/2, three repeats: the more they spread, the larger is the limit that fits beside none.
    const std::vector<double> sizes{50, 100, 200, 400};
    int open = 0, below_all = 0;
    for (double spread = 0.001; spread < 0.01; spread *= 1.2) {
        std::vector<double> values;
        for (const double n : sizes)
            for (const double k : {-1.0, 0.0, 1.0})
                values.push_back(2 / std::sqrt(n) * (1 + 10 * k * spread));
        const FallingError found = falling_error({sizes, values, 3, 800});
        const double share = found.limit.high / 0.1;  // of the last error
        if (found.limit.low > 0 || found.exponent.high > 3.9) continue;
        EXPECT_EQ(found.none.empty(), share <= 0.5) << spread << " " << share;
        open += share > 0.5 ? 1 : 0;
        below_all += share > 0.5 && share < 0.9 ? 1 : 0;
    }
    EXPECT_GE(open, 1);
    EXPECT_GE(below_all, 1);
}

TEST(Exponents, StudentsQuantiles) {
    // Tables of the t distribution, two-sided 95 %.
    for (const auto& [freedom, quantile] : {std::pair<Index, double>{1, 12.706},
                                            {2, 4.303},
                                            {3, 3.182},
                                            {4, 2.776},
                                            {5, 2.571},
                                            {6, 2.447},
                                            {7, 2.365},
                                            {10, 2.228},
                                            {30, 2.042},
                                            {1000, 1.962}})
        EXPECT_NEAR(student_quantile(freedom), quantile, 0.002);
    // scipy.stats.t.ppf(1 - 0.025 / comparisons, freedom); the expansion's error grows with the quantile.
    EXPECT_NEAR(student_quantile(20, 2), 2.4231, 0.002);
    EXPECT_NEAR(student_quantile(500, 4), 2.5068, 0.002);
    EXPECT_NEAR(student_quantile(8, 7), 3.5844, 0.01 * 3.5844);
    EXPECT_EQ(student_quantile(7, 2), HUGE_VAL);
    const Interval found = *with_spread(1, std::vector<double>{0.9, 1.1, 1.0, 0.8, 1.2});
    EXPECT_NEAR(found.high, 1 + 2.776 * std::sqrt(0.025), 1e-3);
    EXPECT_FALSE(with_spread(1, std::vector<double>{1}));
}

}  // namespace
}  // namespace tangram
