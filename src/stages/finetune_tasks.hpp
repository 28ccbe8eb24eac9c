#pragma once
#include <string>
#include <vector>

#include "finetune_plan.hpp"
#include "tangram/io/hdf5_file.hpp"
#include "tangram/learning/kernel_regression.hpp"
#include "tangram/rates/tasks.hpp"

namespace tangram {

inline constexpr const char* trained_tasks_group = "/tasks/finetune";

/// What training on one task has come to. Equal on every rank.
struct TrainedTask {
    FinetunePlan plan;
    std::vector<double> change;  ///< of the weights: the task's vector
    /// c of N entries, zero outside the task: the linearised model's weights change by J^T c; empty: none.
    std::vector<double> solution;
    std::vector<double> means;  ///< of its residual, by group: the intercept, which comes and goes with it
    double tokens = 0, seconds = 0;  ///< of its training steps in this process
};

/// What several tasks' trainings have come to, and what sums of their vectors do.
struct TrainedTasks {
    std::string optimizer, loss;
    std::vector<std::string> names, weights;  ///< weights: the folders, as seen from the output file
    std::vector<double> learning_rates;
    std::vector<Index> steps;
    TaskVectors vectors, linear;  ///< linear: NaN where there is no linearised model
    /// One task's test set, judged after every task's vector times its weight was added to the model.
    struct Judged {
        std::string sum, task;
        TestScore score, linear;
        Index test_examples;
    };
    std::vector<Judged> judged;
};

/// One sentence: how far the network's vectors and sums are from the linearised model's.
std::string trained_tasks_sentence(const TrainedTasks& tasks);
/// The tables, as text for the console.
std::string trained_tasks_summary(const TrainedTasks& tasks);
/// trained_tasks_group, made anew. Local; the first rank.
void write_trained_tasks(Hdf5File& file, const TrainedTasks& tasks, const std::string& inputs);

}  // namespace tangram
