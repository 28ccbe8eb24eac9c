#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "finetune_tasks.hpp"
#include "tangram/stages/rates_file.hpp"

namespace tangram {

namespace {

bool has_linear(const TrainedTasks& tasks) {
    const Eigen::MatrixXd& inner = tasks.linear.inner;
    return std::all_of(inner.data(), inner.data() + inner.size(), [](double x) { return std::isfinite(x); });
}

/// Largest |a - b| over the entries.
double largest_difference(const Eigen::MatrixXd& a, const Eigen::MatrixXd& b) {
    double largest = 0;
    for (Eigen::Index i = 0; i < a.size(); ++i)
        largest = std::max(largest, std::abs(a.data()[i] - b.data()[i]));
    return largest;
}

}  // namespace

void write_trained_tasks(Hdf5File& file, const TrainedTasks& tasks, const std::string& inputs) {
    const std::string at = trained_tasks_group;
    file.remove(at);
    write_task_vectors(file, at + "/", tasks.vectors);
    if (has_linear(tasks)) write_task_vectors(file, at + "/linear_", tasks.linear);
    file.write(at + "/learning_rate", tasks.learning_rates);
    file.write(at + "/steps", tasks.steps);
    file.write(at + "/weights", tasks.weights);
    if (!tasks.judged.empty()) {
        TableColumn sum{"weights"}, task{"task"}, accuracy{"accuracy"}, linear_accuracy{"linear_accuracy"},
            mse{"mse"}, linear_mse{"linear_mse"}, examples{"test_examples"};
        for (const TrainedTasks::Judged& judged : tasks.judged) {
            sum.texts.push_back(judged.sum);
            task.texts.push_back(judged.task);
            accuracy.numbers.push_back(judged.score.accuracy);
            linear_accuracy.numbers.push_back(judged.linear.accuracy);
            mse.numbers.push_back(judged.score.mse);
            linear_mse.numbers.push_back(judged.linear.mse);
            examples.integers.push_back(judged.test_examples);
        }
        file.write_table(at + "/arithmetic",
                         {sum, task, accuracy, linear_accuracy, mse, linear_mse, examples});
    }
    file.write(at + "/summary", lines_of(trained_tasks_summary(tasks)));
    file.set_attribute(at, "optimizer", tasks.optimizer);
    file.set_attribute(at, "loss", tasks.loss);
    file.set_attribute(at, "sentence", trained_tasks_sentence(tasks));
    file.set_attribute(at, "inputs", inputs);
}

std::string trained_tasks_sentence(const TrainedTasks& tasks) {
    if (!has_linear(tasks)) return "no linearised model stands beside the trained tasks";
    const Eigen::VectorXd norms = tasks.vectors.norms(), linear = tasks.linear.norms();
    double off = 0;
    for (Eigen::Index t = 0; t < norms.size(); ++t)
        if (norms(t) > 0) off = std::max(off, std::abs(norms(t) - linear(t)) / norms(t));
    std::string text = fmt::format(
        "the linearised model's task vectors are within {:.0f} % of the network's norms and within {:.3f} of "
        "their cosines",
        100 * off, largest_difference(tasks.vectors.cosines(), tasks.linear.cosines()));
    double accuracy = 0;
    for (const TrainedTasks::Judged& judged : tasks.judged)
        accuracy = std::max(accuracy, std::abs(judged.score.accuracy - judged.linear.accuracy));
    if (!tasks.judged.empty())
        text += fmt::format("; after sums of them accuracies are within {:.3f}", accuracy);
    return text;
}

std::string trained_tasks_summary(const TrainedTasks& tasks) {
    std::string text = fmt::format("finetune   {} tasks from the same start, {}, {} loss\n",
                                   tasks.names.size(), tasks.optimizer, tasks.loss);
    const Eigen::VectorXd norms = tasks.vectors.norms(), linear_norms = tasks.linear.norms();
    const Eigen::MatrixXd cosines = tasks.vectors.cosines(), linear = tasks.linear.cosines();
    const bool both = has_linear(tasks);
    for (std::size_t a = 0; a < tasks.names.size(); ++a) {
        const auto row = static_cast<Eigen::Index>(a);
        text += fmt::format("  {:<12} {} steps at learning rate {:.4g}, norm of its vector {:.4g}",
                            tasks.names[a], tasks.steps[a], tasks.learning_rates[a], norms(row));
        if (both) text += fmt::format(" (linearised {:.4g})", linear_norms(row));
        text += ", cosines";
        for (Eigen::Index b = 0; b < cosines.cols(); ++b)
            text += both ? fmt::format(" {:.3f} ({:.3f})", cosines(row, b), linear(row, b))
                         : fmt::format(" {:.3f}", cosines(row, b));
        text += "\n";
    }
    if (!tasks.judged.empty())
        text += fmt::format("  {:<24} {:<12}{:>10}{:>11}{:>12}{:>11}{:>10}\n", "with", "on", "accuracy",
                            "linearised", "error", "linearised", "examples");
    for (const TrainedTasks::Judged& judged : tasks.judged)
        text += fmt::format("  {:<24} {:<12}{:>10.3f}{:>11.3f}{:>12.4g}{:>11.4g}{:>10}\n", judged.sum,
                            judged.task, judged.score.accuracy, judged.linear.accuracy, judged.score.mse,
                            judged.linear.mse, judged.test_examples);
    return text + "verdict    " + trained_tasks_sentence(tasks) + "\n";
}

}  // namespace tangram
