#include "finetune_plan.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "tangram/error.hpp"
#include "tangram/training/linearised_model.hpp"

namespace tangram {

namespace {

/// The learning rate that "auto" stands for: of all examples 1/(curvature l_1), of batches of B examples the
/// rate B / (beta + (B - 1) l_1) at which the mean error falls fastest, beta the largest of an example's own
/// kernels (Ma, Bassily, Belkin 2018, Theorem 4). With momentum the sum of what a gradient does is 1/(1 -
/// momentum) as large.
double automatic_rate(const Study& study, double curvature, Index batch, const KernelFacts& facts) {
    if (std::isnan(facts.largest))
        throw Error(ExitStatus::study, ErrorKind::missing,
                    fmt::format("finetune.learning_rate = \"auto\" follows from the largest eigenvalue of "
                                "the kernel \"sgd\"; let kernel.formula name it and run `tangram spectrum` "
                                "first, or give a number"));
    const double b = static_cast<double>(batch);
    const double largest = batch == 0 ? facts.largest : (facts.per_example + (b - 1) * facts.largest) / b;
    if (!(largest > 0))
        throw Error(ExitStatus::study, ErrorKind::degenerate,
                    "finetune.learning_rate = \"auto\": the kernel is zero; give a number");
    return (1 - study.finetune.momentum) / (curvature * largest);
}

/// Whether T speaks of this rule and loss.
bool follows_stopping_rule(const Study& study) {
    return study.finetune.loss == "squared" &&
           (study.finetune.optimizer == "gd" || study.finetune.optimizer == "sgd");
}

constexpr double most_steps = 10000;

Index automatic_steps(const FinetunePlan& plan, double eta, double beyond) {
    if (std::isnan(eta))
        throw Error(
            ExitStatus::study, ErrorKind::missing,
            "finetune.steps = \"auto\" is twice the stopping step of the kernel \"sgd\" (first of "
            "kernel.formula, rates.center not \"kernel\"); run `tangram rates` first, or give a number");
    // A schedule that ends at 0 covers half of what a constant rate does.
    const double whole = plan.settings.schedule == Schedule::constant ? beyond : 2 * beyond;
    const double steps = whole * eta * (1 - plan.settings.momentum) / plan.settings.learning_rate;
    const double least = beyond > 1 ? 10 : 0;
    return static_cast<Index>(std::clamp(std::ceil(steps * (1 - 1e-9)), least, most_steps));
}

double stopping_step(const OptimizerSettings& settings, double eta) {
    double sum = 0;
    for (Index step = 0; step <= settings.steps; ++step) {
        if (sum >= eta * (1 - 1e-9)) return static_cast<double>(step);
        sum += settings.rate(step) / (1 - settings.momentum);
    }
    return std::numeric_limits<double>::infinity();
}

std::vector<Index> recorded_steps(const FinetunePlan& plan) {
    std::vector<Index> steps{0, plan.settings.steps};
    for (double step = 1; step < static_cast<double>(plan.settings.steps); step *= std::sqrt(2.0))
        steps.push_back(static_cast<Index>(std::llround(step)));
    if (std::isfinite(plan.stopping_step)) steps.push_back(static_cast<Index>(plan.stopping_step));
    std::ranges::sort(steps);
    steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
    while (steps.back() > plan.settings.steps) steps.pop_back();
    return steps;
}

std::string without_linear(const FinetunePlan& plan, Index rows, bool formula_is_there) {
    const OptimizerSettings& settings = plan.settings;
    if (settings.rule == Rule::adamw) return "adamw is no function of the kernel";
    if (settings.weight_decay > 0) return "weight decay moves the outputs by more than the kernel says";
    if (!LinearisedModel::follows(settings, rows))
        return "signs of sums of gradients follow from no kernel; batch = 1 on the margin does";
    if (!formula_is_there)
        return fmt::format("it needs kernel.formula to name \"{}\"", linear_formula(settings.rule));
    return "";
}

}  // namespace

std::string linear_formula(Rule rule) { return rule == Rule::signgd ? "asymmetric-signgd" : "sgd"; }

FinetunePlan finetune_plan(const Study& study, const TrainingTargets& targets, const KernelFacts& facts,
                           bool formula_is_there) {
    const auto& asked = study.finetune;
    FinetunePlan plan;
    plan.loss = loss_by_name(asked.loss);
    plan.batch = asked.batch == targets.examples() ? 0 : asked.batch;
    plan.settings = {rule_by_name(asked.optimizer), 0, asked.momentum, asked.weight_decay,
                     schedule_by_name(asked.schedule)};
    const bool by_rate = plan.settings.rule == Rule::gd || plan.settings.rule == Rule::sgd;
    const double curved = curvature(plan.loss, targets);
    plan.settings.learning_rate =
        asked.learning_rate ? *asked.learning_rate : automatic_rate(study, curved, plan.batch, facts);
    if (by_rate) plan.largest_rate = 2 * (1 + asked.momentum) / (curved * facts.largest);
    if (plan.settings.learning_rate > plan.largest_rate)
        plan.notes.push_back(fmt::format(
            "finetune.learning_rate = {:.4g} is above {:.4g}, the largest at which the linearised model is "
            "stable: it {}, and the network follows or leaves the kernel regime",
            plan.settings.learning_rate, plan.largest_rate,
            // Its largest curvature is the cross-entropy's in few places.
            plan.loss == Loss::squared ? "diverges" : "may diverge"));
    plan.settings.steps =
        asked.steps ? *asked.steps : automatic_steps(plan, facts.stopping_eta, facts.beyond);
    if (!asked.steps && plan.settings.steps == static_cast<Index>(most_steps))
        plan.notes.push_back(
            fmt::format("the stopping step is far away (eta_T = {:.3g}): {} steps are taken; "
                        "give finetune.steps for more",
                        facts.stopping_eta, plan.settings.steps));
    if (follows_stopping_rule(study) && !std::isnan(facts.stopping_eta))
        plan.stopping_step = stopping_step(plan.settings, facts.stopping_eta);
    plan.without_linear = without_linear(
        plan, (plan.batch == 0 ? targets.examples() : plan.batch) * targets.rows(), formula_is_there);
    plan.recorded = recorded_steps(plan);
    return plan;
}

}  // namespace tangram
