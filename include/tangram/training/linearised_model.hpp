#pragma once
#include <span>
#include <vector>

#include "tangram/parallel/distributed_matrix.hpp"
#include "tangram/training/loss.hpp"
#include "tangram/training/optimizer.hpp"

namespace tangram {

/// What the linearised model is made of; outlives it.
struct LinearisedProblem {
    const DistributedMatrix& gram;   ///< N x N, on a grid of all ranks x 1
    const DistributedMatrix* cross;  ///< M x N, test x train, on the same grid; nullptr: none
    const TrainingTargets& targets;  ///< of the training examples
    Loss loss;
    std::vector<double> initial;       ///< N rows of the network's outputs at its initial weights
    std::vector<double> initial_test;  ///< M
};

/// The network's linearisation in its initial weights, f(w) = f_0 + J (w - w_0), trained by the same rule on
/// the same batches, in its outputs alone: w - w_0 stays a sum of the rows' gradients, w - w_0 = -J^T a, so
/// that f = f_0 - G a, and a step adds rate v to a, v = momentum v + dL/df. With signgd on single examples it
/// adds rate sign(dL/df), and the kernel is the asymmetric one, <grad, sign grad> (Malladi et al., arXiv
/// 2210.05643). Members are collective over the grid where they say so; sums go along a rank's whole rows, so
/// results have the same bits on any number of ranks.
class LinearisedModel {
  public:
    LinearisedModel(const LinearisedProblem& problem, const OptimizerSettings& settings);

    /// Whether steps of these settings can be taken in the outputs: gd and sgd without weight decay, signgd
    /// on batches of one row.
    static bool follows(const OptimizerSettings& settings, Index rows_of_batch);

    /// One step on these examples. Collective.
    void step(std::span<const Index> batch);
    /// Outputs of the training rows, and of the test rows. Collective.
    std::vector<double> outputs() const;
    std::vector<double> test_outputs() const;

    /// What a checkpoint keeps: number of steps, a and v.
    struct State {
        Index done = 0;
        std::vector<double> coefficients, velocity;
    };
    const State& state() const { return state_; }
    void set_state(State state) { state_ = std::move(state); }

  private:
    std::vector<double> outputs_of(std::span<const Index> rows) const;
    void add_slope(std::size_t row, double slope, double rate);

    const LinearisedProblem* problem_;
    OptimizerSettings settings_;
    State state_;
};

}  // namespace tangram
