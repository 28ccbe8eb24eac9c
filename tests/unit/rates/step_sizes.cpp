#include "tangram/rates/step_sizes.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "support/expect_error.hpp"
#include "tangram/rates/stopping_rules.hpp"
#include "unit/rates/normal.hpp"

namespace tangram {
namespace {

TEST(StepSizes, AreAddedAndMultipliedLiterally) {
    const StepSizes steps({1.0, 0.7, 0.7, 0.3});
    double eta = 0, rest = 1, overshooting = 1;
    for (int t = 0; t < 12; ++t) {
        EXPECT_NEAR(steps.eta(t), eta, 1e-14);
        EXPECT_NEAR(steps.filter(0.4, t), 1 - rest, 1e-14) << t;
        EXPECT_NEAR(steps.filter(1.5, t), 1 - overshooting, 1e-14) << t;  // 1 - 1.5 and 1 - 1.05 change sign
        const double alpha = t < 3 ? (t == 0 ? 1.0 : 0.7) : 0.3;
        eta += alpha;
        rest *= 1 - 0.4 * alpha;
        overshooting *= 1 - 1.5 * alpha;
    }
    EXPECT_EQ(steps.filter(0.0, 5), 0.0);
    EXPECT_EQ(steps.filter(-1.0, 5), 0.0);
    EXPECT_EQ(steps.filter(1.0, 5), 1.0);  // the first step fits it whole
    // Long paths: 1 - (1 - x)^t for x t = 1e-6, which subtraction would leave with ten digits.
    EXPECT_NEAR(StepSizes(1.0).filter(1e-18, 1e12) / 1e-6, 1 - 0.5e-6, 1e-12);
    EXPECT_EQ(StepSizes(0.1).eta(1e15), 0.1 * 1e15);
    testing::expect_error(ExitStatus::study, ErrorKind::too_few, {},
                          [] { StepSizes(std::vector<double>{}); });
    testing::expect_error(ExitStatus::study, ErrorKind::out_of_range, {}, [] { StepSizes({1.0, 1.1}); });
    testing::expect_error(ExitStatus::study, ErrorKind::out_of_range, {}, [] { StepSizes(0.0); });
}

TEST(StoppingRules, AgreeWithAPathWalkedStepByStep) {
    // Gradient descent on a diagonal kernel: each coefficient's rest is multiplied by 1 - alpha l in every
    // step.
    testing::Normal normal(8);
    const Index n = 60;
    std::vector<double> l, squares, rest(static_cast<std::size_t>(n), 1.0), candidates;
    double mean = 0;
    for (Index k = 1; k <= n; ++k) {
        l.push_back(std::pow(static_cast<double>(k), -1.5));
        const double z = 4 * std::pow(static_cast<double>(k), -1.2) + 0.3 * normal();
        squares.push_back(z * z);
        mean += z * z / static_cast<double>(n);
    }
    const double noise = 0.3, alpha = 0.9;
    double first = -1, least = INFINITY, best = -1;
    for (int t = 0; t <= 3000; ++t) {
        double error = 0, freedom = 0;
        for (std::size_t i = 0; i < l.size(); ++i) {
            error += rest[i] * rest[i] * squares[i] / static_cast<double>(n);
            freedom += rest[i] / static_cast<double>(n);
            rest[i] *= 1 - alpha * l[i];
        }
        EXPECT_NEAR(training_error(l, squares, alpha, t), error, 1e-11 * mean);
        if (first < 0 && error <= noise * noise) first = t;
        const double score = freedom >= 0.1 ? error / (freedom * freedom) : INFINITY;
        if (std::isfinite(score)) {
            EXPECT_NEAR(cross_validation_score(l, squares, 0.0, alpha, t), score, 1e-9 * score);
        }
        if (score < least) {
            least = score;
            best = t;
        }
        candidates.push_back(t);
    }
    ASSERT_GT(first, 0);
    EXPECT_EQ(discrepancy_step(l, squares, noise, alpha), first);
    EXPECT_EQ(cross_validated_step(l, squares, 0.0, alpha, candidates), best);
    EXPECT_EQ(discrepancy_step(l, squares, 100.0, alpha), 0);
    // What the kernel cannot fit is never fitted.
    l.back() = 0;
    EXPECT_TRUE(std::isinf(
        discrepancy_step(l, squares, 1e-3 * std::sqrt(squares.back() / static_cast<double>(n)), alpha)));
    EXPECT_DOUBLE_EQ(epochs(100, 32, 6400), 0.5);
}

TEST(StoppingRules, CrossValidationLeavesEmptyDirectionsOut) {
    const std::vector<double> l{1.0, 0.1, 0.0}, squares{4.0, 1.0, 0.0}, shorter{1.0, 0.1}, known{4.0, 1.0};
    EXPECT_EQ(cross_validation_score(l, squares, 1e-9, 0.5, 3),
              cross_validation_score(shorter, known, 1e-9, 0.5, 3));
    // A direction under the floor with some of the residual counts whole.
    const std::vector<double> full{4.0, 1.0, 2.0};
    const double q0 = 1 - std::pow(0.5, 3), q1 = 1 - std::pow(0.95, 3);
    const double error = (std::pow(1 - q0, 2) * 4 + std::pow(1 - q1, 2) + 2) / 3, freedom = (3 - q0 - q1) / 3;
    EXPECT_NEAR(cross_validation_score(l, full, 1e-9, 0.5, 3), error / freedom / freedom, 1e-12);
    testing::expect_error(ExitStatus::numerical, ErrorKind::contradiction, {},
                          [&] { training_error(l, known, 0.5, 1); });
    testing::expect_error(ExitStatus::numerical, ErrorKind::non_finite, {}, [&] {
        training_error(shorter, std::vector<double>{1, NAN}, 0.5, 1);
    });
}

}  // namespace
}  // namespace tangram
