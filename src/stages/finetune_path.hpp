#pragma once
#include <string>
#include <utility>
#include <vector>

#include "finetune_plan.hpp"
#include "tangram/learning/targets.hpp"
#include "tangram/text/data_set.hpp"

namespace tangram {

/// The training or the test examples, and what is asked of them. Equal on every rank.
struct FinetunePart {
    const DataSet* data;
    Targets targets;             ///< as the rates have them
    TrainingTargets wanted;      ///< less the means below
    std::vector<double> logits;  ///< at the initial weights, n x C
    std::vector<double> means;   ///< per entry: the training residual's, added to predictions

    /// Rows of the kernel's output of all examples.
    std::vector<double> rows_of(const std::vector<double>& logits_of_all) const;
    /// Logits that have these rows; of a margin, the sum of the two logits stays what it was at the start.
    std::vector<double> logits_of(const std::vector<double>& rows) const;
    double loss(Loss loss, const std::vector<double>& rows) const { return mean_loss(loss, wanted, rows); }
    double accuracy(const std::vector<double>& rows) const;
};

/// Targets of a part. Local. @param means  by group, of the residual: taken out of the squared loss
FinetunePart finetune_part(const DataSet& data, const std::string& output, std::vector<double> logits,
                           const std::vector<double>& means);
/// Means of y - f_0 over the training examples, by group. Local.
std::vector<double> residual_means(const Targets& targets);
/// The training examples' part, less the residual's means where the study takes them out of its loss; these
/// (none: they stay) are what a test part is given too. Local.
std::pair<FinetunePart, std::vector<double>> training_part(const Study& study, const DataSet& data,
                                                           const std::string& output,
                                                           std::vector<double> logits);

/// What is recorded at a step, of the real network and of the linearised model; NaN where there is none.
struct FinetuneRecord {
    double step = 0, train_loss = not_known, test_loss = not_known, train_accuracy = not_known,
           test_accuracy = not_known, linear_train_loss = not_known, linear_test_loss = not_known,
           linear_train_accuracy = not_known, linear_test_accuracy = not_known, weight_change = not_known;
    std::vector<double> outputs_train, outputs_test, linear_outputs_train, linear_outputs_test;
};

/// By name, for the file and for checkpoints.
const std::vector<std::pair<std::string, double FinetuneRecord::*>>& numbers_of_record();
const std::vector<std::pair<std::string, std::vector<double> FinetuneRecord::*>>& outputs_of_record();

using FinetunePath = std::vector<FinetuneRecord>;

/// The recorded step with the smallest number; NaN where it is nowhere known.
double best_step(const FinetunePath& path, double FinetuneRecord::*number);

}  // namespace tangram
