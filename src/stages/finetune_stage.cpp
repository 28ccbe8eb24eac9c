#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "finetune_file.hpp"
#include "finetuning.hpp"
#include "kernel_change.hpp"
#include "kernel_file.hpp"
#include "study_state.hpp"
#include "tangram/io/checkpoint.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/rates/step_sizes.hpp"
#include "tangram/session/clock.hpp"
#include "tangram/stages/spectrum_request.hpp"
#include "tangram/study/file_contents.hpp"
#include "tangram/study/files_of_ranks.hpp"
#include "tangram/study/fingerprints.hpp"
#include "tangram/study/initial_network.hpp"
#include "trained_folder.hpp"

namespace tangram {

namespace {

/// Where the formula stands among the study's; nothing where it is none of them.
std::optional<std::size_t> place_of(const Study& study, const std::string& formula) {
    const auto found = std::ranges::find(study.kernel.formula, formula);
    if (found == study.kernel.formula.end()) return std::nullopt;
    return static_cast<std::size_t>(found - study.kernel.formula.begin());
}

/// The kernels that fine-tuning reads from the output file, whole rows on every rank, and what stands beside
/// them. Collective.
class StoredKernels {
  public:
    StoredKernels(const Study& study, MPI_Comm comm, const std::filesystem::path& output)
        : file_(comm, output, ExitStatus::output),
          rows_(comm, size_of(comm), 1),
          is_sgd_(place_of(study, "sgd").has_value()),
          compared_(place_of(study, "sgd").value_or(0)),
          gram_(read(kernel_place(study, compared_) + "/gram", Orientation::transposed)) {
        const auto linear = place_of(study, linear_formula(rule_by_name(study.finetune.optimizer)));
        has_linear_ = linear.has_value();
        if (!linear) return;
        const std::string at = kernel_place(study, *linear);
        if (*linear != compared_) asymmetric_.emplace(read(at + "/gram", Orientation::as_is));
        if (holds(at + "/cross")) cross_.emplace(read(at + "/cross", Orientation::as_is));
    }

    std::size_t compared() const { return compared_; }  ///< the formula of gram()
    bool is_sgd() const { return is_sgd_; }             ///< whether that is "sgd"
    const DistributedMatrix& gram() const { return gram_; }
    /// Of the linearised model.
    bool has_linear() const { return has_linear_; }
    const DistributedMatrix& linear_gram() const { return asymmetric_ ? *asymmetric_ : gram_; }
    const DistributedMatrix* cross() const { return cross_ ? &*cross_ : nullptr; }
    const ProcessGrid& rows() const { return rows_; }

    /// Eigenvalues of gram(), descending; empty: there is no spectrum.
    std::vector<double> eigenvalues(const Study& study) const {
        const std::string at = "/spectrum" +
                               kernel_place(study, compared_).substr(std::string_view("/kernel").size()) +
                               "/eigenvalues";
        return file_.read(
            [&](const Hdf5File& h5) { return h5.exists(at) ? h5.read_doubles(at) : std::vector<double>{}; });
    }
    /// eta_T of the rates; NaN: there are none, or they are of another formula.
    double stopping_eta() const {
        constexpr const char* at = "/rates/stopping";
        if (!is_sgd_ || compared_ != 0 || !holds(at)) return not_known;
        const auto number = [&](const char* name) {
            return file_.read([&](const Hdf5File& h5) { return h5.number_attribute(at, name); });
        };
        const std::vector<double> listed = file_.read([&](const Hdf5File& h5) {
            const std::string sizes = std::string(at) + "/step_sizes";
            return h5.exists(sizes) ? h5.read_doubles(sizes) : std::vector<double>{};
        });
        const double T = number("stopping_step");
        if (!std::isfinite(T)) return T;
        return (listed.empty() ? StepSizes(number("step_size")) : StepSizes(listed)).eta(T);
    }

  private:
    static int size_of(MPI_Comm comm) {
        int size = 1;
        TANGRAM_MPI(MPI_Comm_size(comm, &size));
        return size;
    }
    bool holds(const std::string& path) const {
        return file_.read([&](const Hdf5File& h5) { return h5.exists(path) ? 1 : 0; }) == 1;
    }
    DistributedMatrix read(const std::string& path, Orientation orientation) const {
        DistributedMatrix matrix = file_.read_matrix(path, rows_, block_of_rows, orientation);
        if (!is_finite(matrix))
            throw Error(
                ExitStatus::output, ErrorKind::non_finite,
                fmt::format("{}: {} holds a value that is not finite; delete the file and use `tangram "
                            "run` to compute it again",
                            file_.name().string(), path));
        return matrix;
    }

    static constexpr Index block_of_rows = 64;
    InputFile file_;
    ProcessGrid rows_;
    bool is_sgd_;
    std::size_t compared_;
    DistributedMatrix gram_;
    bool has_linear_ = false;
    std::optional<DistributedMatrix> asymmetric_, cross_;
};

/// Refuses training that does not fit. Local. @param limit  bytes of a rank
void check_memory(double weights, double rows, int ranks, double limit) {
    // Initial weights, change, two moments and gradient; the tree's vectors; two kernels by rows, one in
    // tiles.
    const double depth = std::ceil(std::log2(std::max(1.0, 64.0 / ranks))) + 3,
                 bytes = 8 * weights * (5 + depth) + 8 * 3 * rows * rows / ranks;
    if (bytes > limit)
        throw Error(
            ExitStatus::study, ErrorKind::no_memory,
            fmt::format("finetune needs about {} on every rank beside the network, {} allowed "
                        "(--memory-per-rank); train fewer tensors (kernel.parameters), or give each more "
                        "memory",
                        bytes_text(bytes), bytes_text(limit)));
}

}  // namespace

/// Everything that one training is made of. Collective.
template <class Real>
struct FinetuneSetup {
    FinetuneSetup(const OpenedStudy& opened, const Study& study, const Session& session,
                  const std::filesystem::path& output)
        : kernels(study, session.world.get(), output),
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
        check_memory(static_cast<double>(parameters.size()), static_cast<double>(kernels.gram().rows()),
                     session.world.size(), session.memory_per_rank);
        train = finetune_part(job.data.train, name, logits_of(network, job.data.train, comm), {});
        std::vector<double> means;
        if (study.rates.center != "false" && study.finetune.loss == "squared") {
            means = residual_means(train.targets);
            train = finetune_part(job.data.train, name, std::move(train.logits), means);
        }
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
                                     session.memory_per_rank / 2,
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
    assemble<Real>(inputs, matrices, go_on, in_pass);
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
void StudyRun::State::train(Finetuning<Real>& training, const Inputs& inputs, const FilesRead& files,
                            Index steps) {
    const double interval = checkpoint_seconds();
    auto last = Clock::now();
    const auto write = [&](bool stopped) {
        refuse_changed_files(files, comm);
        try {
            training.write_checkpoint(output, inputs, grid);
        } catch (const Error& e) {
            if (stopped || e.status() != ExitStatus::output) throw;
            session.log.warn(fmt::format("no checkpoint: {}; the run goes on", e.what()));
        }
        last = Clock::now();
    };
    session.log.start("finetune", steps, training.steps_done());
    bool more = true;
    while (more) {
        const bool stopped = session.stop.requested(comm);
        if (stopped || any_rank(comm, interval > 0 && seconds_since(last) > interval)) write(stopped);
        if (stopped)
            throw Error(
                ExitStatus::stopped, ErrorKind::stopped,
                fmt::format("stopped on request after writing {}.finetune.checkpoint; the same command "
                            "goes on",
                            output.string()));
        more = training.advance();
        session.log.progress(training.steps_done());
    }
    session.log.finish();
    // What follows can be stopped too.
    if (interval > 0) write(false);
}

template <class Real>
void StudyRun::State::keep_training(const Finetuning<Real>& training, const Inputs& inputs,
                                    const FilesRead& files, const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& e) {
        if (checkpoint_seconds() > 0) throw;  // train() has left one
        try {
            refuse_changed_files(files, comm);
            training.write_checkpoint(output, inputs, grid);
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
    FinetuneSetup<Real> setup(with, study, session, output);
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
    if (training.read_checkpoint(output, inputs, grid))
        session.log.say(
            fmt::format("finetune: goes on from the checkpoint after {} steps", training.steps_done()));
    train(training, inputs, with.model.files, plan.settings.steps);

    keep_training(training, inputs, with.model.files,
                  [&] { finish_finetune(setup, training, with, hash, start); });
    remove_checkpoint(output.string() + ".finetune", comm);
}

template <class Real>
void StudyRun::State::finish_finetune(FinetuneSetup<Real>& setup, const Finetuning<Real>& training,
                                      const OpenedStudy& with, const std::string& hash,
                                      Clock::time_point start) {
    const std::filesystem::path folder = trained_folder(output);
    FinetuneResult result = outcome(setup, training);
    result.optimizer = study.finetune.optimizer;
    result.loss = study.finetune.loss;
    const DistributedMatrix trained = trained_gram(setup, with.job, study, session, grid);
    result.kernel_alignment = centred_alignment(
        setup.kernels.gram(), redistribute(trained, setup.kernels.rows(), setup.kernels.gram().block()));
    if (!setup.eigenvalues.empty()) {
        Study values_alone = study;
        values_alone.spectrum.vectors = false;
        const MatrixName name{output.string() + ": the kernel after training", ExitStatus::numerical};
        result.eigenvalues_after = requested_eigenpairs(trained, name, values_alone, session, *lock).values;
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
    write_finetune_stage(result, hash, seconds_since(start));
    tell_finetune(result, session.log);
}

void StudyRun::State::write_finetune_stage(const FinetuneResult& result, const std::string& inputs,
                                           double own_seconds) {
    const Provenance provenance = Provenance::gather(grid);
    const double seconds = max_over_ranks(comm, own_seconds);
    StagedFile file(comm, output, true, 0.0);
    file.write_small([&](Hdf5File& h5) {
        check_unchanged(h5, "/kernel", kernel_inputs);
        write_finetune(h5, result, inputs);
        h5.set_attribute("/provenance", "seconds_finetune", seconds);
        h5.set_attribute("/provenance", "seconds_training", result.seconds);
        h5.set_attribute("/provenance", "training_tokens", result.tokens);
        h5.set_attribute("/provenance", "study", to_toml(study));
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
    std::error_code code;
    const bool folder_is_there =
        any_rank(s.comm, s.first_rank && std::filesystem::is_directory(trained_folder(s.output), code));
    if (folder_is_there && s.is_done("/finetune", inputs.hash())) {
        s.session.log.say("finetune: made from the same inputs already; skipped");
        return;
    }
    check_stop(s.session, "before the fine-tuning; the same command begins it");
    s.gram_matrix.reset();
    s.eigen.reset();
    if (!s.opened) {
        s.opened.emplace(open_study(s.study, s.session));
        hash_weights(s.opened->model, s.comm);
        if (s.study.kernel.output.empty()) s.study.kernel.output = s.opened->job.output_names.front();
        if (fingerprint_of(s.study, s.opened->model, s.opened->job).made_of.hash() != s.kernel_inputs)
            throw Error(ExitStatus::study, ErrorKind::changed,
                        fmt::format("{}: its kernel was made from another model or other data than "
                                    "model.path = {}, data.train = {} and data.test hold now, or by another "
                                    "version; `tangram run` makes it again, or change output.path",
                                    s.output.string(), s.study.model.path, s.study.data.train));
    }
    if (s.study.kernel.precision == "double")
        s.finetune<double>(*s.opened, inputs);
    else
        s.finetune<float>(*s.opened, inputs);
}

}  // namespace tangram
