#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "tangram/learning/kernel_rates.hpp"
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

/// "sst2:+1 agnews:-1"; "none" where every weight is zero.
std::string weights_text(const std::vector<std::string>& names, const std::vector<double>& weights) {
    std::string text;
    for (std::size_t t = 0; t < names.size(); ++t)
        if (weights[t] != 0) text += fmt::format("{}{}:{:+g}", text.empty() ? "" : " ", names[t], weights[t]);
    return text.empty() ? "none" : text;
}

}  // namespace

TasksResult task_arithmetic(const RatesInput& input, const RatesOptions& options, const Listener& listener) {
    const std::size_t count = input.task_names.size();
    TasksResult result;
    result.names = input.task_names;
    std::vector<std::vector<double>> solutions(count),
        means(count);  // c_a, N entries each, zero outside its task
    std::vector<std::vector<Index>> examples(count);
    for (std::size_t t = 0; t < count; ++t) {
        listener.progress("tasks", static_cast<Index>(t), static_cast<Index>(count));
        examples[t] = examples_of(input.train_tasks, t);
        const std::vector<Index> rows = input.train->rows_of(examples[t]);
        const Eigenpairs pairs = eigenpairs(principal_submatrix(*input.gram, rows), Solver::automatic, true);
        const double floor = noise_floor_of_operator(pairs.values, input.mixed_precision);
        const KernelRegression regression(pairs.values, *pairs.vectors, input.train->of(examples[t]),
                                          options.center);
        const std::vector<double>& l = regression.l();
        if (!(l.front() > 0) || !(regression.residual_mean_square() > 0))
            throw Error(ExitStatus::numerical,
                        fmt::format("task {}: its kernel or its residual is zero; there is nothing to learn",
                                    input.task_names[t]));
        const CrossValidatedRidge ridge = cross_validated_ridge(l, regression.squares(), floor);
        result.noise.push_back(options.noise.value_or(ridge.noise));
        result.radius.push_back(
            options.radius.value_or(target_radius(l, regression.squares(), ridge.ridge, floor)));
        const StepSizes steps =
            options.step_sizes.empty() ? StepSizes(1 / l.front()) : StepSizes(options.step_sizes);
        if (steps.first() * l.front() > 2)
            throw Error(
                ExitStatus::study,
                fmt::format("rates.step_size = {} diverges on task {}: it needs at most 2/l_1 = {:.6g}",
                            steps.first(), input.task_names[t], 2 / l.front()));
        const double sigma = result.noise.back() / result.radius.back();
        result.critical.push_back(critical_radius(l, sigma));
        result.stop.push_back(stopping_step(l, sigma, steps));
        result.examples.push_back(std::ssize(examples[t]));
        // Steps that would fit what stands at the noise floor are not taken: there rounding decides.
        const double most = floor > 0 ? std::floor(1 / (steps.rates().back() * floor)) : 1e15;
        const std::vector<double> c =
            regression.solution(regression.descent(steps, std::min(result.stop.back(), most)));
        solutions[t].assign(static_cast<std::size_t>(input.rows), 0.0);
        for (std::size_t i = 0; i < rows.size(); ++i) solutions[t][static_cast<std::size_t>(rows[i])] = c[i];
        means[t] = regression.residual_mean();
    }

    listener.progress("tasks", static_cast<Index>(count), static_cast<Index>(count));

    const auto size = static_cast<Eigen::Index>(count);
    result.vectors.inner = Eigen::MatrixXd::Zero(size, size);
    std::vector<std::vector<double>> changes;  // of every test row, by each task's vector
    for (std::size_t b = 0; b < count; ++b) {
        const std::vector<double> image = product(*input.gram, solutions[b], 1);
        for (std::size_t a = 0; a < count; ++a) {
            double inner = 0;
            for (std::size_t i = 0; i < image.size(); ++i) inner += solutions[a][i] * image[i];
            result.vectors.inner(static_cast<Eigen::Index>(a), static_cast<Eigen::Index>(b)) = inner;
        }
        if (input.cross != nullptr) changes.push_back(product(*input.cross, solutions[b], 1));
    }
    result.vectors.inner = (0.5 * (result.vectors.inner + result.vectors.inner.transpose())).eval();
    if (input.cross == nullptr) return result;

    // The start, every task alone, every task forgotten, all together.
    std::vector<std::vector<double>> combinations{std::vector<double>(count, 0.0)};
    for (const double weight : {1.0, -1.0})
        for (std::size_t t = 0; t < count; ++t) {
            combinations.emplace_back(count, 0.0);
            combinations.back()[t] = weight;
        }
    if (count > 1) combinations.emplace_back(count, 1.0);
    for (const std::vector<double>& weights : combinations)
        for (std::size_t t = 0; t < count; ++t) {
            const std::vector<Index> tested = examples_of(input.test_tasks, t);
            if (tested.empty()) continue;
            const Targets test = input.test->of(tested);
            const std::vector<Index> rows = input.test->rows_of(tested);
            std::vector<double> f = test.initial;
            double error = 0;
            for (std::size_t i = 0; i < f.size(); ++i) {
                const auto group = static_cast<std::size_t>(test.groups[i]);
                // A task's mean residual is its own intercept and comes and goes with its vector.
                if (group < means[t].size()) f[i] += weights[t] * means[t][group];
                for (std::size_t a = 0; a < count; ++a)
                    f[i] += weights[a] * changes[a][static_cast<std::size_t>(rows[i])];
                error += (test.labels[i] - f[i]) * (test.labels[i] - f[i]) / static_cast<double>(f.size());
            }
            result.judged.push_back({weights_text(result.names, weights),
                                     result.names[t],
                                     {error, accuracy(test, f)},
                                     test.examples()});
        }
    return result;
}

}  // namespace tangram
