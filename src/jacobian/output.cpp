#include "tangram/jacobian/output.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tangram/error.hpp"

namespace tangram {

KernelOutput kernel_output(std::string_view name, Index labels) {
    if (name == "logits") return KernelOutput::logits;
    if (name == "trace") return KernelOutput::trace;
    if (name == "sum") return KernelOutput::sum;
    if (name == "margin") {
        if (labels != 2)
            throw Error(
                ExitStatus::study,
                fmt::format("kernel.output = \"margin\" needs two labels, the study has {}; use \"logits\", "
                            "\"trace\" or \"sum\"",
                            labels));
        return KernelOutput::margin;
    }
    throw Error(
        ExitStatus::study,
        fmt::format(
            "kernel.output = \"{}\" is not supported; use \"margin\", \"logits\", \"trace\" or \"sum\"",
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
    }
    return "";
}

OutputShape shape(KernelOutput output, Index labels) {
    if (output == KernelOutput::logits) return {labels, 1};
    if (output == KernelOutput::trace) return {1, labels};
    return {1, 1};
}

double seed(KernelOutput output, Index labels, Index pass, Index c) {
    switch (output) {
        case KernelOutput::margin:
            return c == 1 ? 1.0 : -1.0;
        case KernelOutput::logits:
            return c == pass ? 1.0 : 0.0;
        case KernelOutput::trace:
            return c == pass ? 1.0 / std::sqrt(static_cast<double>(labels)) : 0.0;
        case KernelOutput::sum:
            return 1.0 / std::sqrt(static_cast<double>(labels));
    }
    return 0.0;
}

void KernelOutputs::add(KernelOutput output, Index labels) {
    tasks_.push_back({output, labels_, labels});
    labels_ += labels;
    if (tasks() > 1)
        for (Index task = 0; task < tasks(); ++task)
            if (this->output(task) == KernelOutput::trace || this->output(task) == KernelOutput::sum)
                throw Error(ExitStatus::study,
                            fmt::format("kernel.output = \"{}\" has one row for all labels of a task, which "
                                        "is no gradient of "
                                        "one target; with several tasks use \"margin\" or \"logits\"",
                                        name(this->output(task))));
}

Index KernelOutputs::passes() const {
    Index most = 0;
    for (Index task = 0; task < tasks(); ++task) most = std::max(most, shape(task).passes());
    return most;
}

double KernelOutputs::seed(Index task, Index pass, Index c) const {
    const Task& own = tasks_[static_cast<std::size_t>(task)];
    if (c < own.first_label || c >= own.first_label + own.labels || pass >= shape(task).passes()) return 0.0;
    return tangram::seed(own.output, own.labels, pass, c - own.first_label);
}

}  // namespace tangram
