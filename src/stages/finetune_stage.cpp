#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "finetune_file.hpp"
#include "finetune_tasks.hpp"
#include "finetuning.hpp"
#include "kernel_change.hpp"
#include "stored_kernels.hpp"
#include "study_state.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/session/clock.hpp"
#include "tangram/session/resources.hpp"
#include "tangram/stages/spectrum_request.hpp"
#include "tangram/study/file_contents.hpp"
#include "tangram/study/files_of_ranks.hpp"
#include "tangram/study/fingerprints.hpp"
#include "tangram/study/initial_network.hpp"
#include "trained_folder.hpp"

namespace tangram {

template <class Real>
Forecast StudyRun::State::finetuning_that_fits(const OpenedStudy& with) const {
    const double limit = session.memory_per_rank;
    const PlannedStudy planned{with.model,
                               with.job,
                               study,
                               limit,
                               weight_bytes<Real>(with.model, study),
                               ranks_of_host(session.world)};
    Forecast on = forecast<Real>(planned, session.world.size());
    const StageForecast& stage = on.stages.back();
    if (on.bytes(stage) > limit)
        throw Error(
            ExitStatus::study, ErrorKind::no_memory,
            fmt::format(
                "finetune needs {}, {} allowed on each of {} rank{} (--memory-per-rank); train fewer tensors "
                "(kernel.parameters), or give each more memory; `tangram plan` shows what takes how much",
                memory_text(on, stage), bytes_text(limit), session.world.size(),
                session.world.size() == 1 ? "" : "s"));
    // The stages before leave memory that the allocator keeps, and pages of files.
    const auto resident = static_cast<double>(max_over_ranks(comm, resident_bytes()));
    on.stages.back().own_bytes += std::max(0.0, resident - with.job.idle_bytes - stage.shared_bytes);
    return on;
}

/// Everything that one training is made of. Collective.
template <class Real>
struct FinetuneSetup {
    FinetuneSetup(const OpenedStudy& opened, const Study& study, const Session& session,
                  const std::filesystem::path& output, Forecast forecast)
        : planned(std::move(forecast)),
          kernels(study, session.world.get(), output),
          network(initial_network<Real>(opened.model, study, opened.job, session.world.get())),
          parameters(network.program(), opened.job.parameters) {
        const MPI_Comm comm = session.world.get();
        const GramJob& job = opened.job;
        const std::string& name = job.output_names.front();
        if (name != "margin" && name != "logits")
            throw Error(
                ExitStatus::study, ErrorKind::unsupported,
                fmt::format("kernel.output = \"{}\" is no output that training follows row by row; use "
                            "\"margin\" or \"logits\"",
                            name));
        std::vector<double> means;
        std::tie(train, means) =
            training_part(study, job.data.train, name, logits_of(network, job.data.train, comm));
        if (job.data.test)
            test = finetune_part(*job.data.test, name, logits_of(network, *job.data.test, comm), means);
        eigenvalues = kernels.eigenvalues(study);
        const KernelFacts facts = kernel_facts(study, session.log);
        plan = finetune_plan(study, train.wanted, facts, kernels.has_linear());
        for (const std::string& note : plan.notes) session.log.warn("finetune: " + note);
        if (study.kernel.sketch > 0)
            session.log.warn("finetune: the linearised model is made from a sketched kernel");
        if (plan.without_linear.empty())
            linear.emplace(LinearisedProblem{kernels.linear_gram(), kernels.cross(), train.wanted, plan.loss,
                                             train.rows_of(train.logits),
                                             test ? test->rows_of(test->logits) : std::vector<double>{}});
    }

    /// Of the kernel "sgd" alone: rates of another formula's would be on another scale.
    KernelFacts kernel_facts(const Study& study, Log& log) const {
        KernelFacts facts{kernels.gram().rows(), not_known, not_known, kernels.stopping_eta()};
        if (!kernels.is_sgd()) return facts;
        facts.per_example =
            largest_trace(kernels.gram(), train.wanted.rows()) / static_cast<double>(train.wanted.rows());
        if (!eigenvalues.empty()) facts.largest = eigenvalues.front() / static_cast<double>(facts.rows);
        if (study.rates.center == "kernel" && !std::isnan(facts.stopping_eta)) {
            log.warn(
                "finetune: the stopping step T is of the centred kernel (rates.center), the network is "
                "trained by the kernel as it is: T is left out");
            facts.stopping_eta = not_known;
        }
        return facts;
    }

    Forecast planned;
    StoredKernels kernels;
    Network<Real> network;
    ParameterVector parameters;
    FinetunePart train;
    std::optional<FinetunePart> test;
    std::vector<double> eigenvalues;  ///< of G; empty: not known
    FinetunePlan plan;
    std::optional<LinearisedProblem> linear;
};

namespace {

/// The Gram matrix of the weights as they are now, by the formula that fine-tuning compares. Collective.
/// @throws Error(stopped) where a stop was requested
template <class Real>
DistributedMatrix trained_gram(FinetuneSetup<Real>& setup, const GramJob& job, const Study& study,
                               const Session& session, const ProcessGrid& grid) {
    KernelMatrices matrices = collectively(
        session.world.get(), [&] { return empty_matrices(grid, job.train_rows, 0, job.parameters.size()); });
    const KernelInputs<Real> inputs{{job.data.train,
                                     nullptr,
                                     job.outputs,
                                     job.parameters,
                                     {job.formulas[setup.kernels.compared()]},
                                     setup.planned.trained_factor_limit,
                                     study.kernel.sketch,
                                     static_cast<std::uint64_t>(study.data.seed)},
                                    setup.network};
    bool begun = false;
    const auto go_on = [&](const AssemblyProgress& at) {
        if (!std::exchange(begun, true)) session.log.start("kernel after training", at.of, at.done);
        session.log.progress(at.done, {at.flops, at.bytes_received});
        return at.done == at.of || !session.stop.requested(session.world.get());
    };
    const auto in_pass = [&](const AssemblyProgress&) {
        if (session.stop.requested_here()) throw Error(ExitStatus::stopped, ErrorKind::stopped, "in a pass");
    };
    try {
        assemble<Real>(inputs, matrices, go_on, in_pass);
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::stopped) throw;
    }
    session.log.finish();
    check_stop(session, "in the kernel after training; the same command goes on");
    return std::move(matrices.formulas.front().gram);
}

/// What a new classifier's outputs are called.
NewLabels new_labels(const Study& study, Index labels) {
    if (study.model.head != "classifier") return {};
    if (!study.data.labels.empty()) return study.data.labels;
    NewLabels names;
    for (Index label = 0; label < labels; ++label) names.push_back(fmt::format("LABEL_{}", label));
    return names;
}

/// What training has come to, but for the kernel after it.
template <class Real>
FinetuneResult outcome(const FinetuneSetup<Real>& setup, const Finetuning<Real>& training) {
    FinetuneResult result;
    result.plan = setup.plan;
    result.path = training.path();
    result.examples = setup.train.data->examples();
    result.test_examples = setup.test ? setup.test->data->examples() : 0;
    result.labels = setup.train.wanted.labels;
    result.margin = setup.train.wanted.output == KernelOutput::margin;
    result.lora_b_alone = std::ranges::all_of(setup.parameters.parameters, [&](ParameterId p) {
        return is_lora_b(setup.network.program().parameters()[p]);
    });
    result.eigenvalues_before = setup.eigenvalues;
    result.tokens = training.tokens();
    result.seconds = training.seconds();
    return result;
}

}  // namespace

/// Steps until the last, with a checkpoint from time to time. Collective. @throws Error(stopped) after one
template <class Real>
bool StudyRun::State::train(Finetuning<Real>& training, const StageCheckpoint& checkpoint,
                            const FilesRead& files, Index steps) {
    CheckpointSchedule schedule(session, checkpoint_seconds(), files, checkpoint.name());
    const auto write = [&] { training.write(checkpoint, grid); };
    session.log.start("finetune", steps, training.steps_done());
    bool more = true;
    while (more) {
        if (schedule.is_due()) schedule.write(write);
        if (schedule.stopped()) schedule.leave();
        more = training.advance();
        session.log.progress(training.steps_done());
    }
    session.log.finish();
    // What follows can be stopped where nothing can be written any more.
    return schedule.write(write);
}

template <class Real>
void StudyRun::State::keep_training(const Finetuning<Real>& training, bool is_kept,
                                    const StageCheckpoint& checkpoint, const FilesRead& files,
                                    const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& e) {
        if (is_kept) throw;
        try {
            refuse_changed_files(files, comm);
            training.write(checkpoint, grid);
        } catch (const Error& no_checkpoint) {
            throw Error(e.status(), e.kind(),
                        fmt::format("{}; no checkpoint either: {}", e.what(), no_checkpoint.what()));
        }
        throw;
    }
}

template <class Real>
void StudyRun::State::finetune(const OpenedStudy& with, const Inputs& inputs) {
    const auto start = Clock::now();
    const std::filesystem::path folder = trained_folder(output);
    const std::string hash = inputs.hash();
    collectively(comm, [&] {
        if (first_rank) check_trained_folder(folder, hash);
    });
    if (study.kernel.output.empty()) study.kernel.output = with.job.output_names.front();
    FinetuneSetup<Real> setup(with, study, session, output, finetuning_that_fits<Real>(with));
    const FinetunePlan& plan = setup.plan;
    session.log.say(fmt::format("finetune: {} parameters in {} tensors, {} steps of {}, learning rate {:.4g}",
                                setup.parameters.size(), setup.parameters.parameters.size(),
                                plan.settings.steps, study.finetune.optimizer, plan.settings.learning_rate));
    std::optional<Finetuning<Real>> made;
    collectively(comm, [&] {
        made.emplace(setup.network,
                     typename Finetuning<Real>::Setting{
                         plan, setup.train, setup.test ? &*setup.test : nullptr, setup.linear,
                         setup.parameters, static_cast<std::uint64_t>(study.finetune.seed)},
                     session);
    });
    Finetuning<Real>& training = *made;
    const StageCheckpoint checkpoint(output.string() + ".finetune", inputs);
    if (training.read(checkpoint, grid))
        session.log.say(
            fmt::format("finetune: goes on from the checkpoint after {} steps", training.steps_done()));
    const bool is_kept = train(training, checkpoint, with.model.files, plan.settings.steps);
    keep_training(training, is_kept, checkpoint, with.model.files,
                  [&] { finish_finetune(setup, training, is_kept, with, hash, start); });
    checkpoint.remove(comm);
}

template <class Real>
void StudyRun::State::finish_finetune(FinetuneSetup<Real>& setup, const Finetuning<Real>& training,
                                      bool is_kept, const OpenedStudy& with, const std::string& hash,
                                      Clock::time_point start) {
    const std::filesystem::path folder = trained_folder(output);
    FinetuneResult result = outcome(setup, training);
    result.optimizer = study.finetune.optimizer;
    result.loss = study.finetune.loss;
    result.center = study.rates.center;
    result.sketch = study.kernel.sketch;
    const DistributedMatrix trained = trained_gram(setup, with.job, study, session, grid);
    result.kernel_alignment = centred_alignment(
        setup.kernels.gram(), redistribute(trained, setup.kernels.rows(), setup.kernels.gram().block()));
    if (!setup.eigenvalues.empty()) {
        Study values_alone = study;
        values_alone.spectrum.vectors = false;
        const MatrixName name{output.string() + ": the kernel after training", ExitStatus::numerical};
        std::optional<LeaveOnStop> leaving;
        if (is_kept)
            leaving.emplace(leave_during(session, *lock, "spectrum of the kernel after training",
                                         "the same command goes on from the checkpoint"));
        result.eigenvalues_after = requested_eigenpairs(trained, name, values_alone, session).values;
    }
    refuse_changed_files(with.model.files, comm);
    collectively(comm, [&] {
        if (first_rank)
            write_trained_folder(folder, with.model, new_labels(study, setup.network.labels()), setup.network,
                                 hash);
    });
    if (study.model.head == "classifier" && setup.network.program().reading != Reading::last_token)
        session.log.warn(
            fmt::format("finetune: {}: transformers has no class for the new head, "
                        "classifier.weight and .bias straight on the first token",
                        folder.string()));
    result.weights = folder.filename().string();
    write_finetune_stage([&](Hdf5File& h5) { write_finetune(h5, result, hash); }, setup.planned,
                         {result.tokens, result.seconds}, seconds_since(start));
    tell_finetune(result, session.log);
}

void StudyRun::State::write_finetune_stage(const std::function<void(Hdf5File&)>& write,
                                           const Forecast& planned, const TrainingWork& work,
                                           double own_seconds) {
    const Provenance provenance = Provenance::gather(grid);
    warn_beyond_plan("finetune", planned, provenance);
    const double seconds = max_over_ranks(comm, own_seconds);
    StagedFile file(comm, output, true, 0.0);
    file.write_small([&](Hdf5File& h5) {
        check_unchanged(h5, "/kernel", kernel_inputs);
        write(h5);
        h5.set_attribute("/provenance", "seconds_finetune", seconds);
        h5.set_attribute("/provenance", "seconds_training", work.seconds);
        h5.set_attribute("/provenance", "training_tokens", work.tokens);
        h5.set_attribute("/provenance", "planned_bytes_of_finetune", planned.of("finetune")->resident());
        keep_study(h5, "finetune");
        h5.set_attribute("/provenance", "peak_bytes_per_rank", provenance.peaks);
        h5.set_attribute("/provenance", "ended", now_text());
        complete_file(h5, session.log, "finetune");
    });
    file.commit();
}

void StudyRun::finetune() {
    State& s = *state_;
    s.session.log.enter("finetune");
    if (!s.study.finetune.asked) ask_finetune(s.study);
    s.check_study("finetune");
    if (s.kernel_inputs.empty()) s.kernel_inputs = s.attribute("/kernel", "inputs", "gram");
    const auto made_of = [&](const char* stage, const char* data_set) {
        const std::string group = fmt::format("/{}", stage);
        return s.holds(group + data_set) ? s.attribute(group, "inputs", stage) : std::string();
    };
    const Inputs inputs =
        finetune_inputs(s.study, s.kernel_inputs, made_of("spectrum", "/eigenvalues"), made_of("rates", ""));
    const bool several = !s.study.tasks.empty();
    const bool folders_are_there = any_rank(s.comm, s.first_rank && s.has_trained_folders());
    if (folders_are_there && s.is_done(several ? trained_tasks_group : "/finetune", inputs.hash())) {
        s.session.log.say("finetune: made from the same inputs already; skipped");
        return;
    }
    require_space(s.comm, s.output, true, 0);
    check_stop(s.session, "before the fine-tuning; the same command begins it");
    s.gram_matrix.reset();
    s.eigen.reset();
    if (!s.opened) {
        s.opened.emplace(open_study(s.study, s.session));
        hash_weights(s.opened->model, s.comm);
        if (!several && s.study.kernel.output.empty())
            s.study.kernel.output = s.opened->job.output_names.front();
        if (fingerprint_of(s.study, s.opened->model, s.opened->job).made_of.hash() != s.kernel_inputs)
            throw Error(ExitStatus::study, ErrorKind::changed,
                        fmt::format("{}: its kernel was made from another model or other data than "
                                    "model.path = {}, {} and {} hold now, or by another "
                                    "version; `tangram run` makes it again, or change output.path",
                                    s.output.string(), s.study.model.path,
                                    several ? "tasks.train" : "data.train = " + s.study.data.train,
                                    several ? "tasks.test" : "data.test"));
    }
    const bool in_double = s.study.kernel.precision == "double";
    if (several)
        in_double ? s.finetune_tasks<double>(*s.opened, inputs) : s.finetune_tasks<float>(*s.opened, inputs);
    else
        in_double ? s.finetune<double>(*s.opened, inputs) : s.finetune<float>(*s.opened, inputs);
}

bool StudyRun::State::has_trained_folders() const {
    std::error_code code;
    if (study.tasks.empty()) return std::filesystem::is_directory(trained_folder(output), code);
    return std::ranges::all_of(study.tasks, [&](const Study::Task& task) {
        return std::filesystem::is_directory(trained_folder(output, task.name), code);
    });
}

#define TANGRAM_TRAINING(Real)                                                                          \
    template Forecast StudyRun::State::finetuning_that_fits<Real>(const OpenedStudy&) const;            \
    template bool StudyRun::State::train(Finetuning<Real>&, const StageCheckpoint&, const FilesRead&,   \
                                         Index);                                                        \
    template void StudyRun::State::keep_training(const Finetuning<Real>&, bool, const StageCheckpoint&, \
                                                 const FilesRead&, const std::function<void()>&);
TANGRAM_TRAINING(float)
TANGRAM_TRAINING(double)
#undef TANGRAM_TRAINING

}  // namespace tangram
