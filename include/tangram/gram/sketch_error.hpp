#pragma once
#include <vector>

#include "tangram/gram/assembly.hpp"

namespace tangram {

/// How far a sketched Gram matrix is from the exact one on a principal sub-block. Dimensionless.
struct SketchError {
    double relative = 0;  ///< ||error|| / ||exact||, Frobenius norms
    double largest = 0;   ///< max |error_ij| / sqrt(G_ii G_jj), G exact
    Index rows = 0;       ///< of the sub-block
};

/// Computes the exact sub-block of some examples and compares. Collective over the grid of `gram`, equal on
/// every rank.
/// @param inputs    what the sketched matrix was made of
/// @param examples  of inputs.train, ascending
/// @throws as assemble(). Time and memory of an assembly of these examples alone, without the sketch.
template <class Real>
SketchError sketch_error(const KernelInputs<Real>& inputs, const DistributedMatrix& gram,
                         const std::vector<Index>& examples);

extern template SketchError sketch_error(const KernelInputs<float>&, const DistributedMatrix&,
                                         const std::vector<Index>&);
extern template SketchError sketch_error(const KernelInputs<double>&, const DistributedMatrix&,
                                         const std::vector<Index>&);

}  // namespace tangram
