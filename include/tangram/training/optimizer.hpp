#pragma once
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

enum class Rule { gd, sgd, signgd, adamw };
enum class Schedule { constant, linear, cosine };

/// "gd", "sgd", "signgd", "adamw"; "constant", "linear", "cosine". @throws Error(study) naming
/// finetune.optimizer or finetune.schedule where there is none of that name
Rule rule_by_name(std::string_view name);
Schedule schedule_by_name(std::string_view name);

/// How weights follow from gradients; learning rate and weight decay in the scale of the loss.
struct OptimizerSettings {
    Rule rule = Rule::gd;
    double learning_rate = 0;
    double momentum = 0;      ///< of sgd: v = momentum v + g
    double weight_decay = 0;  ///< added to the gradient (sgd); taken off the weights (adamw)
    Schedule schedule = Schedule::constant;
    Index steps = 1;  ///< of the whole training: where a schedule ends

    /// Vectors of the weights' size that the rule remembers.
    Index moments() const { return rule == Rule::adamw ? 2 : momentum != 0 ? 1 : 0; }
    /// Of the step with this number, counted from 0: constant; linear from learning_rate down to 0 at
    /// `steps`; half a period of a cosine between them. No warm-up.
    double rate(Index step) const;
};

/// Weights w_0 + change, and what the rule remembers. Steps are PyTorch's: SGD w -= rate v, v = momentum v +
/// g
/// + decay w, without dampening; AdamW with betas 0.9 and 0.999, epsilon 1e-8, bias corrections and the decay
/// apart from the gradient (Loshchilov, Hutter 2019); signgd w -= rate sign(g), sign(0) = 0. All in float64.
/// Local; ranks that do the same steps hold the same bits. Memory: 16 bytes for each weight, 8 more with
/// momentum, 16 with adamw.
class Optimizer {
  public:
    Optimizer(const OptimizerSettings& settings, std::vector<double> initial);

    /// The step that is due of some weights, in pieces on the OpenMP threads.
    /// @param gradient  of the weights from `first` on, one entry each
    /// @param moved  called for the weights [first, last) of each piece once they have moved, while they are
    ///               in the cache
    void move(Index first, std::span<const double> gradient,
              const std::function<void(Index first, Index last)>& moved = {});
    /// Once every weight has moved: the next step is due.
    void end_step() { ++done_; }

    Index steps_done() const { return done_; }
    const std::vector<double>& change() const { return change_; }
    double weight(std::size_t i) const { return initial_[i] + change_[i]; }
    /// |change| / |w_0|, dimensionless; NaN where w_0 is zero.
    double relative_change() const;

    /// What a checkpoint keeps: number of steps, change and moments (empty: the rule has none).
    struct State {
        Index done = 0;
        std::vector<double> change, first_moment, second_moment;
    };
    State state() const { return {done_, change_, first_, second_}; }
    void set_state(State state);

  private:
    /// Of the weights from `first` on.
    void move_piece(std::size_t first, std::span<const double> gradient);
    void sgd(std::size_t first, std::span<const double> gradient);
    void adamw(std::size_t first, std::span<const double> gradient);

    OptimizerSettings settings_;
    std::vector<double> initial_, change_, first_, second_;
    Index done_ = 0;
};

}  // namespace tangram
