#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>

#include "../src/stages/finetune_file.hpp"

namespace tangram {
namespace {

/// One test example whose margin the network moves by `real`, the linearised model by `linear`.
FinetuneRecord record_at(double step, double loss, double real, double linear) {
    FinetuneRecord record;
    record.step = step;
    record.test_loss = loss;
    record.linear_test_loss = loss / 2;
    // A sum that moves counts for nothing.
    record.outputs_test = {3 + step - real / 2, 3 + step + real / 2};
    record.linear_outputs_test = {3 - linear / 2, 3 + linear / 2};
    return record;
}

FinetuneResult result_of(FinetunePath path, double T) {
    FinetuneResult result;
    result.path = std::move(path);
    result.plan.stopping_step = T;
    result.examples = result.test_examples = 1;
    result.labels = 2;
    result.margin = true;
    return result;
}

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(FinetuneSummary, GapIsOfTheMarginsChange) {
    const FinetuneResult r = result_of({record_at(0, 1, 0, 0), record_at(1, 1, 2, 1.5)}, 1);
    EXPECT_TRUE(std::isnan(r.gap(r.path[0])));
    EXPECT_DOUBLE_EQ(r.gap(r.path[1]), 0.25);
}

TEST(FinetuneSummary, SaysWhereTheKernelHoldsAndWhatStoppingCosts) {
    // Within 20 % up to step 4; best at step 8, at T = 4 half of what it gained is reached.
    const FinetunePath path{record_at(0, 1.0, 0, 0), record_at(2, 0.9, 1, 0.7), record_at(4, 0.7, 2, 1.9),
                            record_at(8, 0.4, 4, 3), record_at(9, 0.5, 5, 3)};
    const FinetuneResult r = result_of(path, 4);
    EXPECT_EQ(r.best(), 8);
    EXPECT_EQ(r.linear_best(), 8);
    const std::string sentence = finetune_sentence(r);
    EXPECT_TRUE(sentence.starts_with("kernel regime")) << sentence;
    EXPECT_TRUE(says(sentence, "step 4 ") && says(sentence, " 5 %")) << sentence;
    EXPECT_TRUE(says(sentence, "T = 4 ") && says(sentence, " 50 %") && says(sentence, "step 8 ")) << sentence;
    EXPECT_TRUE(says(sentence, "from step 8 on")) << sentence;
    EXPECT_NEAR(r.gap(r.judged()), 0.05, 1e-12);
    EXPECT_DOUBLE_EQ(r.cost_of_stopping(), 0.5);
    EXPECT_EQ(r.parting_step(), 8);
    // Judged at the last step where T is not known or was not reached.
    for (const double T : {not_known, static_cast<double>(INFINITY)}) {
        const std::string last = finetune_sentence(result_of(path, T));
        EXPECT_TRUE(last.starts_with("not the kernel regime") && says(last, "step 9 ") && says(last, " 40 %"))
            << last;
        EXPECT_FALSE(says(last, "T =")) << last;
    }
    const std::string whole = finetune_sentence(result_of({path[0], path[2]}, 4));
    EXPECT_FALSE(says(whole, "from step")) << whole;
    const std::string summary = finetune_summary(r);
    EXPECT_TRUE(says(summary, "0.4 at step 8") && says(summary, "0.7 at T = 4")) << summary;
    EXPECT_TRUE(says(summary, sentence)) << summary;
    // At T of the linearised model too; no word of it where there is none.
    EXPECT_TRUE(says(summary, " 0.35") && says(summary, "linear:")) << summary;
    FinetuneResult alone = r;
    alone.plan.without_linear = "of a reason";
    for (FinetuneRecord& record : alone.path) record.linear_test_loss = not_known;
    EXPECT_FALSE(says(finetune_summary(alone), "linear:")) << finetune_summary(alone);
}

TEST(FinetuneSummary, OfLogitsTheSumCountsToo) {
    FinetuneResult r = result_of({record_at(0, 1, 0, 0), record_at(1, 1, 2, 2)}, 1);
    EXPECT_DOUBLE_EQ(r.gap(r.path[1]), 0);
    r.margin = false;
    // Changes (0, 2), of which the linearised model has (-1, 1).
    EXPECT_DOUBLE_EQ(r.gap(r.path[1]), std::sqrt(2.0 / 4));
}

TEST(FinetuneSummary, ADivergedLinearisedModelHasParted) {
    const double infinite = INFINITY;
    for (const double linear : {infinite, not_known}) {
        const FinetuneResult r =
            result_of({record_at(0, 1, 0, 0), record_at(4, 0.9, 1, 1), record_at(8, 0.8, 2, linear)}, 4);
        EXPECT_TRUE(std::isinf(r.gap(r.path[2])));
        EXPECT_TRUE(says(finetune_sentence(r), "from step 8 on")) << finetune_sentence(r);
    }
}

TEST(FinetuneSummary, SaysWhereNothingMoved) {
    FinetuneResult r = result_of({record_at(0, 1, 0, 0), record_at(1, 1, 0, 0.5)}, 1);
    r.path[1].outputs_test = r.path[0].outputs_test;
    EXPECT_TRUE(finetune_sentence(r).starts_with("nothing moved")) << finetune_sentence(r);
}

TEST(FinetuneSummary, SaysWhatOfLoraTrains) {
    FinetuneResult r = result_of({record_at(0, 1, 0, 0), record_at(1, 1, 2, 1.5)}, 1);
    r.lora_b_alone = true;
    EXPECT_TRUE(says(finetune_summary(r), "LoRA"));
    EXPECT_FALSE(says(finetune_summary(r), "weights by")) << finetune_summary(r);
}

TEST(FinetuneSummary, SaysWhyNothingStandsBesideTheNetwork) {
    FinetuneResult r = result_of({record_at(0, 1, 0, 0), record_at(1, 1, 2, 1.5)}, 1);
    r.plan.without_linear = "of a reason";
    EXPECT_TRUE(says(finetune_sentence(r), "of a reason"));
}

}  // namespace
}  // namespace tangram
