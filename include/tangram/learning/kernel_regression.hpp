#pragma once
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "tangram/learning/targets.hpp"
#include "tangram/parallel/distributed_matrix.hpp"
#include "tangram/rates/step_sizes.hpp"

namespace tangram {

struct TestScore {
    double mse;       ///< mean over examples and outputs, in the labels' units squared
    double accuracy;  ///< NaN where labels are no classes
};
/// Local. @param predictions  one per entry
TestScore score_of(const Targets& targets, std::span<const double> predictions);

/// Regression of the residual y - f_0 on one sample's kernel, in its eigenvectors: any spectral filter
/// (gradient descent at a step, ridge regression at a ridge) is a list of weights, one per eigenvalue, of the
/// solution c = U diag(weights) U^T r. Members are collective over the eigenvectors' grid where they say so;
/// results are equal on its ranks.
class KernelRegression {
  public:
    /// Collective. The residual's means per group are taken out where `center`.
    /// @param w  N eigenvalues of G, descending
    /// @param V  N x N, column i belongs to w[i]; outlives this
    KernelRegression(const std::vector<double>& w, const DistributedMatrix& V, const Targets& train,
                     bool center);

    /// Of the eigenvectors' grid.
    MPI_Comm comm() const { return V_->grid().comm().get(); }
    Index rows() const { return std::ssize(l_); }
    const std::vector<double>& l() const { return l_; }  ///< eigenvalues of K = G/N
    Index outputs() const { return outputs_; }
    /// u_i^T r, N x outputs.
    const std::vector<double>& coefficients() const { return coefficients_; }
    /// (u_i^T r)^2, mean over outputs: N.
    const std::vector<double>& squares() const { return squares_; }
    const std::vector<double>& residual_mean() const { return mean_; }  ///< by group
    double residual_mean_square() const { return mean_square_; }        ///< after centring
    double mean_share() const { return mean_share_; }  ///< of the raw mean square, that centring took out

    /// Weights of gradient descent after t steps, and of ridge regression with a ridge on K.
    std::vector<double> descent(const StepSizes& steps, double t) const;
    std::vector<double> ridge(double on_K) const;
    /// c = U diag(weights) U^T r, N x outputs. Collective.
    std::vector<double> solution(const std::vector<double>& weights) const;

    /// Collective. Examples to be tested on. @param cross  M x N, test x train, same grid and block as V
    /// @param test  outlives this
    void set_test(const DistributedMatrix& cross, const Targets& test);
    bool has_test() const { return projected_.has_value(); }
    /// Predictions on the test examples, f_0 + mean + k(x, X) c, for several lists of weights: per list M x
    /// outputs. Collective.
    std::vector<std::vector<double>> predictions(std::span<const std::vector<double>> weights) const;
    /// Of these, scored_at_once lists at a time. @param weights_of  the k-th of `count` lists. Collective.
    std::vector<TestScore> scores(Index count,
                                  const std::function<std::vector<double>(Index)>& weights_of) const;
    const Targets& test() const { return *test_; }

  private:
    /// The labels' residual behind the network's outputs, centred where asked for; sets its means. Local.
    std::vector<double> residual_of(const Targets& train, bool center);

    const DistributedMatrix* V_;
    std::vector<double> l_;
    Index outputs_;
    std::vector<double> coefficients_, squares_, mean_;
    double mean_square_ = 0, mean_share_ = 0;
    std::optional<DistributedMatrix> projected_;  ///< cross V
    const Targets* test_ = nullptr;
};

/// So many lists of weights, and their predictions, stand side by side.
inline constexpr Index scored_at_once = 32;

/// Noise floor of a sample's eigenvalues of K = G/N, from those of G (spectrum/quality.hpp). Local.
double noise_floor_of_operator(const std::vector<double>& w, bool mixed_precision);

/// V^T B for B rows x outputs, row-major, on every rank; on every rank. Collective.
std::vector<double> coefficients(const DistributedMatrix& V, const std::vector<double>& B, Index outputs);
/// A x for x columns x outputs, row-major, on every rank; on every rank. Collective.
std::vector<double> product(const DistributedMatrix& A, const std::vector<double>& x, Index outputs);

}  // namespace tangram
