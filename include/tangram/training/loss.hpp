#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tangram/jacobian/output.hpp"

namespace tangram {

/// What training minimises, a mean over examples (docs/mathematics.md, Fine-tuning):
enum class Loss {
    squared,        ///< half the mean of (y - f)^2 over the example's rows of the kernel
    cross_entropy,  ///< -log of the true label's probability, softmax of the label words' logits
};

/// "squared" or "cross-entropy". @throws Error(study) naming finetune.loss where there is none of that name
Loss loss_by_name(std::string_view name);

/// What is asked of the network's outputs. A row is a row of the kernel; those of an example stand together.
/// Equal on every rank.
struct TrainingTargets {
    KernelOutput output = KernelOutput::margin;  ///< margin: one row, logit[1] - logit[0]; logits: C rows
    Index labels = 2;                            ///< C
    /// n x rows, of the squared loss: y less the residual's mean, where that is taken out.
    std::vector<double> wanted;
    std::vector<std::int32_t> own;  ///< n labels, 0 .. C-1

    Index examples() const { return std::ssize(own); }
    Index rows() const { return output == KernelOutput::margin ? 1 : labels; }  ///< of an example
    std::size_t first_row(Index example) const { return static_cast<std::size_t>(example * rows()); }
};

/// An example's rows from its C logits. Local. @param rows  overwritten
void rows_of_logits(KernelOutput output, std::span<const double> logits, std::span<double> rows);

/// The loss of one example and its derivatives by the example's rows. Local. Cross-entropy of a margin m is
/// log(1 + exp(-m)) for label 1, log(1 + exp(m)) for label 0, which is the softmax of the two logits.
/// @param slopes  one per row, overwritten
double loss_of_example(Loss loss, const TrainingTargets& targets, Index example, std::span<const double> rows,
                       std::span<double> slopes);

/// Mean over all examples. Local. @param rows  n x rows
double mean_loss(Loss loss, const TrainingTargets& targets, std::span<const double> rows);

/// Largest curvature of the loss times the largest eigenvalue of G/N: gradient descent on the linearised
/// model is stable below 2 / (curvature l_1). 1 for the squared loss; for cross-entropy 1/4 for the margin,
/// C/2 for the logits (Boehning 1992: the Hessian is at most 1/2, and the loss is a mean over N/C examples).
double curvature(Loss loss, const TrainingTargets& targets);

}  // namespace tangram
