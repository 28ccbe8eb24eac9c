#include "finetune_tasks.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>

#include "finetuning.hpp"
#include "kernel_change.hpp"
#include "stored_kernels.hpp"
#include "study_state.hpp"
#include "tangram/learning/kernel_rates.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/rates/step_sizes.hpp"
#include "tangram/session/clock.hpp"
#include "tangram/study/initial_network.hpp"
#include "trained_folder.hpp"

namespace tangram {

namespace {

/// The examples of one task, as a data set of its own.
DataSet examples_of(const DataSet& all, std::size_t task) {
    DataSet own;
    for (Index e = 0; e < all.examples(); ++e)
        if (all.task(e) == static_cast<Index>(task)) own.append_from(all, e);
    own.tasks.clear();
    return own;
}

/// The job of one task alone: its examples and its label words.
GramJob job_of_task(const GramJob& all, std::size_t task) {
    const auto t = static_cast<Index>(task);
    GramJob job;
    job.data.train = examples_of(all.data.train, task);
    if (all.data.test) job.data.test = examples_of(*all.data.test, task);
    const auto first = all.data.label_ids.begin() + all.outputs.first_label(t);
    job.data.label_ids.assign(first, first + all.outputs.labels(t));
    job.data.task_labels = {all.outputs.labels(t)};
    job.outputs.add(all.outputs.output(t), all.outputs.labels(t));
    job.output_names = {all.output_names[task]};
    job.parameters = all.parameters;
    return job;
}

/// Of one task's training.
StageCheckpoint checkpoint_of(const std::filesystem::path& output, const std::string& task,
                              const Inputs& inputs) {
    return {output.string() + "." + task + ".finetune", inputs};
}

/// The kernel's rows of one task's examples.
std::vector<Index> rows_of_task(const DataSet& data, const KernelOutputs& outputs, std::size_t task) {
    std::vector<Index> rows;
    Index row = 0;
    for (Index e = 0; e < data.examples(); ++e) {
        const Index last = row + outputs.shape(data.task(e)).rows_per_example;
        for (; row < last; ++row)
            if (data.task(e) == static_cast<Index>(task)) rows.push_back(row);
    }
    return rows;
}

/// What a task's kernel says, of G's part that belongs to it. Collective.
/// @param task_gram  on the grid of StoredKernels
KernelFacts facts_of_task(const StoredKernels& kernels, const DistributedMatrix& task_gram, std::size_t t,
                          const Study& study, const TrainingTargets& targets, const ProcessGrid& grid) {
    KernelFacts facts{task_gram.rows()};
    facts.beyond = 1;  // the vector is that of the stopping step, as the kernel's is
    if (!kernels.is_sgd()) return facts;
    facts.per_example = largest_trace(task_gram, targets.rows()) / static_cast<double>(targets.rows());
    const Eigenpairs pairs =
        eigenpairs(redistribute(task_gram, grid, task_gram.block()), Solver::automatic, false);
    facts.largest = pairs.values.front() / static_cast<double>(facts.rows);
    const std::vector<double> stops = kernels.task_stopping_steps(std::ssize(study.tasks));
    if (stops.empty() || study.rates.center == "kernel") return facts;
    facts.stopping_eta = !std::isfinite(stops[t])        ? stops[t]
                         : study.rates.step_size.empty() ? stops[t] / facts.largest
                                                         : StepSizes(study.rates.step_size).eta(stops[t]);
    return facts;
}

/// <tau_a, tau_b> of vectors that every rank holds. Local.
TaskVectors inner_products(const std::vector<TrainedTask>& tasks) {
    const auto count = static_cast<Eigen::Index>(tasks.size());
    TaskVectors vectors{Eigen::MatrixXd::Zero(count, count)};
    for (Eigen::Index a = 0; a < count; ++a)
        for (Eigen::Index b = 0; b <= a; ++b) {
            const std::vector<double>&x = tasks[static_cast<std::size_t>(a)].change,
                  &y = tasks[static_cast<std::size_t>(b)].change;
            double sum = 0;
            for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
            vectors.inner(a, b) = vectors.inner(b, a) = sum;
        }
    return vectors;
}

/// The same of the linearised model, c_a^T G c_b; NaN where there is none. Collective.
TaskVectors linear_inner_products(const std::vector<TrainedTask>& tasks, const DistributedMatrix& gram) {
    const auto count = static_cast<Eigen::Index>(tasks.size());
    TaskVectors vectors{Eigen::MatrixXd::Constant(count, count, not_known)};
    for (Eigen::Index b = 0; b < count; ++b) {
        const std::vector<double>& of_b = tasks[static_cast<std::size_t>(b)].solution;
        if (of_b.empty()) return vectors;
        const std::vector<double> image = product(gram, of_b, 1);
        for (Eigen::Index a = 0; a < count; ++a) {
            const std::vector<double>& of_a = tasks[static_cast<std::size_t>(a)].solution;
            double sum = 0;
            for (std::size_t i = 0; i < image.size(); ++i) sum += of_a[i] * image[i];
            vectors.inner(a, b) = sum;
        }
    }
    vectors.inner = (0.5 * (vectors.inner + vectors.inner.transpose())).eval();
    return vectors;
}

/// The test sets after sums of task vectors, in the order of /tasks/arithmetic.
template <class Real>
class TaskSums {
  public:
    /// Collective. @param cross  M x N
    TaskSums(const OpenedStudy& with, const Study& study, const std::vector<TrainedTask>& tasks,
             const DistributedMatrix& cross, MPI_Comm comm)
        : with_(with), study_(study), tasks_(tasks), comm_(comm), sums_(task_sums(tasks.size())) {
        for (const TrainedTask& task : tasks)
            linear_changes_.push_back(task.solution.empty() ? std::vector<double>{}
                                                            : product(cross, task.solution, 1));
    }

    /// Test scores of one task after every sum, of the network and of the linearised model. Collective.
    std::vector<TrainedTasks::Judged> judged(std::size_t t, const std::vector<std::string>& names) const {
        std::vector<TrainedTasks::Judged> rows;
        const GramJob job = job_of_task(with_.job, t);
        if (!job.data.test || job.data.test->examples() == 0) return rows;
        Network<Real> network = initial_network<Real>(with_.model, study_, job, comm_);
        const ParameterVector parameters(network.program(), job.parameters);
        const FinetunePart test = finetune_part(*job.data.test, job.output_names.front(),
                                                logits_of(network, *job.data.test, comm_), tasks_[t].means);
        const std::vector<Index> test_rows = rows_of_task(*with_.job.data.test, with_.job.outputs, t);
        Optimizer moved({}, weights_of(network, parameters));
        for (const std::vector<double>& weights : sums_) {
            collectively(comm_, [&] {
                moved.set_state({0, sum_of_changes(weights), {}, {}});
                set_weights(network, parameters, moved);
            });
            const std::vector<double> logits = logits_of(network, *job.data.test, comm_);
            collectively(comm_, [&] {
                rows.push_back({task_sum_text(names, weights), names[t],
                                score(test, test.rows_of(logits), weights[t]),
                                linear_score(test, test_rows, weights, t), job.data.test->examples()});
            });
        }
        return rows;
    }

  private:
    std::vector<double> sum_of_changes(const std::vector<double>& weights) const {
        std::vector<double> sum(tasks_.front().change.size(), 0.0);
        for (std::size_t a = 0; a < tasks_.size(); ++a)
            for (std::size_t i = 0; weights[a] != 0 && i < sum.size(); ++i)
                sum[i] += weights[a] * tasks_[a].change[i];
        return sum;
    }
    /// A task's mean residual is its own intercept and comes and goes with its vector.
    static TestScore score(const FinetunePart& test, std::vector<double> rows, double weight) {
        for (std::size_t i = 0; i < rows.size(); ++i) rows[i] += weight * test.means[i];
        return score_of(test.targets, rows);
    }
    TestScore linear_score(const FinetunePart& test, const std::vector<Index>& test_rows,
                           const std::vector<double>& weights, std::size_t t) const {
        if (std::ranges::any_of(linear_changes_, &std::vector<double>::empty)) return {not_known, not_known};
        std::vector<double> rows = test.rows_of(test.logits);
        for (std::size_t i = 0; i < rows.size(); ++i)
            for (std::size_t a = 0; a < tasks_.size(); ++a)
                rows[i] += weights[a] * linear_changes_[a][static_cast<std::size_t>(test_rows[i])];
        return score(test, std::move(rows), weights[t]);
    }

    const OpenedStudy& with_;
    const Study& study_;
    const std::vector<TrainedTask>& tasks_;
    MPI_Comm comm_;
    std::vector<std::vector<double>> sums_;
    std::vector<std::vector<double>> linear_changes_;  ///< of every test row, by each task's vector
};

}  // namespace

template <class Real>
TrainedTask StudyRun::State::train_task(const OpenedStudy& with, const StoredKernels& kernels, std::size_t t,
                                        const Inputs& inputs) {
    const std::string& name = study.tasks[t].name;
    const GramJob job = job_of_task(with.job, t);
    Network<Real> network = initial_network<Real>(with.model, study, job, comm);
    const ParameterVector parameters(network.program(), job.parameters);
    TrainedTask task;
    FinetunePart part;
    std::tie(part, task.means) = training_part(study, job.data.train, job.output_names.front(),
                                               logits_of(network, job.data.train, comm));
    const std::vector<Index> rows = rows_of_task(with.job.data.train, with.job.outputs, t);
    const DistributedMatrix gram = principal_submatrix(kernels.gram(), rows);
    task.plan = finetune_plan(study, part.wanted, facts_of_task(kernels, gram, t, study, part.wanted, grid),
                              kernels.has_linear());
    task.plan.recorded = {0, task.plan.settings.steps};
    for (const std::string& note : task.plan.notes)
        session.log.warn(fmt::format("finetune {}: {}", name, note));
    std::optional<LinearisedProblem> linear;
    if (task.plan.without_linear.empty())
        linear.emplace(
            LinearisedProblem{gram, nullptr, part.wanted, task.plan.loss, part.rows_of(part.logits), {}});
    session.log.say(fmt::format("finetune {}: {} steps of {}, learning rate {:.4g}", name,
                                task.plan.settings.steps, study.finetune.optimizer,
                                task.plan.settings.learning_rate));
    std::optional<Finetuning<Real>> training;
    collectively(comm, [&] {
        training.emplace(network,
                         typename Finetuning<Real>::Setting{task.plan, part, nullptr, linear, parameters,
                                                            static_cast<std::uint64_t>(study.finetune.seed)},
                         session);
    });
    const StageCheckpoint checkpoint = checkpoint_of(output, name, inputs);
    if (training->read(checkpoint, grid))
        session.log.say(fmt::format("finetune {}: goes on from the checkpoint after {} steps", name,
                                    training->steps_done()));
    const bool is_kept = train(*training, checkpoint, with.model.files, task.plan.settings.steps);
    keep_training(*training, is_kept, checkpoint, with.model.files, [&] {
        collectively(comm, [&] {
            if (first_rank)
                write_trained_folder(trained_folder(output, name), with.model, {}, network, inputs.hash());
        });
    });
    collectively(comm, [&] {
        task.change = training->change();
        task.tokens = training->tokens();
        task.seconds = training->seconds();
        const auto coefficients = training->linear_coefficients();
        if (!coefficients) return;
        task.solution.assign(static_cast<std::size_t>(kernels.gram().rows()), 0.0);
        for (std::size_t i = 0; i < rows.size(); ++i)
            task.solution[static_cast<std::size_t>(rows[i])] = -(*coefficients)[i];
    });
    return task;
}

template <class Real>
void StudyRun::State::finetune_tasks(const OpenedStudy& with, const Inputs& inputs) {
    const auto start = Clock::now();
    TrainedTasks result;
    collectively(comm, [&] {
        result.optimizer = study.finetune.optimizer;
        result.loss = study.finetune.loss;
        for (const Study::Task& task : study.tasks) {
            result.names.push_back(task.name);
            result.weights.push_back(trained_folder(output, task.name).filename().string());
            if (first_rank) check_trained_folder(trained_folder(output, task.name), inputs.hash());
        }
    });
    const Forecast planned = finetuning_that_fits<Real>(with);
    const StoredKernels kernels(study, comm, output);
    std::vector<TrainedTask> tasks;
    TrainingWork work;
    for (std::size_t t = 0; t < study.tasks.size(); ++t) {
        tasks.push_back(train_task<Real>(with, kernels, t, inputs));
        result.learning_rates.push_back(tasks[t].plan.settings.learning_rate);
        result.steps.push_back(tasks[t].plan.settings.steps);
        work.tokens += tasks[t].tokens;
        work.seconds += tasks[t].seconds;
    }
    collectively(comm, [&] { result.vectors = inner_products(tasks); });
    result.linear = linear_inner_products(tasks, kernels.gram());
    if (kernels.cross() != nullptr) {
        const TaskSums<Real> sums(with, study, tasks, *kernels.cross(), comm);
        std::vector<std::vector<TrainedTasks::Judged>> by_task;
        for (std::size_t t = 0; t < tasks.size(); ++t) by_task.push_back(sums.judged(t, result.names));
        for (std::size_t s = 0; s < task_sums(tasks.size()).size(); ++s)
            for (const auto& rows : by_task)
                if (!rows.empty()) result.judged.push_back(rows[s]);
    }
    write_finetune_stage([&](Hdf5File& h5) { write_trained_tasks(h5, result, inputs.hash()); }, planned, work,
                         seconds_since(start));
    for (const std::string& name : result.names) checkpoint_of(output, name, inputs).remove(comm);
    std::string text = trained_tasks_summary(result);
    text.pop_back();
    session.log.result(text);
}

template void StudyRun::State::finetune_tasks<float>(const OpenedStudy&, const Inputs&);
template void StudyRun::State::finetune_tasks<double>(const OpenedStudy&, const Inputs&);

}  // namespace tangram
