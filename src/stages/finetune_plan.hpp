#pragma once
#include <optional>
#include <string>

#include "tangram/io/input_file.hpp"
#include "tangram/not_known.hpp"
#include "tangram/study/job.hpp"
#include "tangram/training/loss.hpp"
#include "tangram/training/optimizer.hpp"

namespace tangram {

/// What the output file says of a kernel that its network is trained beside. A learning rate is in the scale
/// of 1/l of G/N.
struct KernelFacts {
    Index rows = 0;                   ///< N
    double largest = not_known;       ///< l_1, the largest eigenvalue of G/N
    double per_example = not_known;   ///< the largest of an example's own kernels (its trace), over its rows
    double stopping_eta = not_known;  ///< eta_T of the rates' stopping step; may be infinite
    double beyond = 2;                ///< steps = "auto": rates add up to so many times eta_T
};

/// The [finetune] of a study with nothing left to choose. Equal on every rank.
struct FinetunePlan {
    OptimizerSettings settings;
    Loss loss = Loss::squared;
    Index batch = 0;                  ///< 0: all
    double largest_rate = not_known;  ///< above it the linearised model diverges
    /// The first step at which the learning rates add up to eta_T: NaN where the stopping step says nothing
    /// of this rule or loss, infinite where it is behind the last step.
    double stopping_step = not_known;
    std::string without_linear;      ///< why there is no linearised model; empty: there is one
    std::vector<std::string> notes;  ///< for a person
    std::vector<Index> recorded;     ///< steps, ascending: 0, powers of sqrt(2), T, the last
};

/// Local. @param curvature  of the loss (training/loss.hpp)
/// @param linear_formula  whether the file holds the kernel that the linearised model of this rule takes
/// @throws Error(study) naming the key that is "auto" where the file lacks what it follows from
FinetunePlan finetune_plan(const Study& study, const TrainingTargets& targets, const KernelFacts& facts,
                           bool linear_formula);

/// The formula of the kernel that a rule's linearised model takes: sgd's, or of signgd the asymmetric one.
std::string linear_formula(Rule rule);

}  // namespace tangram
