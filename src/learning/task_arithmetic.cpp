#include <fmt/core.h>

#include <cmath>
#include <limits>

#include "tangram/learning/kernel_rates.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/rates/noise.hpp"
#include "tangram/spectrum/eigenpairs.hpp"

namespace tangram {

namespace {

std::vector<Index> examples_of(const std::vector<std::int32_t>& tasks, std::size_t task) {
    std::vector<Index> examples;
    for (std::size_t e = 0; e < tasks.size(); ++e)
        if (tasks[e] == static_cast<std::int32_t>(task)) examples.push_back(static_cast<Index>(e));
    return examples;
}

/// The vectors of the tasks, one after the other, and what adding them predicts. Members that do not say that
/// they are local are collective over the Gram matrix's grid.
class TaskArithmetic {
  public:
    TaskArithmetic(const RatesInput& input, const RatesOptions& options)
        : input_(input), options_(options), count_(input.task_names.size()) {
        collectively(comm(), [&] {
            result_.names = input.task_names;
            solutions_.resize(count_);
            means_.resize(count_);
            result_.examples.resize(count_);
            for (auto* const numbers : {&result_.stop, &result_.noise, &result_.radius, &result_.critical})
                numbers->resize(count_);
        });
    }

    /// Task t alone: sigma, R, T, and its solution there.
    void solve(std::size_t t) {
        std::vector<Index> rows;
        Targets targets;
        collectively(comm(), [&] {
            const std::vector<Index> examples = examples_of(input_.train_tasks, t);
            result_.examples[t] = std::ssize(examples);
            rows = input_.train->rows_of(examples);
            targets = input_.train->of(examples);
        });
        const Eigenpairs pairs = eigenpairs(principal_submatrix(*input_.gram, rows), Solver::automatic, true);
        const double floor = noise_floor_of_operator(pairs.values, input_.mixed_precision);
        const KernelRegression regression(pairs.values, *pairs.vectors, targets,
                                          options_.center != Centring::none);
        const std::vector<double> weights =
            collectively(comm(), [&] { return stopped_weights(t, regression, floor); });
        const std::vector<double> c = regression.solution(weights);
        collectively(comm(), [&] {
            solutions_[t].assign(static_cast<std::size_t>(input_.rows), 0.0);
            for (std::size_t i = 0; i < rows.size(); ++i)
                solutions_[t][static_cast<std::size_t>(rows[i])] = c[i];
            means_[t] = regression.residual_mean();
        });
    }

    /// After all tasks are solved.
    TasksResult judged() {
        multiply_vectors();
        if (input_.cross == nullptr) return std::move(result_);
        std::vector<std::vector<double>> changes;  // of every test row, by each task's vector
        collectively(comm(), [&] { changes.resize(count_); });
        for (std::size_t t = 0; t < count_; ++t) changes[t] = product(*input_.cross, solutions_[t], 1);
        collectively(comm(), [&] {
            for (const std::vector<double>& weights : task_sums(count_))
                for (std::size_t t = 0; t < count_; ++t) judge(weights, t, changes);
        });
        return std::move(result_);
    }

  private:
    MPI_Comm comm() const { return input_.gram->grid().comm().get(); }

    /// Weights of gradient descent at the task's stopping step. Local.
    std::vector<double> stopped_weights(std::size_t t, const KernelRegression& regression, double floor) {
        const std::vector<double>& l = regression.l();
        if (!(l.front() > 0) || !(regression.residual_mean_square() > 0))
            throw Error(ExitStatus::numerical, ErrorKind::degenerate,
                        fmt::format("task {}: its kernel or its residual is zero; there is nothing to learn",
                                    input_.task_names[t]));
        const CrossValidatedRidge ridge = cross_validated_ridge(l, regression.squares(), floor);
        result_.noise[t] = options_.noise.value_or(ridge.noise);
        result_.radius[t] =
            options_.radius.value_or(target_radius(l, regression.squares(), ridge.ridge, floor));
        const StepSizes steps =
            options_.step_sizes.empty() ? StepSizes(1 / l.front()) : StepSizes(options_.step_sizes);
        if (steps.first() * l.front() > 2)
            throw Error(
                ExitStatus::study, ErrorKind::out_of_range,
                fmt::format("rates.step_size = {} diverges on task {}: it needs at most 2/l_1 = {:.6g}",
                            steps.first(), input_.task_names[t], 2 / l.front()));
        const double sigma = result_.noise[t] / result_.radius[t];
        result_.critical[t] = critical_radius(l, sigma);
        result_.stop[t] = stopping_step(l, sigma, steps);
        // Steps that would fit what stands at the noise floor are not taken: there rounding decides.
        const double most = floor > 0 ? std::floor(1 / (steps.rates().back() * floor)) : 1e15;
        return regression.descent(steps, std::min(result_.stop[t], most));
    }

    void multiply_vectors() {
        Eigen::MatrixXd& inner = result_.vectors.inner;
        const auto size = static_cast<Eigen::Index>(count_);
        collectively(comm(), [&] { inner = Eigen::MatrixXd::Zero(size, size); });
        for (std::size_t b = 0; b < count_; ++b) {
            const std::vector<double> image = product(*input_.gram, solutions_[b], 1);
            for (std::size_t a = 0; a < count_; ++a) {
                double sum = 0;
                for (std::size_t i = 0; i < image.size(); ++i) sum += solutions_[a][i] * image[i];
                inner(static_cast<Eigen::Index>(a), static_cast<Eigen::Index>(b)) = sum;
            }
        }
        collectively(comm(), [&] { inner = (0.5 * (inner + inner.transpose())).eval(); });
    }

    /// The test set of task t. Local.
    void judge(const std::vector<double>& weights, std::size_t t,
               const std::vector<std::vector<double>>& changes) {
        const std::vector<Index> tested = examples_of(input_.test_tasks, t);
        if (tested.empty()) return;
        const Targets test = input_.test->of(tested);
        const std::vector<Index> rows = input_.test->rows_of(tested);
        std::vector<double> f = test.initial;
        // A task's mean residual is its own intercept and comes and goes with its vector.
        for (std::size_t i = 0; i < f.size(); ++i)
            if (const auto group = static_cast<std::size_t>(test.groups[i]); group < means_[t].size())
                f[i] += weights[t] * means_[t][group];
        const TestScore intercept = score_of(test, f);
        for (std::size_t i = 0; i < f.size(); ++i)
            for (std::size_t a = 0; a < count_; ++a)
                f[i] += weights[a] * changes[a][static_cast<std::size_t>(rows[i])];
        result_.judged.push_back({task_sum_text(result_.names, weights), result_.names[t], score_of(test, f),
                                  intercept, test.examples()});
    }

    const RatesInput& input_;
    const RatesOptions& options_;
    std::size_t count_;
    TasksResult result_;
    std::vector<std::vector<double>> solutions_;  ///< c of each task: N entries, zero outside it
    std::vector<std::vector<double>> means_;      ///< of each task's residual, by group
};

}  // namespace

std::vector<std::vector<double>> task_sums(std::size_t tasks) {
    std::vector<std::vector<double>> sums{std::vector<double>(tasks, 0.0)};
    for (const double weight : {1.0, -1.0})
        for (std::size_t t = 0; t < tasks; ++t) {
            sums.emplace_back(tasks, 0.0);
            sums.back()[t] = weight;
        }
    if (tasks > 1) sums.emplace_back(tasks, 1.0);
    return sums;
}

std::string task_sum_text(const std::vector<std::string>& names, const std::vector<double>& weights) {
    std::string text;
    for (std::size_t t = 0; t < names.size(); ++t)
        if (weights[t] != 0) text += fmt::format("{}{}:{:+g}", text.empty() ? "" : " ", names[t], weights[t]);
    return text.empty() ? "none" : text;
}

TasksResult task_arithmetic(const RatesInput& input, const RatesOptions& options, const Listener& listener) {
    TaskArithmetic tasks(input, options);
    const std::size_t count = input.task_names.size();
    for (std::size_t t = 0; t < count; ++t) {
        listener.progress("tasks", static_cast<Index>(t), static_cast<Index>(count));
        tasks.solve(t);
    }
    listener.progress("tasks", static_cast<Index>(count), static_cast<Index>(count));
    return tasks.judged();
}

}  // namespace tangram
