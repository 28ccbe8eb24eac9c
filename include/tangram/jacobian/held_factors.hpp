#pragma once
#include <optional>

#include "tangram/jacobian/jacobian_factors.hpp"

namespace tangram {

/// The examples of a data set that a rank answers for, and the factors of some parameters at a time: whatever
/// is made of the Jacobian's rows (tiles of the kernel, its products with vectors, the gradient of a sum) is
/// made of these. Local. The network, the data and the outputs outlive the object.
template <class Real>
class HeldFactors {
  public:
    /// @param examples  of the data, ascending
    HeldFactors(Network<Real>& network, const DataSet& data, const KernelOutputs& outputs,
                std::vector<Index> examples);

    const std::vector<Index>& examples() const noexcept { return examples_; }
    /// What goes through the model of them.
    const PassedRows& passed() const noexcept { return passed_; }

    /// Forward and backward passes over the examples; keeps the factors of these parameters and no others.
    /// @throws as JacobianFactors; then none are held
    void load(KeptParameters kept, const PassProgress& progress);
    /// After load().
    const JacobianFactors<Real>& factors() const { return *factors_; }
    /// The place of an example of the data among the examples held: how factors() counts them.
    Index place(Index example) const;

  private:
    Network<Real>* network_;
    const DataSet* data_;
    const KernelOutputs* outputs_;
    std::vector<Index> examples_;
    PassedRows passed_;
    std::optional<JacobianFactors<Real>> factors_;
};

extern template class HeldFactors<float>;
extern template class HeldFactors<double>;

}  // namespace tangram
