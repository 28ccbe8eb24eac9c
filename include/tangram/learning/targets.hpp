#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tangram/index.hpp"
#include "tangram/rates/paired_comparison.hpp"

namespace tangram {

/// What rates.center takes out before anything is fitted (docs/mathematics.md, Centring).
enum class Centring {
    none,
    residual,  ///< the residual's training mean, by group; the kernel stays: a bias outside it
    kernel,    ///< that, and the means of the kernel's functions over the training rows
};

/// What a kernel's rows are to predict. An entry is a row and an output, row-major; the entries of an example
/// stand together. Equal on every rank.
struct Targets {
    Index outputs = 1;                 ///< per row of the kernel
    std::vector<double> labels;        ///< y: rows x outputs
    std::vector<double> initial;       ///< f_0: rows x outputs, the network's outputs at its initial weights
    std::vector<Index> offsets{0};     ///< examples + 1, in entries
    std::vector<std::int32_t> groups;  ///< per entry: those of a group share a mean when centred
    bool classes = true;               ///< labels stand for classes, so that accuracy has a meaning

    Index examples() const { return std::ssize(offsets) - 1; }
    Index rows() const { return std::ssize(labels) / outputs; }
    Index first_row(Index example) const { return offsets[static_cast<std::size_t>(example)] / outputs; }
    /// Rows of the kernel of some examples, in their order.
    std::vector<Index> rows_of(std::span<const Index> examples) const;
    /// The targets of some examples, in their order.
    Targets of(std::span<const Index> examples) const;
    /// Adds the examples of another task behind these. @param first_group  what its group 0 becomes
    void append(const Targets& other, std::int32_t first_group);
};

/// Targets by the kernel's output (docs/mathematics.md, Outputs and targets): margin -1 and +1, the others
/// one-hot.
/// @param labels  n, 0 .. C-1
/// @param logits  n x C, the label words' logits at the initial weights
Targets targets(const std::string& output, const std::vector<std::int32_t>& labels,
                const std::vector<double>& logits);

/// Several tasks in one kernel: their names (none: a single task without one), outputs and numbers of labels.
struct TaskNames {
    std::vector<std::string> names, outputs;
    std::vector<Index> labels;
};
/// The targets of examples that stand task after task. @param task_of  one per example; empty: a single task
/// @param logits  n x C, C the labels of all tasks together
Targets task_targets(const TaskNames& tasks, const std::vector<std::int32_t>& task_of,
                     const std::vector<std::int32_t>& labels, const std::vector<double>& logits);

/// Every example judged by itself. @param predictions  one per entry
Judgement judgement(const Targets& targets, std::span<const double> predictions);
/// Share of examples whose prediction names the label: by sign where an example has one entry, else by the
/// largest entry. @param predictions  one per entry
double accuracy(const Targets& targets, std::span<const double> predictions);
/// Accuracy of always naming the most frequent label, of each task its own; 0 where labels are no classes.
double base_rate(const Targets& targets);
/// Wilson's 95 % interval of a share observed on `count` independent examples.
std::pair<double, double> share_interval(double share, Index count);

}  // namespace tangram
