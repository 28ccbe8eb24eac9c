#include "finetune_path.hpp"

#include <algorithm>
#include <cmath>

namespace tangram {

std::vector<double> FinetunePart::rows_of(const std::vector<double>& logits_of_all) const {
    const auto labels = static_cast<std::size_t>(wanted.labels),
               per_example = static_cast<std::size_t>(wanted.rows());
    std::vector<double> rows(wanted.own.size() * per_example);
    for (std::size_t e = 0; e < wanted.own.size(); ++e)
        rows_of_logits(wanted.output, std::span(logits_of_all).subspan(e * labels, labels),
                       std::span(rows).subspan(e * per_example, per_example));
    return rows;
}

std::vector<double> FinetunePart::logits_of(const std::vector<double>& rows) const {
    if (wanted.output == KernelOutput::logits) return rows;
    std::vector<double> all;
    for (std::size_t e = 0; e < rows.size(); ++e) {
        const double sum = logits[2 * e] + logits[2 * e + 1];
        all.push_back((sum - rows[e]) / 2);
        all.push_back((sum + rows[e]) / 2);
    }
    return all;
}

double FinetunePart::accuracy(const std::vector<double>& rows) const {
    std::vector<double> predictions = rows;
    for (std::size_t i = 0; i < rows.size(); ++i) predictions[i] += means[i];
    return tangram::accuracy(targets, predictions);
}

FinetunePart finetune_part(const DataSet& data, const std::string& output, std::vector<double> logits,
                           const std::vector<double>& means) {
    FinetunePart part{&data, targets(output, data.labels, logits), {}, std::move(logits), {}};
    const auto labels = part.logits.size() / std::max<std::size_t>(1, data.labels.size());
    part.wanted = {kernel_output(output, static_cast<Index>(labels)), static_cast<Index>(labels),
                   part.targets.labels, data.labels};
    for (std::size_t i = 0; i < part.targets.groups.size(); ++i) {
        part.means.push_back(means.empty() ? 0 : means[static_cast<std::size_t>(part.targets.groups[i])]);
        part.wanted.wanted[i] -= part.means.back();
    }
    return part;
}

std::vector<double> residual_means(const Targets& targets) {
    const auto groups = static_cast<std::size_t>(*std::ranges::max_element(targets.groups) + 1);
    std::vector<double> sums(groups, 0.0), counts(groups, 0.0);
    for (std::size_t i = 0; i < targets.groups.size(); ++i) {
        const auto group = static_cast<std::size_t>(targets.groups[i]);
        sums[group] += targets.labels[i] - targets.initial[i];
        counts[group] += 1;
    }
    for (std::size_t g = 0; g < groups; ++g) sums[g] /= counts[g];
    return sums;
}

std::pair<FinetunePart, std::vector<double>> training_part(const Study& study, const DataSet& data,
                                                           const std::string& output,
                                                           std::vector<double> logits) {
    FinetunePart part = finetune_part(data, output, std::move(logits), {});
    if (study.rates.center == "false" || study.finetune.loss != "squared") return {std::move(part), {}};
    const std::vector<double> means = residual_means(part.targets);
    return {finetune_part(data, output, std::move(part.logits), means), means};
}

const std::vector<std::pair<std::string, double FinetuneRecord::*>>& numbers_of_record() {
    using R = FinetuneRecord;
    static const std::vector<std::pair<std::string, double R::*>> all{
        {"step", &R::step},
        {"train_loss", &R::train_loss},
        {"test_loss", &R::test_loss},
        {"train_accuracy", &R::train_accuracy},
        {"test_accuracy", &R::test_accuracy},
        {"linear_train_loss", &R::linear_train_loss},
        {"linear_test_loss", &R::linear_test_loss},
        {"linear_train_accuracy", &R::linear_train_accuracy},
        {"linear_test_accuracy", &R::linear_test_accuracy},
        {"weight_change", &R::weight_change}};
    return all;
}

const std::vector<std::pair<std::string, std::vector<double> FinetuneRecord::*>>& outputs_of_record() {
    using R = FinetuneRecord;
    static const std::vector<std::pair<std::string, std::vector<double> R::*>> all{
        {"outputs_train", &R::outputs_train},
        {"outputs_test", &R::outputs_test},
        {"linear_outputs_train", &R::linear_outputs_train},
        {"linear_outputs_test", &R::linear_outputs_test}};
    return all;
}

double best_step(const FinetunePath& path, double FinetuneRecord::*number) {
    double best = not_known, least = std::numeric_limits<double>::infinity();
    for (const FinetuneRecord& record : path)
        if (record.*number < least) {
            least = record.*number;
            best = record.step;
        }
    return best;
}

}  // namespace tangram
