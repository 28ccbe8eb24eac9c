#include "../src/stages/finetune_plan.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "../src/stages/finetune_path.hpp"
#include "support/expect_error.hpp"

namespace tangram {
namespace {

/// 32 examples of two labels on the margin, or of `labels` on the logits.
TrainingTargets targets_of(Index labels = 2) {
    TrainingTargets targets;
    targets.output = labels == 2 ? KernelOutput::margin : KernelOutput::logits;
    targets.labels = labels;
    targets.own.assign(32, 0);
    return targets;
}

struct Asked {
    Asked() { study.finetune.asked = true; }
    FinetunePlan plan(const KernelFacts& facts, Index labels = 2, bool formula = true) const {
        return finetune_plan(study, targets_of(labels), facts, formula);
    }
    Study study;
};

/// l_1 = 4, an example's own kernel at most 6, eta_T = 10.
const KernelFacts facts{32, 4.0, 6.0, 10.0};

TEST(FinetunePlan, AutomaticRateIsOfTheLargestCurvature) {
    Asked asked;
    EXPECT_DOUBLE_EQ(asked.plan(facts).settings.learning_rate, 0.25);
    EXPECT_DOUBLE_EQ(asked.plan(facts).largest_rate, 0.5);
    asked.study.finetune.optimizer = "sgd";
    asked.study.finetune.batch = 3;
    EXPECT_DOUBLE_EQ(asked.plan(facts).settings.learning_rate, 3 / (6.0 + 2 * 4));
    asked.study.finetune.batch = 32;  // all of them
    asked.study.finetune.momentum = 0.5;
    EXPECT_DOUBLE_EQ(asked.plan(facts).settings.learning_rate, 0.125);
    EXPECT_DOUBLE_EQ(asked.plan(facts).largest_rate, 0.75);
    asked.study.finetune.loss = "cross-entropy";
    asked.study.finetune.steps = 9;
    asked.study.finetune.momentum = 0;
    EXPECT_DOUBLE_EQ(asked.plan(facts).settings.learning_rate, 1.0);
    EXPECT_DOUBLE_EQ(asked.plan(facts, 5).settings.learning_rate, 0.1);
}

TEST(FinetunePlan, AutomaticStepsAreTwiceT) {
    Asked asked;
    // eta_T = 10 at a rate of 1/4: T = 40.
    EXPECT_EQ(asked.plan(facts).settings.steps, 80);
    EXPECT_EQ(asked.plan(facts).stopping_step, 40);
    asked.study.finetune.optimizer = "sgd";
    asked.study.finetune.momentum = 0.75;
    EXPECT_EQ(asked.plan(facts).stopping_step, 40);
    // A linear schedule has spent eta_T where the area below it is 10: 160 steps, of which 160 (1 -
    // sqrt(1/2)).
    asked = Asked();
    asked.study.finetune.schedule = "linear";
    EXPECT_EQ(asked.plan(facts).settings.steps, 160);
    EXPECT_NEAR(asked.plan(facts).stopping_step, 160 * (1 - std::sqrt(0.5)), 1.0);
    // T = 0, and a T that never comes.
    EXPECT_EQ(Asked().plan({32, 4, 6, 0}).settings.steps, 10);
    EXPECT_EQ(Asked().plan({32, 4, 6, 0}).stopping_step, 0);
    const FinetunePlan endless = Asked().plan({32, 4, 6, INFINITY});
    EXPECT_EQ(endless.settings.steps, 10000);
    EXPECT_EQ(endless.notes.size(), 1u);
    EXPECT_TRUE(std::isinf(endless.stopping_step));
    // Of another loss T says nothing.
    asked = Asked();
    asked.study.finetune.loss = "cross-entropy";
    asked.study.finetune.steps = 7;
    EXPECT_TRUE(std::isnan(asked.plan(facts).stopping_step));
}

TEST(FinetunePlan, RecordsTheFirstStepsTAndTheLast) {
    Asked asked;
    asked.study.finetune.steps = 42;
    EXPECT_EQ(asked.plan(facts).recorded, (std::vector<Index>{0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 40, 42}));
    asked.study.finetune.steps = 1;
    EXPECT_EQ(asked.plan(facts).recorded, (std::vector<Index>{0, 1}));
}

TEST(FinetunePlan, SaysWhyThereIsNoLinearisedModel) {
    Asked asked;
    EXPECT_EQ(asked.plan(facts).without_linear, "");
    EXPECT_NE(asked.plan(facts, 2, false).without_linear.find("\"sgd\""), std::string::npos);
    asked.study.finetune.weight_decay = 0.1;
    EXPECT_NE(asked.plan(facts).without_linear, "");
    asked = Asked();
    asked.study.finetune.steps = 5;
    asked.study.finetune.learning_rate = 1e-3;
    asked.study.finetune.optimizer = "signgd";
    EXPECT_NE(asked.plan(facts).without_linear, "");
    asked.study.finetune.batch = 1;
    EXPECT_EQ(asked.plan(facts).without_linear, "");
    EXPECT_NE(asked.plan(facts, 3).without_linear, "");  // three rows of an example
    asked.study.finetune.optimizer = "adamw";
    EXPECT_NE(asked.plan(facts).without_linear, "");
}

TEST(FinetunePlan, NamesTheKeyThatTheFileLacksNumbersFor) {
    const auto refused = [](const KernelFacts& of, const char* key) {
        testing::expect_error(ExitStatus::study, ErrorKind::missing, {key}, [&] { Asked().plan(of); });
    };
    refused({32, not_known, 6, 10}, "finetune.learning_rate");
    refused({32, 4, 6, not_known}, "finetune.steps");
    testing::expect_error(ExitStatus::study, ErrorKind::degenerate, {"finetune.learning_rate"}, [] {
        Asked().plan({32, 0, 0, 10});
    });
}

TEST(FinetunePath, TakesTheResidualsMeanOutAndAddsItToPredictions) {
    DataSet data;
    for (const std::int32_t label : {0, 1, 1}) data.append(std::vector<std::int32_t>{1}, label, 0);
    // Margins 5, 6, 7; residuals -6, -5, -6.
    const std::vector<double> logits{1, 6, 2, 8, 3, 10};
    const Targets plain = targets("margin", data.labels, logits);
    const std::vector<double> means = residual_means(plain);
    ASSERT_EQ(means.size(), 1u);
    EXPECT_DOUBLE_EQ(means.front(), -17.0 / 3);
    const FinetunePart part = finetune_part(data, "margin", logits, means);
    const std::vector<double> rows = part.rows_of(logits);
    EXPECT_EQ(rows, (std::vector<double>{5, 6, 7}));
    EXPECT_EQ(part.logits_of(rows), logits);
    double expected = 0;
    for (const double residual : {-6.0, -5.0, -6.0}) expected += std::pow(residual + 17.0 / 3, 2) / 6;
    EXPECT_NEAR(part.loss(Loss::squared, rows), expected, 1e-15);
    // With the mean added the predictions are -2/3, 1/3, 4/3: all right; without, two of three.
    EXPECT_DOUBLE_EQ(part.accuracy(rows), 1.0);
    EXPECT_DOUBLE_EQ(finetune_part(data, "margin", logits, {}).accuracy(rows), 2.0 / 3);
    FinetunePath path(3);
    for (std::size_t r = 0; r < 3; ++r) path[r].step = static_cast<double>(r);
    EXPECT_TRUE(std::isnan(best_step(path, &FinetuneRecord::test_loss)));
    path[1].test_loss = 2;
    path[2].test_loss = 1;
    EXPECT_EQ(best_step(path, &FinetuneRecord::test_loss), 2);
}

}  // namespace
}  // namespace tangram
