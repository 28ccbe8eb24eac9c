#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "finetune_file.hpp"

namespace tangram {

namespace {

/// A linearised model that is off by more of the change than this has parted from the network.
constexpr double parted = 0.2;

double best_of(const FinetuneResult& r, double FinetuneRecord::*test, double FinetuneRecord::*train) {
    return best_step(r.path, r.tested() ? test : train);
}

/// The record of a step; nullptr: it is none that was recorded.
const FinetuneRecord* at_step(const FinetunePath& path, double step) {
    const auto found = std::ranges::find(path, step, &FinetuneRecord::step);
    return found == path.end() ? nullptr : &*found;
}

/// Of a record, the loss that counts: on the test examples where there are any.
double loss_of(const FinetuneResult& r, const FinetuneRecord& record) {
    return r.tested() ? record.test_loss : record.train_loss;
}

std::string table(const FinetuneResult& r) {
    std::string text =
        fmt::format("{:>8}{:>12}{:>12}{:>12}{:>12}{:>10}{:>10}{:>10}{:>10}\n", "step", "train loss", "linear",
                    "test loss", "linear", "accuracy", "linear", "weights", "gap");
    const auto cell = [](double value, int width, const char* form) {
        return fmt::format("{:>{}}", std::isnan(value) ? "-" : fmt::format(fmt::runtime(form), value), width);
    };
    for (const FinetuneRecord& record : r.path) {
        text += cell(record.step, 8, "{}");
        for (const double loss :
             {record.train_loss, record.linear_train_loss, record.test_loss, record.linear_test_loss})
            text += cell(loss, 12, "{:.4g}");
        text += cell(r.tested() ? record.test_accuracy : record.train_accuracy, 10, "{:.3f}") +
                cell(r.tested() ? record.linear_test_accuracy : record.linear_train_accuracy, 10, "{:.3f}") +
                cell(record.weight_change, 10, "{:.2g}") + cell(r.gap(record), 10, "{:.2g}") +
                (record.step == r.plan.stopping_step ? "  T\n" : "\n");
    }
    return text;
}

}  // namespace

double FinetuneResult::best() const {
    return best_of(*this, &FinetuneRecord::test_loss, &FinetuneRecord::train_loss);
}
double FinetuneResult::linear_best() const {
    return best_of(*this, &FinetuneRecord::linear_test_loss, &FinetuneRecord::linear_train_loss);
}

double FinetuneResult::gap(const FinetuneRecord& record) const {
    const auto outputs = tested() ? &FinetuneRecord::outputs_test : &FinetuneRecord::outputs_train;
    const auto linear_outputs =
        tested() ? &FinetuneRecord::linear_outputs_test : &FinetuneRecord::linear_outputs_train;
    const std::vector<double>&now = record.*outputs, &linear = record.*linear_outputs,
          &start = path.front().*outputs;
    // Of a margin what counts is the difference of two logits; the sum stays out of it.
    const std::size_t step = margin ? 2 : 1;
    double difference = 0, change = 0;
    for (std::size_t i = 0; i < now.size(); i += step) {
        const auto entry = [&](const std::vector<double>& of) {
            return step == 2 ? of[i + 1] - of[i] : of[i];
        };
        const double off = entry(now) - entry(linear), moved = entry(now) - entry(start);
        difference += off * off;
        change += moved * moved;
    }
    if (!plan.without_linear.empty() || !(change > 0)) return not_known;
    return std::isfinite(difference) ? std::sqrt(difference / change)
                                     : std::numeric_limits<double>::infinity();
}

const FinetuneRecord& FinetuneResult::judged() const {
    const FinetuneRecord* const stop = at_step(path, plan.stopping_step);
    return stop != nullptr && stop->step > 0 ? *stop : path.back();
}

double FinetuneResult::cost_of_stopping() const {
    const FinetuneRecord *const at = at_step(path, plan.stopping_step), *const of_best =
                                                                            at_step(path, best());
    if (at == nullptr || of_best == nullptr) return not_known;
    const double gained = loss_of(*this, path.front()) - loss_of(*this, *of_best);
    return gained > 0 ? (loss_of(*this, *at) - loss_of(*this, *of_best)) / gained : not_known;
}

double FinetuneResult::parting_step() const {
    double step = std::numeric_limits<double>::infinity();
    for (auto record = path.rbegin(); record != path.rend() && gap(*record) > parted; ++record)
        step = record->step;
    return step;
}

std::string finetune_sentence(const FinetuneResult& r) {
    if (!r.plan.without_linear.empty())
        return "no linearised model stands beside the network: " + r.plan.without_linear;
    const double apart = r.parting_step(), T = r.plan.stopping_step, cost = r.cost_of_stopping();
    const FinetuneRecord& judged = r.judged();
    const double gap = r.gap(judged);
    if (std::isnan(gap))
        return fmt::format("nothing moved: the outputs at step {} are those of the beginning", judged.step);
    // A sketched kernel's own error is in the gap: it says nothing of the network.
    const std::string regime =
        r.sketch > 0    ? fmt::format("no verdict, as the kernel is sketched (kernel.sketch = {})", r.sketch)
        : gap <= parted ? "kernel regime"
                        : "not the kernel regime";
    std::string text =
        fmt::format("{}: at step {} the linearised model is off by {:.0f} % of the {}outputs' change", regime,
                    judged.step, 100 * gap, r.tested() ? "test " : "");
    if (!std::isnan(cost))
        text += fmt::format(
            "; stopping at T = {} gives up {:.0f} % of what the best step {} takes off the {} loss", T,
            100 * cost, r.best(), r.tested() ? "test" : "training");
    text += std::isfinite(apart)
                ? fmt::format("; from step {} on the two are more than {:.0f} % apart", apart, 100 * parted)
                : fmt::format("; at the last step the two are within {:.0f} %", 100 * parted);
    return text;
}

namespace {

/// What the table below it shows.
std::string heading(const FinetuneResult& r) {
    const OptimizerSettings& settings = r.plan.settings;
    std::string text =
        fmt::format("finetune   {}, {} loss{}, learning rate {:.4g}, {} steps of {} examples\n", r.optimizer,
                    r.loss, r.plan.loss == Loss::squared ? " (half the mean squared error)" : "",
                    settings.learning_rate, settings.steps, r.plan.batch == 0 ? r.examples : r.plan.batch);
    if (std::isfinite(r.plan.stopping_step))
        text += fmt::format(
            "           T = {} is the step at which the learning rates add up to those of the "
            "stopping step\n",
            r.plan.stopping_step);
    const char* const examples = r.tested() ? "test" : "training";
    text += fmt::format("           accuracy: on the {} examples; weights: their change over their norm",
                        examples);
    if (r.plan.without_linear.empty())
        text += fmt::format(
            "; linear: the linearised model, trained beside the network;\n"
            "           gap: |network - linear| over what the network's {} outputs changed by",
            examples);
    return text + "\n";
}

/// The least losses, and those at T.
std::string best_text(const FinetuneResult& r) {
    const FinetuneRecord *const best = at_step(r.path, r.best()),
                                *const linear = at_step(r.path, r.linear_best()),
                                *const stop = at_step(r.path, r.plan.stopping_step);
    if (best == nullptr) return "";
    const auto linear_loss = [&](const FinetuneRecord& of) {
        return r.tested() ? of.linear_test_loss : of.linear_train_loss;
    };
    std::string text =
        fmt::format("best       {} loss {:.4g} at step {}{}", r.tested() ? "test" : "training",
                    loss_of(r, *best), best->step, best->step == r.path.back().step ? ", the last" : "");
    if (linear != nullptr)
        text += fmt::format("; the linearised model's {:.4g} at step {}", linear_loss(*linear), linear->step);
    if (stop != nullptr)
        text += fmt::format(
            "; {:.4g} at T = {}{}", loss_of(r, *stop), stop->step,
            linear != nullptr ? fmt::format(", the linearised model's {:.4g}", linear_loss(*stop)) : "");
    else if (std::isinf(r.plan.stopping_step))
        text += "; T is behind the last step";
    return text + "\n";
}

}  // namespace

std::string finetune_summary(const FinetuneResult& r) {
    std::string text = heading(r) + table(r) + best_text(r);
    const double moved = r.path.back().weight_change;
    text += fmt::format(
        "moved      {}; the kernel's centred alignment with the one before is {:.4f} (1: it grew or "
        "shrank as a whole, or stayed)\n",
        r.lora_b_alone         ? "LoRA's factors B alone, from zero: its A stay as they were"
        : std::isfinite(moved) ? fmt::format("weights by {:.3g} of their norm", moved)
                               : "weights, from zero",
        r.kernel_alignment);
    if (!r.eigenvalues_after.empty()) {
        text += "leading    eigenvalues of the kernel after training over those before, the largest first:";
        for (std::size_t i = 0;
             i < std::min({std::size_t{8}, r.eigenvalues_after.size(), r.eigenvalues_before.size()}); ++i)
            text += fmt::format(" {:.3g}", r.eigenvalues_after[i] / r.eigenvalues_before[i]);
        text += "\n";
    }
    if (r.tokens > 0)
        text += fmt::format("speed      {:.0f} tokens/s in training steps\n", r.tokens / r.seconds);
    return text + "verdict    " + finetune_sentence(r) + "\n";
}

void tell_finetune(const FinetuneResult& result, Log& log) {
    std::string text = finetune_summary(result);
    text.pop_back();
    log.result(text);
    log.number("finetune_learning_rate", result.plan.settings.learning_rate);
    log.number("finetune_best_step", result.best());
    log.number("finetune_linear_best_step", result.linear_best());
    log.number("finetune_stopping_step", result.plan.stopping_step);
    log.number("finetune_test_loss", result.path.back().test_loss);
    log.number("finetune_test_accuracy", result.path.back().test_accuracy);
    log.number("finetune_weight_change", result.path.back().weight_change);
    log.number("finetune_kernel_alignment", result.kernel_alignment);
    if (result.tokens > 0) log.number("finetune_tokens_per_second", result.tokens / result.seconds);
}

}  // namespace tangram
