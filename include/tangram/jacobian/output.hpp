#pragma once
#include <string>
#include <string_view>
#include <vector>

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

/// The outputs of every task: its labels are some of the network's, one after the other. Examples of
/// different tasks may have different numbers of rows.
class KernelOutputs {
  public:
    /// One task with all of the network's labels.
    KernelOutputs(KernelOutput output, Index labels) { add(output, labels); }
    KernelOutputs() = default;
    /// @throws Error(study) where a mean over labels (trace) stands beside another task: between different
    /// labels it
    ///         has no meaning
    void add(KernelOutput output, Index labels);

    Index tasks() const { return static_cast<Index>(tasks_.size()); }
    Index labels() const { return labels_; }  ///< of all tasks: the network's
    KernelOutput output(Index task) const { return tasks_[static_cast<std::size_t>(task)].output; }
    Index first_label(Index task) const { return tasks_[static_cast<std::size_t>(task)].first_label; }
    Index labels(Index task) const { return tasks_[static_cast<std::size_t>(task)].labels; }
    OutputShape shape(Index task) const { return tangram::shape(output(task), labels(task)); }
    Index components() const { return shape(0).components; }
    Index passes() const;  ///< the largest over tasks
    /// Coefficient of the network's logit c in a backward pass for an example of the task; 0 in passes it
    /// lacks.
    double seed(Index task, Index pass, Index c) const;

  private:
    struct Task {
        KernelOutput output;
        Index first_label, labels;
    };
    std::vector<Task> tasks_;
    Index labels_ = 0;
};

}  // namespace tangram
