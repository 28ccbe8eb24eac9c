#pragma once
#include <functional>
#include <optional>
#include <string>

#include "finetune_path.hpp"
#include "stage_checkpoint.hpp"
#include "tangram/training/batches.hpp"
#include "tangram/training/linearised_model.hpp"
#include "tangram/training/trained_weights.hpp"

namespace tangram {

/// A network that is trained, with its linearised model beside it, step after step. Members are collective
/// over the session's ranks and throw Error on every rank or none; what is given outlives it.
template <class Real>
class Finetuning {
  public:
    struct Setting {
        const FinetunePlan& plan;
        const FinetunePart& train;
        const FinetunePart* test;  ///< nullptr: none
        const std::optional<LinearisedProblem>& linear;
        const ParameterVector& parameters;
        std::uint64_t seed;
    };
    Finetuning(Network<Real>& network, const Setting& setting, const Session& session);

    /// Records the step that is due, where it is one of those to record, and takes the next.
    /// @return false: it was the last. @throws Error(numerical) naming the step where training diverges: a
    ///         loss or gradient that is not finite, or a loss a hundred times as large as that of knowing
    ///         nothing or of the beginning
    bool advance();

    Index steps_done() const { return optimizer_.steps_done(); }
    const FinetunePath& path() const { return path_; }
    /// Of the weights, in the order of Setting's parameters.
    const std::vector<double>& change() const { return optimizer_.change(); }
    /// a of the linearised model, whose weights change by -J^T a; nothing where there is none.
    std::optional<std::vector<double>> linear_coefficients() const {
        if (!linear_) return std::nullopt;
        return linear_->state().coefficients;
    }
    /// Of the training steps in this process, the linearised model's and recording left out.
    double tokens() const { return tokens_; }
    double seconds() const { return seconds_; }

    void write(const StageCheckpoint& checkpoint, const ProcessGrid& grid) const;
    /// Whether there was one. @throws as StageCheckpoint::read
    bool read(const StageCheckpoint& checkpoint, const ProcessGrid& grid);

  private:
    void record();
    std::map<std::string, std::vector<double>> small_state() const;
    void record_linear(std::vector<double> rows, std::vector<double> test_rows, FinetuneRecord& record) const;
    [[noreturn]] void diverged(const std::string& what) const;

    Network<Real>* network_;
    Setting setting_;
    const Session* session_;
    LossGradient<Real> gradient_of_;
    Optimizer optimizer_;
    std::optional<LinearisedModel> linear_;
    Batches batches_;
    FinetunePath path_;
    double loss_limit_, tokens_ = 0, seconds_ = 0;
};

}  // namespace tangram
