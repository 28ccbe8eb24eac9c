#pragma once
#include <memory>

#include "tangram/gram/jacobian_operator.hpp"
#include "tangram/io/hdf5_file.hpp"
#include "tangram/spectrum/leading_pairs.hpp"
#include "tangram/study/configuration.hpp"
#include "tangram/study/open_study.hpp"

namespace tangram {

/// The kernel of a study with spectrum.matrix = "free": its network, and its Gram matrix as a product, from
/// the stage that opened it to those that multiply with it. In the study's precision.
class FreeKernel {
  public:
    virtual ~FreeKernel() = default;
    virtual const OpenedStudy& opened() const = 0;
    /// Refers to this.
    virtual SymmetricOperator gram() = 0;
    /// Of all of J; looked at once. Collective.
    virtual const JacobianSquares& squares() = 0;
    /// /data, and /kernel without matrices, behind squares(). Local; the first rank.
    virtual void write(Hdf5File& file) const = 0;
};

/// Reads the weights; no pass yet. Collective.
/// @param study         outlives the object
/// @param factor_bytes  as KernelProblem's
std::unique_ptr<FreeKernel> free_kernel(OpenedStudy opened, const Study& study, double factor_bytes,
                                        MPI_Comm comm);

}  // namespace tangram
