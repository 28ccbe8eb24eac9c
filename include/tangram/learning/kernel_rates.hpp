#pragma once
#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "tangram/learning/listener.hpp"
#include "tangram/learning/nested_subsets.hpp"
#include "tangram/rates/decay.hpp"
#include "tangram/rates/error_bound.hpp"
#include "tangram/rates/exponents.hpp"
#include "tangram/rates/noise.hpp"
#include "tangram/rates/paired_comparison.hpp"
#include "tangram/rates/stopping.hpp"
#include "tangram/rates/tasks.hpp"

namespace tangram {

/// A kernel with what its rows are to predict: a study's, or somebody else's. What is absent leaves its part
/// of the rates out. All matrices stand on one grid in one block.
struct RatesInput {
    std::vector<double> eigenvalues;  ///< of G, descending
    double noise_floor = 0;           ///< scale of G
    bool mixed_precision = false;
    Index rows = 0;    ///< of the kernel; more than eigenvalues where only some are known
    Index sketch = 0;  ///< numbers of all sketched tensors of the kernel together; 0: exact
    /// Why there is no stopping step, where it is not for want of sigma.
    std::optional<std::string> no_stop;
    const DistributedMatrix* vectors = nullptr;  ///< N x N; with it `train` is set
    const DistributedMatrix* gram = nullptr;     ///< N x N
    /// Where the kernel was centred (centring.hpp): what it was before.
    const DistributedMatrix* uncentred_gram = nullptr;
    const DistributedMatrix* cross = nullptr;            ///< M x N; with it `test` is set
    const std::vector<double>* test_diagonal = nullptr;  ///< M, k(x, x)
    std::optional<Targets> train, test;
    /// Several tasks: their names, and the task of every example; empty where there is one.
    std::vector<std::string> task_names;
    std::vector<std::int32_t> train_tasks, test_tasks;
};

/// The [rates] of a study, and where its random numbers start.
struct RatesOptions {
    std::optional<double> noise, radius;
    std::vector<double> step_sizes;  ///< empty: 1/l_1
    Centring center = Centring::residual;
    std::vector<Index> sizes;  ///< empty: powers of two from 128, and n
    Index repeats = 5, neighbours = 0;
    std::uint64_t seed = 1;
    std::optional<DecayWindow> window = {};  ///< of the decay fit; none: chosen
};

/// The sizes of the learning curve, rising. Local. @param asked  RatesOptions::sizes; those above the sample
/// are dropped
std::vector<Index> curve_sizes(std::vector<Index> asked, Index examples);

/// alpha_t of gradient descent: those that the options list, or 1/l_1. Local.
/// @param largest  l_1, scale of G/n
std::vector<double> step_sizes(const RatesOptions& options, double largest);

/// Local. `known`: eigenvalues that are or will be there.
/// @throws Error(study, out_of_range) where the window reaches past them or holds fewer than smallest_window
void check_window(const std::optional<DecayWindow>& window, Index known);

inline constexpr const char* on_test_set = "the test set";
inline constexpr const char* on_other_half = "the other half of the examples";

/// The learning curve: sizes x repeats. At the whole sample all repeats are equal.
struct LearningCurve {
    std::vector<Index> sizes;
    std::vector<std::vector<SubsetResult>> results;
    std::vector<std::vector<Index>> orders;  ///< subset_orders() of the repeats
    /// Eigenlearning's error on unseen rows, NaN where there is none: of ridge regression at each subset's
    /// GCV ridge, and of gradient descent's ridge twin at each subset's T.
    std::vector<std::vector<double>> predicted_ridge, predicted_descent;
    double base_rate = 0;
    Index test_examples = 0;
    std::string observed_on;  ///< on_test_set or on_other_half
};

struct Functionals {
    double effective_rank, stable_rank, participation_ratio;
    double alignment_labels, alignment_residual, alignment_slope;  ///< NaN from eigenvalues alone
    double effective_dimension_at_stop, information_gain_at_noise;
    std::vector<double> t, effective_dimension, information_gain;
};

/// Local kernel regression on the nearest training examples (test-time training); means over test examples.
struct Neighbours {
    std::vector<Index> sizes;  ///< k
    std::vector<double> accuracy, mse, effective_dimension;
    double global_accuracy, global_mse;
    std::vector<std::int32_t>
        nearest;  ///< M examples x largest k: training examples by falling angle's cosine
    std::vector<double> cosines;
    Index test_examples;
};

/// Task arithmetic on the linearised model (rates/tasks.hpp).
struct TasksResult {
    std::vector<std::string> names;
    std::vector<double> stop, noise, radius, critical;  ///< of each task alone
    std::vector<Index> examples;
    TaskVectors vectors;
    /// One task's test set judged after adding every task's vector times its weight to the model.
    struct Judged {
        std::string weights, task;
        TestScore score;
        TestScore intercept;  ///< with the means of the residuals alone, times their weights, and no vector
        Index test_examples;
    };
    std::vector<Judged> judged;
};

/// Everything under /rates, /neighbours and /tasks; equal on every rank. N rows, o outputs per row
/// (docs/mathematics.md; errors are means over both).
struct RatesResult {
    Index rows = 0, outputs = 1, examples = 0;
    double noise_floor = 0;  ///< scale of G/n
    Index sketch = 0;        ///< as RatesInput's
    /// Why there is no stopping step, where there is none.
    std::string no_stop = "sigma is not known, for want of targets or of all eigenpairs";
    /// Eigenvalues of G/n that T stands on: above 1/eta_T, and where sigma or R are estimated also above the
    /// GCV ridge, which they are estimated with.
    Index eigenvalues_at_stop = 0, eigenvalues_at_ridge = 0;
    /// docs/mathematics.md, Sketches: the last rank that shows an exponent, the dimensions that T needs, and
    /// whether they are there.
    Index trusted_ranks() const { return sketch > 0 ? sketch / 10 : every_rank; }
    Index sketch_needed() const { return 10 * std::max(eigenvalues_at_stop, eigenvalues_at_ridge); }
    /// Without targets and without a given sigma there is no stopping step.
    bool stop_known() const { return !std::isnan(noise); }
    bool stop_trusted() const { return sketch == 0 || sketch >= sketch_needed(); }
    DecayFit decay;
    bool window_given = false;  ///< decay.window is RatesOptions::window, cut where nothing can be fitted
    bool has_matrix = false;    ///< the Gram matrix is there, so that subsets can be learnt
    std::string unpredictable;  ///< why eigenlearning says nothing of unseen rows; empty: it does
    DecayIntervals intervals;
    // stopping
    double noise = 0, radius = 0, critical = 0, stop = 0;
    std::vector<double> step_sizes;
    std::string noise_source, radius_source;
    StoppingSensitivity sensitivity{};
    StoppingPath path;
    ErrorBound bound{};
    std::optional<TargetPower> power;      ///< of the target by rank, where the coefficients show it
    std::optional<SourceCapacity> source;  ///< where eigenvalues show a power too; crossover: examples
    std::string source_reason;             ///< why there is none
    /// T with the 95 % interval of its logarithm, by the spread over halves of the examples with their own
    /// sigma and R and the rule for all rows: the spread over halves is that of the whole (rates/decay.hpp).
    /// None where fewer than two have a T.
    std::optional<Interval> stop_interval;
    // from here on only with eigenvectors and targets
    std::optional<double> discrepancy_step, cross_validated_step, holdout_step, best_step;
    double residual_square = 0;         ///< mean r^2 after centring
    std::vector<double> residual_mean;  ///< by group
    double mean_share = 0;              ///< of the raw residual's mean square
    std::vector<double> test_mse, test_accuracy, ridge_test_mse, ridge_test_accuracy;  ///< by step
    /// The model as it stands, without the residual's mean, which every step has.
    std::optional<TestScore> model_alone;
    /// Step T against step 0 on the test set, the residual's mean added at both; none where T is infinite.
    std::optional<PairedComparison> learnt;
    Judgement at_stop;                                 ///< of the test examples, with `learnt`
    std::vector<double> labels, residual, cumulative;  ///< N x outputs, row-major
    LearningCurve curve;
    std::vector<RateExponent> exponents;
    std::string sentence;
    Functionals functionals{};
    std::optional<Neighbours> neighbours;
    std::optional<TasksResult> tasks;
};

/// Collective over the grid of the matrices; local from eigenvalues alone.
/// @throws Error(study, numerical) on every rank for what the input does not allow, and what the listener
///         throws
RatesResult compute_rates(const RatesInput& input, const RatesOptions& options, const Listener& listener);

/// The rates that are known, in words; those that bound over the unit ball only where a bound holds. Local.
/// @param result  with its table of rates and its bound
std::string rates_sentence(const RatesResult& result);

/// The rows of the table of rates, from everything else in the result. Local.
/// @param l, squares  of the whole sample; squares empty where only eigenvalues are known
/// @param halves  subsets of half the examples with their spectra
void tabulate_exponents(RatesResult& result, const std::vector<double>& l, const std::vector<double>& squares,
                        const std::vector<SubsetResult>& halves);

/// Weights of the tasks' vectors in the sums that are judged: the start, every task alone, every task
/// forgotten, all together. Local.
std::vector<std::vector<double>> task_sums(std::size_t tasks);
/// Such weights for a reader: "sst2:+1 agnews:-1"; "none" where every one is zero. Local.
std::string task_sum_text(const std::vector<std::string>& names, const std::vector<double>& weights);

/// Every task's solution at its own stopping step, their inner products, and what adding or negating them
/// predicts. Collective over the grid; solves each task's part of the Gram matrix.
TasksResult task_arithmetic(const RatesInput& input, const RatesOptions& options, const Listener& listener);

/// Local regression on the `largest` nearest training examples of every test example. Collective over the
/// grid.
Neighbours nearest_examples(const RatesInput& input, const KernelRegression& regression, Index largest,
                            double ridge, const Listener& listener);

}  // namespace tangram
