#include "finetuning.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "folded_vector.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/session/clock.hpp"

namespace tangram {

namespace {

/// A hundred times the loss of the beginning, or of outputs that know nothing.
double loss_limit(const FinetunePart& train, Loss loss) {
    const std::vector<double> initial = train.rows_of(train.logits), nothing(initial.size(), 0.0);
    return 100 * std::max(train.loss(loss, initial), train.loss(loss, nothing));
}

using Folded = std::map<std::string, DistributedMatrix>;
/// Those that the rule has.
Folded folded(const Optimizer::State& state, const ProcessGrid& grid) {
    Folded matrices;
    for (const auto& [name, values] :
         {std::pair{"change", &state.change}, std::pair{"first_moment", &state.first_moment},
          std::pair{"second_moment", &state.second_moment}})
        if (!values->empty()) matrices.emplace(name, folded(*values, grid));
    return matrices;
}
}  // namespace

template <class Real>
Finetuning<Real>::Finetuning(Network<Real>& network, const Setting& setting, const Session& session)
    : network_(&network),
      setting_(setting),
      session_(&session),
      gradient_of_(network, *setting.train.data, setting.train.wanted, setting.plan.loss, setting.parameters,
                   session.world.get()),
      optimizer_(setting.plan.settings, weights_of(network, setting.parameters)),
      batches_(setting.train.data->examples(), setting.plan.batch, setting.seed),
      loss_limit_(loss_limit(setting.train, setting.plan.loss)) {
    if (setting.linear) linear_.emplace(*setting.linear, setting.plan.settings);
}

template <class Real>
void Finetuning<Real>::diverged(const std::string& what) const {
    const FinetunePlan& plan = setting_.plan;
    const std::string stable =
        std::isnan(plan.largest_rate)
            ? std::string("; give a smaller one")
            : fmt::format(", the largest at which the linearised model is stable {:.4g}{}", plan.largest_rate,
                          plan.batch == 0 ? "" : ", of batches less");
    throw Error(ExitStatus::numerical, ErrorKind::not_converged,
                fmt::format("finetune: training diverges at step {}: {}; finetune.learning_rate is {:.4g}{}",
                            steps_done(), what, plan.settings.learning_rate, stable));
}

template <class Real>
void Finetuning<Real>::record() {
    const MPI_Comm comm = session_->world.get();
    const FinetunePart &train = setting_.train, *const test = setting_.test;
    FinetuneRecord record;
    record.step = static_cast<double>(steps_done());
    record.weight_change = optimizer_.relative_change();
    record.outputs_train = logits_of(*network_, *train.data, comm);
    if (test != nullptr) record.outputs_test = logits_of(*network_, *test->data, comm);
    std::vector<double> linear, linear_test;
    if (linear_) {
        linear = linear_->outputs();
        linear_test = linear_->test_outputs();
    }
    collectively(comm, [&] {
        const Loss loss = setting_.plan.loss;
        const std::vector<double> rows = train.rows_of(record.outputs_train);
        record.train_loss = train.loss(loss, rows);
        record.train_accuracy = train.accuracy(rows);
        if (!(record.train_loss <= loss_limit_))
            diverged(fmt::format("the loss is {:.3g}", record.train_loss));
        if (test != nullptr) {
            const std::vector<double> of_test = test->rows_of(record.outputs_test);
            record.test_loss = test->loss(loss, of_test);
            record.test_accuracy = test->accuracy(of_test);
        }
        record_linear(std::move(linear), std::move(linear_test), record);
        path_.push_back(std::move(record));
    });
}

/// The linearised model's part of a record; NaN where there is none. Local.
template <class Real>
void Finetuning<Real>::record_linear(std::vector<double> rows, std::vector<double> test_rows,
                                     FinetuneRecord& record) const {
    const Loss loss = setting_.plan.loss;
    const FinetunePart &train = setting_.train, *const test = setting_.test;
    if (linear_) {
        record.linear_train_loss = train.loss(loss, rows);
        record.linear_train_accuracy = train.accuracy(rows);
    } else {
        rows.assign(train.means.size(), not_known);
    }
    record.linear_outputs_train = train.logits_of(rows);
    if (test == nullptr) return;
    if (linear_) {
        record.linear_test_loss = test->loss(loss, test_rows);
        record.linear_test_accuracy = test->accuracy(test_rows);
    } else {
        test_rows.assign(test->means.size(), not_known);
    }
    record.linear_outputs_test = test->logits_of(test_rows);
}

template <class Real>
bool Finetuning<Real>::advance() {
    const Index step = steps_done();
    const bool seen = !path_.empty() && path_.back().step == static_cast<double>(step);
    if (!seen && std::ranges::binary_search(setting_.plan.recorded, step)) record();
    if (step == setting_.plan.settings.steps) return false;
    const auto start = Clock::now();
    const std::vector<Index>& batch =
        *collectively(session_->world.get(), [&] { return &batches_.of_step(step); });
    Index not_finite = 0;
    // A step that diverges is the last: its weights are never used.
    const double loss = gradient_of_(batch, [&](Index first, std::span<const double> gradient) {
        for (const double g : gradient)
            not_finite += std::abs(g) <= std::numeric_limits<double>::max() ? 0 : 1;
        optimizer_.move(first, gradient, [&](Index begin, Index end) {
            set_weights(*network_, setting_.parameters, optimizer_, begin, end);
        });
    });
    if (!(loss <= loss_limit_)) diverged(fmt::format("the loss is {:.3g}", loss));
    if (not_finite > 0) diverged("the gradient is not finite");
    optimizer_.end_step();
    seconds_ += seconds_since(start);
    if (linear_) linear_->step(batch);
    for (const Index example : batch)
        tokens_ += static_cast<double>(setting_.train.data->tokens(example).size());
    return true;
}

/// What a checkpoint holds but for vectors of the weights. Local.
template <class Real>
std::map<std::string, std::vector<double>> Finetuning<Real>::small_state() const {
    std::map<std::string, std::vector<double>> vectors;
    for (const auto& [name, number] : numbers_of_record())
        for (const FinetuneRecord& record : path_) vectors[name].push_back(record.*number);
    for (const auto& [name, outputs] : outputs_of_record())
        for (std::size_t r = 0; r < path_.size(); ++r)
            if (!(path_[r].*outputs).empty()) vectors[fmt::format("{}_{}", name, r)] = path_[r].*outputs;
    if (linear_) {
        vectors["coefficients"] = linear_->state().coefficients;
        if (const auto& velocity = linear_->state().velocity; !velocity.empty())
            vectors["velocity"] = velocity;
    }
    return vectors;
}

template <class Real>
void Finetuning<Real>::write(const StageCheckpoint& checkpoint, const ProcessGrid& grid) const {
    const MPI_Comm comm = session_->world.get();
    auto small = collectively(comm, [&] { return small_state(); });
    const Folded vectors = collectively(comm, [&] { return folded(optimizer_.state(), grid); });
    std::map<std::string, const DistributedMatrix*> matrices;
    for (const auto& [name, matrix] : vectors) matrices[name] = &matrix;
    checkpoint.write(steps_done(), std::move(small), matrices);
}

template <class Real>
bool Finetuning<Real>::read(const StageCheckpoint& checkpoint, const ProcessGrid& grid) {
    Index size = 0;
    Folded stored = collectively(session_->world.get(), [&] {
        const Optimizer::State state = optimizer_.state();
        size = std::ssize(state.change);
        return folded(state, grid);
    });
    std::map<std::string, DistributedMatrix*> matrices;
    for (auto& [name, matrix] : stored) matrices[name] = &matrix;
    const auto accept = [&](const CheckpointState& state) {
        const auto count = [&](const std::string& name) {
            const auto at = state.vectors.find(name);
            return at == state.vectors.end() ? 0 : at->second.size();
        };
        for (const auto& [name, number] : numbers_of_record())
            if (count(name) != count("step")) checkpoint.refuse(name);
    };
    const auto found = checkpoint.read(matrices, accept, session_->log);
    if (!found) return false;
    const auto& vectors = found->vectors;
    const auto of = [&](const std::string& name) {
        const auto at = vectors.find(name);
        return at == vectors.end() ? std::vector<double>{} : at->second;
    };
    path_.assign(of("step").size(), {});
    for (std::size_t r = 0; r < path_.size(); ++r) {
        for (const auto& [name, number] : numbers_of_record()) path_[r].*number = of(name).at(r);
        for (const auto& [name, outputs] : outputs_of_record())
            path_[r].*outputs = of(fmt::format("{}_{}", name, r));
    }
    const auto vector = [&](const char* name) {
        const auto at = stored.find(name);
        return at == stored.end() ? std::vector<double>{} : unfolded(at->second, size);
    };
    optimizer_.set_state(
        {found->units_done, vector("change"), vector("first_moment"), vector("second_moment")});
    if (linear_) linear_->set_state({found->units_done, of("coefficients"), of("velocity")});
    set_weights(*network_, setting_.parameters, optimizer_);
    return true;
}

template class Finetuning<float>;
template class Finetuning<double>;

}  // namespace tangram
