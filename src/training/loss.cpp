#include "tangram/training/loss.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "tangram/elementary.hpp"
#include "tangram/error.hpp"

namespace tangram {

Loss loss_by_name(std::string_view name) {
    if (name == "squared") return Loss::squared;
    if (name == "cross-entropy") return Loss::cross_entropy;
    throw Error(ExitStatus::study, ErrorKind::unknown_name,
                fmt::format("finetune.loss = \"{}\" is not possible; use squared or cross-entropy", name));
}

void rows_of_logits(KernelOutput output, std::span<const double> logits, std::span<double> rows) {
    if (output == KernelOutput::margin)
        rows[0] = logits[1] - logits[0];
    else
        std::ranges::copy(logits, rows.begin());
}

namespace {

/// log(1 + x), x in [0, 1]: what rounding took from 1 + x is the same in both factors (Goldberg 1991, Theorem
/// 4).
double log1p(double x) {
    const double sum = 1 + x;
    return sum == 1 ? x : elementary::log(sum) * (x / (sum - 1));
}

/// log(1 + exp(x)) without overflow.
double softplus(double x) { return std::max(x, 0.0) + log1p(elementary::exp(-std::abs(x))); }

double squared(std::span<const double> wanted, std::span<const double> rows, std::span<double> slopes) {
    const auto count = static_cast<double>(rows.size());
    double sum = 0;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const double error = rows[r] - wanted[r];
        sum += error * error;
        slopes[r] = error / count;
    }
    return sum / (2 * count);
}

double cross_entropy_of_logits(std::size_t own, std::span<const double> rows, std::span<double> slopes) {
    const double largest = *std::ranges::max_element(rows);
    double sum = 0;
    for (std::size_t c = 0; c < rows.size(); ++c) {
        slopes[c] = elementary::exp(rows[c] - largest);
        sum += slopes[c];
    }
    for (double& slope : slopes) slope /= sum;
    slopes[own] -= 1;
    return elementary::log(sum) + largest - rows[own];
}

}  // namespace

double loss_of_example(Loss loss, const TrainingTargets& targets, Index example, std::span<const double> rows,
                       std::span<double> slopes) {
    if (loss == Loss::squared)
        return squared(std::span(targets.wanted).subspan(targets.first_row(example), rows.size()), rows,
                       slopes);
    const auto own = static_cast<std::size_t>(targets.own[static_cast<std::size_t>(example)]);
    if (targets.output == KernelOutput::logits) return cross_entropy_of_logits(own, rows, slopes);
    const double sign = own == 1 ? 1.0 : -1.0, m = sign * rows[0];
    slopes[0] = -sign / (1 + elementary::exp(m));
    return softplus(-m);
}

double mean_loss(Loss loss, const TrainingTargets& targets, std::span<const double> rows) {
    const auto per_example = static_cast<std::size_t>(targets.rows());
    std::vector<double> slopes(per_example);
    double sum = 0;
    for (Index e = 0; e < targets.examples(); ++e)
        sum += loss_of_example(loss, targets, e, rows.subspan(targets.first_row(e), per_example), slopes);
    return sum / static_cast<double>(targets.examples());
}

double curvature(Loss loss, const TrainingTargets& targets) {
    if (loss == Loss::squared) return 1;
    return targets.output == KernelOutput::margin ? 0.25 : static_cast<double>(targets.labels) / 2;
}

}  // namespace tangram
