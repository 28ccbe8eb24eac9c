#include "tangram/learning/targets.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace tangram {

namespace {

/// What the entries of one example say: which label, by sign or by the largest entry.
Index named_label(std::span<const double> entries) {
    if (entries.size() == 1) return entries[0] > 0 ? 1 : 0;
    return std::max_element(entries.begin(), entries.end()) - entries.begin();
}

std::span<const double> entries_of(const Targets& targets, std::span<const double> values,
                                   std::size_t example) {
    return values.subspan(static_cast<std::size_t>(targets.offsets[example]),
                          static_cast<std::size_t>(targets.offsets[example + 1] - targets.offsets[example]));
}

}  // namespace

std::vector<Index> Targets::rows_of(std::span<const Index> examples) const {
    std::vector<Index> rows;
    for (const Index e : examples)
        for (Index row = first_row(e); row < first_row(e + 1); ++row) rows.push_back(row);
    return rows;
}

Targets Targets::of(std::span<const Index> examples) const {
    Targets part;
    part.outputs = outputs;
    part.classes = classes;
    for (const Index e : examples) {
        for (Index i = offsets[static_cast<std::size_t>(e)]; i < offsets[static_cast<std::size_t>(e + 1)];
             ++i) {
            const auto entry = static_cast<std::size_t>(i);
            part.labels.push_back(labels[entry]);
            part.initial.push_back(initial[entry]);
            part.groups.push_back(groups[entry]);
        }
        part.offsets.push_back(std::ssize(part.labels));
    }
    return part;
}

void Targets::append(const Targets& other, std::int32_t first_group) {
    const Index first = offsets.back();
    labels.insert(labels.end(), other.labels.begin(), other.labels.end());
    initial.insert(initial.end(), other.initial.begin(), other.initial.end());
    for (std::size_t e = 1; e < other.offsets.size(); ++e) offsets.push_back(first + other.offsets[e]);
    for (const std::int32_t group : other.groups) groups.push_back(first_group + group);
}

Targets targets(const std::string& output, const std::vector<std::int32_t>& labels,
                const std::vector<double>& logits) {
    const auto examples = labels.size(), classes = logits.size() / std::max<std::size_t>(1, examples);
    Targets result;
    for (std::size_t e = 0; e < examples; ++e) {
        if (output == "margin") {
            result.labels.push_back(labels[e] == 1 ? 1.0 : -1.0);
            result.initial.push_back(logits[2 * e + 1] - logits[2 * e]);
            result.groups.push_back(0);
        } else {
            for (std::size_t c = 0; c < classes; ++c) {
                result.labels.push_back(static_cast<std::size_t>(labels[e]) == c ? 1.0 : 0.0);
                result.initial.push_back(logits[e * classes + c]);
                result.groups.push_back(static_cast<std::int32_t>(c));
            }
        }
        result.offsets.push_back(std::ssize(result.labels));
    }
    // "logits" has a kernel row per entry, "trace" and "sum" a row per example with C outputs.
    result.outputs = output == "trace" || output == "sum" ? static_cast<Index>(classes) : 1;
    return result;
}

Targets task_targets(const TaskNames& tasks, const std::vector<std::int32_t>& task_of,
                     const std::vector<std::int32_t>& labels, const std::vector<double>& logits) {
    if (tasks.names.empty()) return targets(tasks.outputs.front(), labels, logits);
    Targets all;
    const std::size_t columns = logits.size() / std::max<std::size_t>(1, labels.size());
    std::size_t first_label = 0;
    std::int32_t first_group = 0;
    for (std::size_t t = 0; t < tasks.names.size(); ++t) {
        const auto count = static_cast<std::size_t>(tasks.labels[t]);
        std::vector<std::int32_t> own_labels;
        std::vector<double> own_logits;
        for (std::size_t e = 0; e < labels.size(); ++e) {
            if (task_of[e] != static_cast<std::int32_t>(t)) continue;
            own_labels.push_back(labels[e]);
            for (std::size_t c = 0; c < count; ++c)
                own_logits.push_back(logits[e * columns + first_label + c]);
        }
        all.append(targets(tasks.outputs[t], own_labels, own_logits), first_group);
        first_label += count;
        first_group += tasks.outputs[t] == "margin" ? 1 : static_cast<std::int32_t>(count);
    }
    return all;
}

namespace {

bool named_rightly(const Targets& targets, std::span<const double> predictions, std::size_t example) {
    return named_label(entries_of(targets, predictions, example)) ==
           named_label(entries_of(targets, targets.labels, example));
}

}  // namespace

Judgement judgement(const Targets& targets, std::span<const double> predictions) {
    Judgement result;
    for (std::size_t e = 0; e + 1 < targets.offsets.size(); ++e) {
        const auto found = entries_of(targets, predictions, e),
                   wanted = entries_of(targets, targets.labels, e);
        double sum = 0;
        for (std::size_t o = 0; o < found.size(); ++o) sum += (wanted[o] - found[o]) * (wanted[o] - found[o]);
        result.squared_errors.push_back(sum / static_cast<double>(found.size()));
        if (targets.classes) result.right.push_back(named_rightly(targets, predictions, e));
    }
    return result;
}

double accuracy(const Targets& targets, std::span<const double> predictions) {
    Index right = 0;
    for (std::size_t e = 0; e + 1 < targets.offsets.size(); ++e)
        if (named_rightly(targets, predictions, e)) ++right;
    return static_cast<double>(right) / static_cast<double>(targets.examples());
}

double base_rate(const Targets& targets) {
    if (!targets.classes) return 0;
    // Examples of different tasks have different groups, and each task has a most frequent label of its own.
    std::map<std::int32_t, std::map<Index, Index>> counts;
    for (std::size_t e = 0; e + 1 < targets.offsets.size(); ++e)
        ++counts[targets.groups[static_cast<std::size_t>(targets.offsets[e])]]
                [named_label(entries_of(targets, targets.labels, e))];
    Index right = 0;
    for (const auto& [task, labels] : counts) {
        Index most = 0;
        for (const auto& [label, count] : labels) most = std::max(most, count);
        right += most;
    }
    return static_cast<double>(right) / static_cast<double>(targets.examples());
}

std::pair<double, double> share_interval(double share, Index count) {
    const double z = 1.96, n = static_cast<double>(count), scale = 1 / (1 + z * z / n);
    const double centre = scale * (share + z * z / (2 * n));
    const double half = scale * z * std::sqrt(share * (1 - share) / n + z * z / (4 * n * n));
    return {centre - half, centre + half};
}

}  // namespace tangram
