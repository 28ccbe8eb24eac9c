#include "tangram/training/optimizer.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "tangram/elementary.hpp"
#include "tangram/error.hpp"
#include "tangram/not_known.hpp"
#include "tangram/parallel_for.hpp"

namespace tangram {

Rule rule_by_name(std::string_view name) {
    for (const auto& [known, rule] : {std::pair{"gd", Rule::gd}, std::pair{"sgd", Rule::sgd},
                                      std::pair{"signgd", Rule::signgd}, std::pair{"adamw", Rule::adamw}})
        if (name == known) return rule;
    throw Error(
        ExitStatus::study, ErrorKind::unknown_name,
        fmt::format("finetune.optimizer = \"{}\" is not possible; use gd, sgd, signgd or adamw", name));
}

Schedule schedule_by_name(std::string_view name) {
    for (const auto& [known, schedule] :
         {std::pair{"constant", Schedule::constant}, std::pair{"linear", Schedule::linear},
          std::pair{"cosine", Schedule::cosine}})
        if (name == known) return schedule;
    throw Error(
        ExitStatus::study, ErrorKind::unknown_name,
        fmt::format("finetune.schedule = \"{}\" is not possible; use constant, linear or cosine", name));
}

double OptimizerSettings::rate(Index step) const {
    const double part = static_cast<double>(step) / static_cast<double>(steps);
    if (schedule == Schedule::linear) return learning_rate * (1 - part);
    if (schedule == Schedule::cosine)
        return learning_rate * (1 + elementary::cos(std::numbers::pi * part)) / 2;
    return learning_rate;
}

Optimizer::Optimizer(const OptimizerSettings& settings, std::vector<double> initial)
    : settings_(settings), initial_(std::move(initial)), change_(initial_.size(), 0.0) {
    if (settings.moments() > 0) first_.assign(initial_.size(), 0.0);
    if (settings.moments() > 1) second_.assign(initial_.size(), 0.0);
}

void Optimizer::sgd(std::size_t first, std::span<const double> gradient) {
    const double rate = settings_.rate(done_), decay = settings_.weight_decay, momentum = settings_.momentum;
    for (std::size_t i = first; i < first + gradient.size(); ++i) {
        double g = gradient[i - first];
        if (decay != 0) g += decay * weight(i);
        if (momentum != 0) g = first_[i] = momentum * first_[i] + g;
        change_[i] -= rate * g;
    }
}

void Optimizer::adamw(std::size_t first, std::span<const double> gradient) {
    constexpr double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
    const double t = static_cast<double>(done_ + 1), rate = settings_.rate(done_);
    const double step = rate / (1 - elementary::pow(beta1, t)),
                 root = std::sqrt(1 - elementary::pow(beta2, t));
    for (std::size_t i = first; i < first + gradient.size(); ++i) {
        const double g = gradient[i - first];
        if (settings_.weight_decay != 0) change_[i] -= rate * settings_.weight_decay * weight(i);
        first_[i] = beta1 * first_[i] + (1 - beta1) * g;
        second_[i] = beta2 * second_[i] + (1 - beta2) * g * g;
        change_[i] -= step * first_[i] / (std::sqrt(second_[i]) / root + epsilon);
    }
}

void Optimizer::move_piece(std::size_t first, std::span<const double> gradient) {
    const double rate = settings_.rate(done_);
    if (settings_.rule == Rule::adamw) {
        adamw(first, gradient);
    } else if (settings_.rule == Rule::signgd) {
        for (std::size_t i = 0; i < gradient.size(); ++i)
            change_[first + i] -= rate * static_cast<double>((gradient[i] > 0) - (gradient[i] < 0));
    } else {
        sgd(first, gradient);
    }
}

void Optimizer::move(Index first, std::span<const double> gradient,
                     const std::function<void(Index first, Index last)>& moved) {
    constexpr Index piece = 8192;  // of five vectors: a second-level cache
    const Index size = std::ssize(gradient);
    parallel_for((size + piece - 1) / piece, [&](Index i) {
        const Index begin = i * piece, count = std::min(size - begin, piece);
        move_piece(static_cast<std::size_t>(first + begin),
                   gradient.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)));
        if (moved) moved(first + begin, first + begin + count);
    });
}

double Optimizer::relative_change() const {
    double change = 0, initial = 0;
    for (std::size_t i = 0; i < change_.size(); ++i) {
        change += change_[i] * change_[i];
        initial += initial_[i] * initial_[i];
    }
    return initial > 0 ? std::sqrt(change / initial) : not_known;
}

void Optimizer::set_state(State state) {
    done_ = state.done;
    change_ = std::move(state.change);
    first_ = std::move(state.first_moment);
    second_ = std::move(state.second_moment);
}

}  // namespace tangram
