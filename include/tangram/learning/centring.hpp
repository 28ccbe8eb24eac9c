#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "tangram/learning/targets.hpp"
#include "tangram/parallel/distributed_matrix.hpp"
#include "tangram/spectrum/eigenpairs.hpp"

namespace tangram {

struct RatesInput;

/// H G H, H the projection off the constants of each group of rows (rows of several outputs are one group):
/// the Gram matrix of functions whose training mean is zero. Members are collective over G's grid.
class KernelCentring {
  public:
    /// @param gram  N x N, symmetric; read only here
    KernelCentring(const DistributedMatrix& gram, const Targets& train);

    /// G, or a copy of it. It stays symmetric to the last bit.
    void centre(DistributedMatrix& gram) const;
    /// M x N, test x train: the test rows' functions less the training means. Where `diagonal` is given, M
    /// entries k(x, x), they become those of the centred kernel.
    void centre_cross(DistributedMatrix& cross, const Targets& test, std::vector<double>* diagonal) const;

  private:
    std::size_t groups_ = 0;
    std::vector<std::size_t> group_of_;     ///< of each training row
    std::vector<double> indicator_;         ///< N x groups: 1/rows of the group
    std::vector<double> means_, of_means_;  ///< N x groups, groups x groups
};

/// A kernel with its functions centred, decomposed anew: what compute_rates() is given in its place.
/// `input()` points into it. Memory: copies of the Gram and the cross Gram matrix, and new eigenvectors.
class CentredKernel {
  public:
    /// Collective over the grid of the matrices. @throws Error(study) on every rank without a Gram matrix
    explicit CentredKernel(const RatesInput& input);
    CentredKernel(const CentredKernel&) = delete;
    CentredKernel& operator=(const CentredKernel&) = delete;
    const RatesInput& input() const;

  private:
    std::optional<DistributedMatrix> gram_, cross_;
    std::optional<Eigenpairs> pairs_;
    std::vector<double> diagonal_;
    std::unique_ptr<RatesInput> input_;
};

}  // namespace tangram
