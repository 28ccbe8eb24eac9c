#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tangram/stages/rates_file.hpp"

namespace tangram {
namespace {

/// A run over 100 test examples, T = 10 on its path; 75 right at T, and one label in two.
RatesResult learnt_run() {
    RatesResult r;
    r.rows = r.examples = 400;
    r.noise = 0.5;
    r.radius = 2;
    r.stop = 10;
    r.step_sizes = {0.1};
    r.noise_source = r.radius_source = "given";
    r.sensitivity = {5, 40, 41, 6};
    r.residual = {1};
    r.residual_square = 0.9;
    r.mean_share = 0.25;
    r.discrepancy_step = 7;
    r.cross_validated_step = 8;
    r.bound = {0.3, "", false};
    r.path.step = {0, 10, 100};
    r.test_mse = {1, 0.6, 0.7};
    r.test_accuracy = {0.5, 0.75, 0.7};
    r.model_alone = TestScore{1.1, 0.45};
    r.curve.test_examples = 100;
    r.curve.base_rate = 0.6;
    r.learnt = PairedComparison{0.4, 0.05, 30, 5, 1e-5, 100};
    return r;
}
bool summary_says(const RatesResult& r, const std::string& part) {
    return rates_summary(r).find(part) != std::string::npos;
}

TEST(RatesSummary, SaysWhatIsLearntByBothTests) {
    struct Verdict {
        double fall;
        Index gained, lost;
        double p;
        const char* words;
    };
    for (const Verdict& v :
         {Verdict{0.4, 30, 5, 1e-5, ": it learns\n"}, Verdict{0.0, 30, 5, 1e-5, ": it learns\n"},
          Verdict{-0.4, 30, 5, 1e-5, ": its accuracy rises, and so does its error\n"},
          Verdict{0.4, 5, 30, 1e-5, ": its error falls, and so does its accuracy\n"},
          Verdict{0.0, 5, 30, 1e-5, ": its accuracy falls\n"},
          Verdict{0.4, 9, 8, 1, ": its error falls; that its accuracy rises is not shown\n"},
          Verdict{-0.4, 9, 8, 1, ": its error rises\n"},
          Verdict{0.09, 9, 8, 1, ": that it learns is not shown\n"}}) {
        RatesResult r = learnt_run();
        r.learnt = PairedComparison{v.fall, 0.05, v.gained, v.lost, v.p, 100};
        EXPECT_TRUE(summary_says(r, v.words)) << rates_summary(r);
    }
    // 1.96 standard errors, and 25 of 100 examples.
    EXPECT_TRUE(summary_says(learnt_run(), "falls by 0.4 +- 0.098, 30 examples"))
        << rates_summary(learnt_run());
    EXPECT_TRUE(summary_says(learnt_run(), "5 no more (+25.0 points")) << rates_summary(learnt_run());
}

TEST(RatesSummary, AnAccuracyExceedsTheBaseRateByItsWholeInterval) {
    // Wilson's interval of 75 of 100 is 0.657 to 0.825.
    RatesResult r = learnt_run();
    EXPECT_TRUE(summary_says(r,
                             "0.750 [0.657, 0.825] at T on 100 examples, 0.500 at step 0, 0.450 of the model "
                             "alone, best 0.750; base rate 0.600\n"))
        << rates_summary(r);
    r.curve.base_rate = 0.7;
    EXPECT_TRUE(summary_says(r, "base rate 0.700, not shown to be exceeded\n")) << rates_summary(r);
}

TEST(RatesSummary, SaysTInOtherUnits) {
    const RatesResult r = learnt_run();
    EXPECT_TRUE(summary_says(r, "T = 10 steps of size 0.1")) << rates_summary(r);
    EXPECT_TRUE(summary_says(r, "(41 at half, 6 at double sigma)")) << rates_summary(r);
    // Ten steps of 32 of 400 examples.
    EXPECT_TRUE(summary_says(r, "rate: 0.8 epochs\n")) << rates_summary(r);
    EXPECT_TRUE(summary_says(r, "which held 25 % of it\n")) << rates_summary(r);
}

TEST(RatesSummary, ABoundIsVacuousWhereItIs) {
    RatesResult r = learnt_run();
    EXPECT_TRUE(summary_says(r, "is below 0.3 ")) << rates_summary(r);
    EXPECT_FALSE(summary_says(r, "vacuous")) << rates_summary(r);
    r.bound.vacuous = true;
    EXPECT_TRUE(summary_says(r, "vacuous")) << rates_summary(r);
}

TEST(RatesSummary, RepeatsHaveTheirStandardDeviation) {
    RatesResult r = learnt_run();
    r.curve.sizes = {100};
    r.curve.predicted_ridge = r.curve.predicted_descent = {{0.5, 0.7}};
    r.curve.results.emplace_back(3);
    for (int k = 0; k < 3; ++k) r.curve.results[0][static_cast<std::size_t>(k)].at_stop.mse = 0.5 + 0.1 * k;
    EXPECT_TRUE(summary_says(r, " 0.6 +- 0.1 ")) << rates_summary(r);
}

}  // namespace
}  // namespace tangram
