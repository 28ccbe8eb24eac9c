#pragma once
#include <mpi.h>

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "tangram/model/network.hpp"
#include "tangram/text/data_set.hpp"
#include "tangram/training/loss.hpp"

namespace tangram {

class TreeSum;

/// Parameters one after the other in one vector, each in the order of its shape.
struct ParameterVector {
    ParameterVector(const Program& program, std::vector<ParameterId> parameters);

    std::vector<ParameterId> parameters;
    std::vector<Index> offsets;  ///< one per parameter, and the size

    Index size() const { return offsets.back(); }
};

/// The gradient of a network's loss over a batch, by its forward and backward passes: one backward pass for
/// each example, seeded with the derivative of its loss, of which the weights' gradients are summed.
///
/// A batch is cut into parts of at least 8 examples, at most 64 parts; blocks of 16 examples, of one part or
/// of two, go through the network together. Sums over the tokens of a part's block are chains of at most 256
/// fused multiply-adds in the network's precision, added in float64; parts are added in the order of one
/// tree. Nothing of that depends on ranks or threads, so gradients have the same bits on any number of them;
/// more than 64 ranks find no work. Memory per rank: log2(parts / ranks) + 1 vectors of float64, one more per
/// thread (gradient_vectors()). Bytes received per rank and step: about two of them.
template <class Real>
class LossGradient {
  public:
    /// What it is given outlives it.
    LossGradient(Network<Real>& network, const DataSet& data, const TrainingTargets& targets, Loss loss,
                 const ParameterVector& parameters, MPI_Comm comm);
    ~LossGradient();

    /// Collective over comm. @param batch  examples, equal on every rank
    /// @param take  given the gradient of the mean loss over the batch, equal on every rank, in pieces one
    ///              behind the other: the entries from `first` on. No pass is under way by then, so that it
    ///              may change the weights; it does not throw
    /// @return the mean loss. Neither is checked: both are as large as the weights make them
    using Take = std::function<void(Index first, std::span<const double> gradient)>;
    double operator()(std::span<const Index> batch, const Take& take);

  private:
    struct Thread;
    void begin(Index parts);
    Thread& thread();
    std::vector<double> seed(Thread& work, std::span<const Index> examples) const;
    void add_factors(Thread& work, const TokenBlock& block, ParameterId id, RowRange examples,
                     double* sum) const;
    void add_block(Thread& work, const TokenBlock& block, std::span<const Index> ends, bool fresh,
                   double* sum) const;
    void sum_parts(Thread& work, std::span<const Index> examples, Index first_part, double* sum) const;

    Network<Real>* network_;
    const DataSet* data_;
    const TrainingTargets* targets_;
    Loss loss_;
    const ParameterVector* parameters_;
    MPI_Comm comm_;
    std::vector<std::vector<Factor>> factors_;  // by parameter of the program
    std::vector<std::unique_ptr<Thread>> threads_;
    std::unique_ptr<TreeSum> sums_;
    Index parts_ = 0;  // that sums_ is of
};

/// Parts that a batch of so many examples is cut into: what ranks and threads share. Local.
Index gradient_parts(Index batch);

/// Vectors of the gradient's size that a LossGradient holds on the rank that holds most, for batches of so
/// many examples. Local.
Index gradient_vectors(Index batch, int ranks, int threads);

/// Entries of float64 beside them, where two parts go through the network together: of every thread the
/// second's sum of one tensor that is no linear weight. Local.
Index second_part_entries(const Program& program, const std::vector<ParameterId>& parameters, Index batch,
                          int ranks, int threads);

/// Logits of all examples of a data set, n x C, as the Jacobian's passes have them. Equal on every rank, the
/// same bits on any number of them. Collective over comm.
template <class Real>
std::vector<double> logits_of(Network<Real>& network, const DataSet& data, MPI_Comm comm);

extern template class LossGradient<float>;
extern template class LossGradient<double>;

}  // namespace tangram
