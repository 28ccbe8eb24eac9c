#include "tangram/jacobian/output.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "tangram/elementary.hpp"
#include "tangram/error.hpp"

namespace tangram {

KernelOutput kernel_output(std::string_view name, Index labels) {
    if (name == "logits") return KernelOutput::logits;
    if (name == "trace") return KernelOutput::trace;
    if (name == "sum") return KernelOutput::sum;
    if (name == "loss") return KernelOutput::loss;
    if (name == "margin") {
        if (labels != 2)
            throw Error(
                ExitStatus::study, ErrorKind::contradiction,
                fmt::format("kernel.output = \"margin\" needs two labels, the study has {}; use \"logits\", "
                            "\"trace\", \"sum\" or \"loss\"",
                            labels));
        return KernelOutput::margin;
    }
    throw Error(ExitStatus::study, ErrorKind::unknown_name,
                fmt::format("kernel.output = \"{}\" is not possible; use \"margin\", "
                            "\"logits\", \"trace\", \"sum\" or \"loss\"",
                            name));
}

std::string name(KernelOutput output) {
    switch (output) {
        case KernelOutput::margin:
            return "margin";
        case KernelOutput::logits:
            return "logits";
        case KernelOutput::trace:
            return "trace";
        case KernelOutput::sum:
            return "sum";
        case KernelOutput::loss:
            return "loss";
    }
    return "";
}

OutputShape shape(KernelOutput output, Index labels) {
    if (output == KernelOutput::logits) return {labels, 1};
    if (output == KernelOutput::trace) return {1, labels};
    return {1, 1};
}

namespace {

/// Coefficient of logit c in a backward pass, where it does not depend on the logits.
double constant_seed(KernelOutput output, Index labels, Index pass, Index c) {
    const double scale = 1.0 / std::sqrt(static_cast<double>(labels));
    if (output == KernelOutput::margin) return c == 1 ? 1.0 : -1.0;
    if (output == KernelOutput::sum) return scale;
    if (c != pass) return 0.0;
    return output == KernelOutput::trace ? scale : 1.0;
}

}  // namespace

void KernelOutputs::add(KernelOutput output, Index labels) {
    tasks_.push_back({output, labels_, labels});
    labels_ += labels;
    if (tasks() > 1)
        for (Index task = 0; task < tasks(); ++task)
            if (this->output(task) != KernelOutput::margin && this->output(task) != KernelOutput::logits)
                throw Error(ExitStatus::study, ErrorKind::contradiction,
                            fmt::format("kernel.output = \"{}\" has one row for all labels of a task, which "
                                        "is no gradient of one target; with several tasks use \"margin\" "
                                        "or \"logits\"",
                                        name(this->output(task))));
}

Index KernelOutputs::passes() const {
    Index most = 0;
    for (Index task = 0; task < tasks(); ++task) most = std::max(most, shape(task).passes());
    return most;
}

template <class Real>
void KernelOutputs::seeds(Index task, Index pass, Index label, std::span<const Real> logits,
                          std::span<Real> seeds) const {
    std::fill(seeds.begin(), seeds.end(), Real(0));
    const Task& own = tasks_[static_cast<std::size_t>(task)];
    if (pass >= shape(task).passes()) return;
    const auto first = static_cast<std::size_t>(own.first_label),
               count = static_cast<std::size_t>(own.labels);
    if (own.output != KernelOutput::loss) {
        for (std::size_t c = 0; c < count; ++c)
            seeds[first + c] =
                static_cast<Real>(constant_seed(own.output, own.labels, pass, static_cast<Index>(c)));
        return;
    }
    // d/dz_c of log sum_k exp(z_k) - z_label.
    const Real largest =
        *std::max_element(logits.begin() + own.first_label, logits.begin() + own.first_label + own.labels);
    std::vector<double> powers;
    double sum = 0;
    for (std::size_t c = 0; c < count; ++c) {
        powers.push_back(elementary::exp(static_cast<double>(logits[first + c] - largest)));
        sum += powers.back();
    }
    for (std::size_t c = 0; c < count; ++c)
        seeds[first + c] = static_cast<Real>(powers[c] / sum - (static_cast<Index>(c) == label ? 1.0 : 0.0));
}

template <class Real>
void KernelOutputs::sequence_seeds(Index task, Index label, std::span<const Real> logits,
                                   std::span<Real> seeds) const {
    this->seeds(task, 0, label, logits, seeds);
    const Task& own = tasks_[static_cast<std::size_t>(task)];
    for (Index c = 0; c < own.labels && of_one_label(task); ++c)
        seeds[static_cast<std::size_t>(own.first_label + c)] =
            static_cast<Real>(constant_seed(own.output, own.labels, c, c));
}

template void KernelOutputs::sequence_seeds(Index, Index, std::span<const float>, std::span<float>) const;
template void KernelOutputs::sequence_seeds(Index, Index, std::span<const double>, std::span<double>) const;
template void KernelOutputs::seeds(Index, Index, Index, std::span<const float>, std::span<float>) const;
template void KernelOutputs::seeds(Index, Index, Index, std::span<const double>, std::span<double>) const;

}  // namespace tangram
