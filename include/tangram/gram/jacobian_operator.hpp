#pragma once
#include <memory>
#include <vector>

#include "tangram/gram/assembly.hpp"

namespace tangram {

/// What the products of J J^T need, known before anything is allocated. Bytes are those of the rank that
/// needs most.
struct OperatorCost {
    double piece_bytes = 0;         ///< one piece of the Jacobian, multiplied out
    double factor_bytes = 0;        ///< factors held at the same time
    Index groups = 1;               ///< of pieces whose factors are held together; of several, made anew
    double pass_flops = 0;          ///< forward and backward passes of all groups, all ranks
    double multiply_out_flops = 0;  ///< of every product, however many vectors it has, all ranks
    double vector_flops = 0;        ///< of one vector of a product, all ranks
};

/// On any number of ranks, by the first formula of the problem. Local; from tokens and shapes alone.
template <class Real>
OperatorCost operator_cost(const Program& program, const KernelProblem& problem, int ranks);

/// The diagonal of J J^T and what else one look at all of J tells; equal on every rank.
struct JacobianSquares {
    std::vector<double> diagonal;  ///< G_ii, N
    std::vector<double> traces;    ///< of the selected parameters' shares of G, each by itself
    std::vector<double> outputs;   ///< as AssemblyResult::train_outputs
};

/// The Gram matrix as the map X -> J (J^T X), N x b, of which nothing of size N x N is made: of the training
/// rows and the first formula, sgd or signgd. All parameters are multiplied out, piece after piece of
/// `piece_depth` of them: of linear weights that takes at most twice the flops of factors (2(T + b) for
/// 2 T b per parameter and row), of large tables much more. Entries of J are Real, as in assemble(); all
/// products and sums are float64, chains of at most 256, so that G is applied to some 2^-52 of its norm.
/// J^T X is added up in units of 256 rows by TreeSum: the same bits on any number of ranks, threads, and for
/// any `factor_bytes`. Members are collective over comm; what fails on one rank is thrown on all.
template <class Real>
class JacobianOperator {
  public:
    /// @param inputs  outlive the object
    JacobianOperator(const KernelInputs<Real>& inputs, MPI_Comm comm);
    ~JacobianOperator();
    JacobianOperator(const JacobianOperator&) = delete;
    JacobianOperator& operator=(const JacobianOperator&) = delete;

    Index rows() const;
    /// G X. @param X  N x vectors, row-major, equal on every rank, as is the result
    /// @throws Error(numerical) naming example and tensor of a non-finite gradient
    std::vector<double> product(const std::vector<double>& X, Index vectors);
    /// @throws as product(), and Error(numerical) naming the row where a square exceeds the range
    JacobianSquares squares();

  private:
    class Rows;
    std::unique_ptr<Rows> own_;
};

extern template class JacobianOperator<float>;
extern template class JacobianOperator<double>;

}  // namespace tangram
