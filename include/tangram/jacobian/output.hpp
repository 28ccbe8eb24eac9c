#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// Which scalars of the network's C label logits the kernel differentiates (kernel.output).
enum class KernelOutput {
    margin,  ///< logit[1] - logit[0]; two labels
    logits,  ///< every logit: C rows per example, example-major
    trace,   ///< mean over labels of the kernels of the single logits
    sum,     ///< sum of the logits / sqrt(C) (pseudo-NTK, Mohamadi et al., arXiv 2206.12543)
    loss,    ///< cross-entropy of the C logits at the example's own label
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

/// The outputs of every task: its labels are some of the network's, one after the other. Examples of
/// different tasks may have different numbers of rows.
class KernelOutputs {
  public:
    /// One task with all of the network's labels.
    KernelOutputs(KernelOutput output, Index labels) { add(output, labels); }
    KernelOutputs() = default;
    /// @throws Error(study) where an output that is no target's own (trace, sum, loss) stands beside another
    /// task
    void add(KernelOutput output, Index labels);

    Index tasks() const { return static_cast<Index>(tasks_.size()); }
    Index labels() const { return labels_; }  ///< of all tasks: the network's
    KernelOutput output(Index task) const { return tasks_[static_cast<std::size_t>(task)].output; }
    Index first_label(Index task) const { return tasks_[static_cast<std::size_t>(task)].first_label; }
    Index labels(Index task) const { return tasks_[static_cast<std::size_t>(task)].labels; }
    OutputShape shape(Index task) const { return tangram::shape(output(task), labels(task)); }
    Index components() const { return shape(0).components; }
    Index passes() const;  ///< the largest over tasks
    /// Whether each gradient of a task's example is that of one label: where labels have sequences of their
    /// own, of that sequence alone, else of all.
    bool of_one_label(Index task) const {
        return output(task) == KernelOutput::logits || output(task) == KernelOutput::trace;
    }
    /// seeds() of the one backward pass where every label has a sequence of its own: the gradients of several
    /// passes stand side by side in it.
    template <class Real>
    void sequence_seeds(Index task, Index label, std::span<const Real> logits, std::span<Real> seeds) const;
    /// Coefficients of the network's logits in backward pass p of an example (row p / components, component
    /// p % components): derivatives of what the pass differentiates. Dimensionless; 0 for the labels of other
    /// tasks and in passes that the task lacks.
    /// @param label          of the example, among its task's
    /// @param logits, seeds  one per label of the network; seeds are overwritten
    template <class Real>
    void seeds(Index task, Index pass, Index label, std::span<const Real> logits,
               std::span<Real> seeds) const;

  private:
    struct Task {
        KernelOutput output;
        Index first_label, labels;
    };
    std::vector<Task> tasks_;
    Index labels_ = 0;
};

}  // namespace tangram
