#pragma once
#include <string>
#include <string_view>

#include "tangram/index.hpp"

namespace tangram {

/// Which scalars of the network's C label logits the kernel differentiates (contract: kernel.output).
enum class KernelOutput {
    margin,  ///< logit[1] - logit[0]; two labels
    logits,  ///< every logit: C rows per example, example-major
    trace,   ///< mean over labels of the kernels of the single logits
    sum,     ///< sum of the logits / sqrt(C) (pseudo-NTK, Mohamadi et al., arXiv 2206.12543)
};

/// @throws Error(study) naming kernel.output where the name is none of the above, or margin does not fit C.
KernelOutput kernel_output(std::string_view name, Index labels);
std::string name(KernelOutput output);

/// How an output makes rows of the kernel from gradients of the C logits. A row is the concatenation of
/// `components` gradients, each of one linear combination of the logits.
struct OutputShape {
    Index rows_per_example;
    Index components;

    Index passes() const { return rows_per_example * components; }  ///< backward passes per example
};
OutputShape shape(KernelOutput output, Index labels);

/// Coefficient of logit c in backward pass p (row p / components, component p % components). Dimensionless.
double seed(KernelOutput output, Index labels, Index pass, Index c);

}  // namespace tangram
