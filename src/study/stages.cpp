#include "tangram/study/stages.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "checkpoint.hpp"
#include "forecast.hpp"
#include "gram_report.hpp"
#include "growth.hpp"
#include "inputs.hpp"
#include "kernel_file.hpp"
#include "kernel_fingerprint.hpp"
#include "model_loading.hpp"
#include "provenance.hpp"
#include "rates_input.hpp"
#include "sketch_report.hpp"
#include "spectrum_file.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/gram/assembly.hpp"
#include "tangram/io/checkpoint.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/io/matrix_io.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/spectrum/quality.hpp"
#include "tangram/study/data_loading.hpp"

namespace tangram {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Eigenpairs as the study asks for them; a stop request ends the program here, as no solver can be left.
/// Collective.
Eigenpairs solve(const DistributedMatrix& gram, const MatrixName& name, const Study& study,
                 const Session& session, const OutputLock& lock) {
    const Log::Waiting waiting(session.log, "spectrum");
    const LeaveOnStop leave = leave_on_stop(session, " during the spectrum; the same command begins it again",
                                            [&lock] { lock.remove_file(); });
    return eigenpairs(gram.copy(), solver_by_name(study.spectrum.solver), study.spectrum.vectors,
                      study.spectrum.block, name);
}

/// What of the options the rates depend on.
std::string text_of(const RatesOptions& options) {
    const auto number = [](const std::optional<double>& value) {
        return value ? fmt::format("{:.17g}", *value) : "auto";
    };
    std::string text = fmt::format("{} {} {} {} {} {}", number(options.noise), number(options.radius),
                                   options.center, options.repeats, options.neighbours, options.seed);
    for (const double alpha : options.step_sizes) text += fmt::format(" {:.17g}", alpha);
    for (const Index size : options.sizes) text += fmt::format(" n{}", size);
    return text;
}

}  // namespace

/// What stages hand to each other in memory; what is not there is read from the file.
struct StudyRun::State {
    Study study;
    const Session& session;
    MPI_Comm comm;
    bool first_rank;
    std::filesystem::path output;
    std::optional<OutputLock> lock;
    ProcessGrid grid;
    std::string kernel_inputs;                // fingerprint, once known
    bool whole_run = false;                   // spectrum and rates follow
    std::optional<Forecast> forecast_of_run;  // where the gram stage ran here
    std::optional<DistributedMatrix> gram_matrix;
    std::optional<Eigenpairs> eigen;
    std::optional<GramCheckpoint> kept_checkpoint;  // of a matrix that the output does not hold

    State(Study s, const Session& in, bool writes)
        : study(std::move(s)),
          session(in),
          comm(in.world.get()),
          first_rank(in.world.rank() == 0),
          output(study.output.path),
          grid(ProcessGrid::most_square(comm)) {
        if (!writes) return;
        lock.emplace(comm, output);
        check_output();
    }

    /// Whether a group of the finished file was made from these inputs. Collective.
    bool is_done(const std::string& group, const std::string& inputs) {
        if (!exists()) return false;
        return InputFile(comm, output, ExitStatus::output).read([&](const Hdf5File& file) {
            return file.has_attribute(group, "inputs") && file.text_attribute(group, "inputs") == inputs;
        });
    }
    /// Whether there is a finished file. Collective: all ranks do what the first one finds.
    bool exists() {
        std::error_code code;
        return any_rank(comm, first_rank && std::filesystem::exists(output, code));
    }
    /// A text attribute of a group of the finished file; `stage` makes the group. Collective.
    std::string attribute(const std::string& group, const std::string& key, const char* stage) {
        if (!exists())
            throw Error(ExitStatus::output,
                        fmt::format("{}: no such file; run `tangram {}` first", output.string(), stage));
        return InputFile(comm, output, ExitStatus::output).read([&](const Hdf5File& file) {
            if (!file.has_attribute(group, key))
                throw Error(ExitStatus::output, fmt::format("{}: {} is missing; run `tangram {}` first",
                                                            output.string(), group, stage));
            return file.text_attribute(group, key);
        });
    }

    /// Whether the finished file has a group or data set. Collective.
    bool holds(const std::string& path) {
        return exists() && InputFile(comm, output, ExitStatus::output).read([&](const Hdf5File& file) {
            return file.exists(path);
        });
    }
    /// Between checkpoints; 0: none but where the run is stopped.
    double checkpoint_seconds() const { return 60 * study.output.checkpoint_minutes; }
    std::string spectrum_inputs() const {
        return Inputs()
            .add("kernel", kernel_inputs)
            .add("spectrum.solver", study.spectrum.solver)
            .add("spectrum.vectors", fmt::format("{}", study.spectrum.vectors))
            .add("spectrum.block", fmt::format("{}", study.spectrum.block))
            .hash();
    }
    /// What stands at the output's name is replaced only if it is tangram's. Collective.
    void check_output() {
        const bool ours =
            !exists() || InputFile(comm, output, ExitStatus::output).read([](const Hdf5File& file) {
                return file.has_attribute("/", "schema_version");
            });
        if (!ours)
            throw Error(ExitStatus::output,
                        fmt::format("{}: is an HDF5 file that tangram did not write; change output.path",
                                    output.string()));
    }

    /// Where the gram stage has not run in this process: refuses a file whose kernel another study made, and
    /// takes what that study had left to be chosen. Collective.
    void check_study(const char* stage) {
        if (!kernel_inputs.empty() || !exists()) return;
        attribute("/kernel", "inputs", "gram");
        const std::string stored =
            InputFile(comm, output, ExitStatus::output).read([&](const Hdf5File& file) {
                return stored_study(file, output);
            });
        if (study.tasks.empty() && study.kernel.output.empty())
            study.kernel.output = attribute("/kernel", "output", "gram");
        if (const auto difference = kernel_difference(study, stored))
            throw Error(
                ExitStatus::study,
                fmt::format(
                    "{}: its kernel was made by another study: {}; `tangram run` makes it again, or change "
                    "output.path ({} reads the file)",
                    output.string(), *difference, stage));
    }

    GramJob gram_job(const LoadedModel& model, StudyData data);
    /// @throws Error(study) on every rank, with the numbers and how many ranks would do
    template <class Real>
    void refuse_what_does_not_fit(const Program& program, const GramJob& job, const Forecast& planned,
                                  double resident);
    template <class Real>
    void gram(const LoadedModel& model, const GramJob& job);
    /// Adds up the matrices; writes a checkpoint from time to time, and where it is asked to stop.
    /// Collective. @throws Error(stopped) on every rank after a checkpoint
    template <class Real>
    AssemblyResult assemble_with_checkpoints(const KernelInputs<Real>& inputs, KernelMatrices& matrices,
                                             const GramCheckpoint& checkpoint);
    /// Zero matrices, or what a checkpoint or the finished file of a smaller sample holds of them.
    /// Collective.
    KernelMatrices begin_matrices(const GramJob& job, const GramCheckpoint& checkpoint,
                                  const std::string& basis, Index slices);
    /// Runs `write`; where the output cannot be written, what was computed goes into a checkpoint.
    /// Collective.
    /// @throws Error(output) on every rank
    void write_or_keep(const std::function<void()>& write, const KernelMatrices& matrices,
                       const GramCheckpoint& checkpoint);
    template <class Real>
    void plan(const LoadedModel& model, const GramJob& job, int ranks);
    /// Says which rank took more memory than the forecast of the stages up to this one, if any. Local.
    void warn_beyond_plan(const std::string& stage, const Forecast& planned, const Provenance& taken) const {
        double most = 0;
        for (const StageForecast& of : planned.stages) {
            most = std::max(most, of.bytes);
            if (of.stage == stage) break;
        }
        const auto peak = std::ranges::max_element(taken.peaks);
        if (static_cast<double>(*peak) > 1.1 * most)
            session.log.warn(fmt::format("{}: rank {} took {}, {} were planned", stage,
                                         peak - taken.peaks.begin(), bytes_text(static_cast<double>(*peak)),
                                         bytes_text(most)));
    }
    /// The spectrum of a Gram matrix into group `at` of the output file. Collective.
    Eigenpairs write_spectrum_of(const DistributedMatrix& gram, const std::string& at,
                                 const std::string& inputs);
    /// A symmetric matrix of the output file. Collective.
    DistributedMatrix read_gram(const std::string& path);
};

StudyRun::StudyRun(Study study, const Session& session, bool writes)
    : state_(std::make_unique<State>(std::move(study), session, writes)) {}
StudyRun::~StudyRun() = default;

GramJob StudyRun::State::gram_job(const LoadedModel& model, StudyData data) {
    const Program& program = model.program;
    GramJob job;
    job.data = std::move(data);
    for (const Index count : job.data.task_labels) {
        job.output_names.push_back(!study.kernel.output.empty() ? study.kernel.output
                                   : count == 2                 ? "margin"
                                                                : "logits");
        job.outputs.add(kernel_output(job.output_names.back(), count), count);
    }
    job.parameters = model.parameters;
    for (const std::string& formula_name : study.kernel.formula) {
        const Formula formula = formula_by_name(formula_name);
        job.formulas.push_back(
            {formula, choose_contractions(program, job.parameters, mean_tokens(job.data.train),
                                          study.kernel.sketch, formula)});
    }
    job.groups = group_parameters(program, job.parameters, study.kernel.groups);
    for (const ParameterId p : job.parameters) job.parameter_count += program.parameters()[p].size();
    job.train_rows = kernel_rows(job.data.train, job.outputs).back();
    if (job.data.test) job.test_rows = kernel_rows(*job.data.test, job.outputs).back();
    job.idle_bytes = static_cast<double>(max_over_ranks(comm, resident_bytes()));
    return job;
}

template <class Real>
void StudyRun::State::refuse_what_does_not_fit(const Program& program, const GramJob& job,
                                               const Forecast& planned, double resident) {
    const double limit = session.memory_per_rank;
    for (const StageForecast& stage : planned.stages) {
        if (stage.bytes <= limit || (stage.stage != "gram" && !whole_run)) continue;
        const auto fewest = fewest_ranks<Real>(program, job, study, resident, limit, !whole_run);
        throw Error(
            ExitStatus::study,
            fmt::format("{} needs {} on the largest of {} rank{}, {} allowed (--memory-per-rank); {}; "
                        "`tangram plan` shows what takes how much",
                        stage.stage, bytes_text(stage.bytes), session.world.size(),
                        session.world.size() == 1 ? "" : "s", bytes_text(limit),
                        fewest ? fmt::format("{} ranks with as much on each would do", *fewest)
                               : "no number of ranks would do, use fewer samples"));
    }
}

template <class Real>
void StudyRun::State::plan(const LoadedModel& model, const GramJob& job, int ranks) {
    const Program& program = model.program;
    Network<Real> network = make_network<Real>(model, study, job.data, job.outputs, comm, false);
    const double resident = max_over_ranks(comm, trial_memory(network, job, comm));
    const Calibration calibration = calibrated(network, job, model.sha256, session);
    const double limit = session.memory_per_rank;
    const Forecast planned = forecast<Real>(program, job, study, calibration, resident, limit, ranks);
    session.log.result(plan_text(program, job, planned, limit,
                                 fewest_ranks<Real>(program, job, study, resident, limit, false)));
    if (planned.bytes() > limit)
        throw Error(
            ExitStatus::study,
            fmt::format("the study does not fit: {} needed on the largest of {} rank{}, {} "
                        "allowed; use more ranks, fewer samples or --memory-per-rank",
                        bytes_text(planned.bytes()), ranks, ranks == 1 ? "" : "s", bytes_text(limit)));
}

KernelMatrices StudyRun::State::begin_matrices(const GramJob& job, const GramCheckpoint& checkpoint,
                                               const std::string& basis, Index slices) {
    KernelMatrices matrices = collectively(comm, [&] {
        return empty_matrices(grid, job.train_rows, job.test_rows, job.parameters.size(), job.formulas.size(),
                              job.groups.names.size());
    });
    const Log::Waiting waiting(session.log, "gram: reading what there is beside " + output.string());
    if (checkpoint.read(matrices, slices, session.log))
        session.log.say(
            fmt::format("gram: goes on from the checkpoint after {} slices", matrices.units_done));
    else if (const Index known = take_known_rows(output, basis, job, study, matrices); known > 0)
        session.log.say(
            fmt::format("gram: {} holds the kernel of the first {} examples; only the others' rows "
                        "are computed",
                        output.string(), known));
    return matrices;
}

template <class Real>
AssemblyResult StudyRun::State::assemble_with_checkpoints(const KernelInputs<Real>& inputs,
                                                          KernelMatrices& matrices,
                                                          const GramCheckpoint& checkpoint) {
    auto last_checkpoint = Clock::now();
    const double interval = checkpoint_seconds();
    bool stopped = false;
    const auto write_checkpoint = [&] {
        try {
            const Log::Waiting waiting(session.log, "gram: writing " + output.string() + ".checkpoint");
            checkpoint.write(matrices);
        } catch (const Error& e) {
            if (stopped)
                throw Error(e.status(), fmt::format("stopped on request, but {}; what was computed since the "
                                                    "checkpoint before is lost",
                                                    e.what()));
            session.log.warn(fmt::format("no checkpoint: {}; the run goes on and tries again in {}", e.what(),
                                         duration_text(interval)));
        }
        last_checkpoint = Clock::now();
    };
    std::string part;
    const auto tell = [&](const char* now, const AssemblyProgress& at) {
        const Work work{at.flops, at.bytes_received};
        if (std::exchange(part, now) != now) session.log.start(now, at.of, at.done, work);
        session.log.progress(at.done, work);
    };
    const auto go_on = [&](const AssemblyProgress& at) {
        tell("gram", at);
        if (at.done == at.of) return true;
        stopped = session.stop.requested(comm);
        if (stopped || any_rank(comm, interval > 0 && seconds_since(last_checkpoint) > interval))
            write_checkpoint();
        return !stopped;
    };
    const auto in_pass = [&](const AssemblyProgress& at) {
        tell("jacobian", at);
        if (session.stop.requested_here()) throw Error(ExitStatus::stopped, "in a pass");
    };
    AssemblyResult assembled;
    try {
        assembled = assemble<Real>(inputs, matrices, go_on, in_pass);
    } catch (const Error& e) {
        if (e.status() != ExitStatus::stopped) throw;
        stopped = true;
        write_checkpoint();
    }
    session.log.finish();
    if (stopped)
        throw Error(ExitStatus::stopped,
                    fmt::format("stopped on request after writing {}.checkpoint; the same command goes on",
                                output.string()));
    return assembled;
}

void StudyRun::State::write_or_keep(const std::function<void()>& write, const KernelMatrices& matrices,
                                    const GramCheckpoint& checkpoint) {
    try {
        // Disks then hold two copies and not three.
        remove_previous_checkpoint(output, comm);
        write();
    } catch (const Error& e) {
        if (e.status() != ExitStatus::output) throw;
        try {
            checkpoint.write(matrices, true);
        } catch (const Error& no_checkpoint) {
            throw Error(e.status(),
                        fmt::format("{}; no checkpoint either: {}", e.what(), no_checkpoint.what()));
        }
        throw Error(e.status(),
                    fmt::format("{}; what was computed is in {}.checkpoint, the same command goes on",
                                e.what(), output.string()));
    }
}

template <class Real>
void StudyRun::State::gram(const LoadedModel& model, const GramJob& job) {
    if (study.tasks.empty()) study.kernel.output = job.output_names.front();
    const KernelFingerprint fingerprint = fingerprint_of(study, model, job);
    kernel_inputs = fingerprint.made_of.hash();
    const GramCheckpoint checkpoint(output, fingerprint.made_of);
    // Without save_gram the file lacks the matrix that the spectrum is made from: done only if the spectrum
    // is there too.
    if (is_done("/kernel", kernel_inputs) &&
        (holds("/kernel/gram") || is_done("/spectrum", spectrum_inputs()))) {
        session.log.say(
            fmt::format("gram: {} holds it already, made from the same inputs; skipped", output.string()));
        checkpoint.remove_own(comm);  // of a run that ended between the two
        return;
    }

    Network<Real> network = make_network<Real>(model, study, job.data, job.outputs, comm, true);
    const double resident = max_over_ranks(comm, trial_memory(network, job, comm));
    const Forecast planned = forecast<Real>(model.program, job, study, Calibration{}, resident,
                                            session.memory_per_rank, session.world.size());
    refuse_what_does_not_fit<Real>(model.program, job, planned, resident);
    require_space(comm, output, planned.stages.front().written_bytes);
    forecast_of_run = planned;

    const auto start = Clock::now();
    session.log.say(fmt::format(
        "gram: {} examples ({} tokens), {} rows, {} parameters in {} tensors, {} rank{} as {} x {}, "
        "{} precision; {} planned on the largest rank{}",
        job.data.train.examples(), job.data.train.token_ids.size(), job.train_rows, job.parameter_count,
        job.parameters.size(), session.world.size(), session.world.size() == 1 ? "" : "s", grid.rows(),
        grid.columns(), study.kernel.precision, bytes_text(planned.stages.front().bytes),
        planned.assembly.passes > 1
            ? fmt::format(", {} passes per example to save memory", planned.assembly.passes)
            : ""));
    KernelMatrices matrices = begin_matrices(job, checkpoint, fingerprint.basis, planned.assembly.slices);
    const auto sketch_seed = static_cast<std::uint64_t>(study.data.seed);
    const KernelInputs<Real> inputs{network,
                                    job.data.train,
                                    job.data.test ? &*job.data.test : nullptr,
                                    job.outputs,
                                    job.parameters,
                                    job.formulas,
                                    planned.factor_limit,
                                    study.kernel.sketch,
                                    sketch_seed,
                                    job.groups.group_of};
    const AssemblyResult assembled = assemble_with_checkpoints(inputs, matrices, checkpoint);
    const GramReport report = GramReport::gather(inputs, job, assembled, seconds_since(start),
                                                 planned.assembly.product_flops, comm);
    const SketchReport sketch =
        report_sketch(inputs, matrices.formulas.front().gram, sketch_seed, session.log);
    const Provenance provenance = Provenance::gather(grid);

    double writing = 0;
    const auto write_output = [&] {
        const Log::Waiting waiting(session.log, "gram: writing " + output.string());
        const auto write_start = Clock::now();
        StagedFile file(comm, output, false, planned.stages.front().written_bytes);
        file.write_small([&](Hdf5File& h5) {
            write_kernel(h5, study, job, network, matrices, assembled);
            h5.set_attribute("/kernel", "inputs", kernel_inputs);
            h5.set_attribute("/kernel", "basis", fingerprint.basis);
            sketch.write(h5);
            provenance.write(h5, to_toml(study), model.sha256, arithmetic::tile_rows, session);
            report.write(h5);
            h5.set_attribute("/provenance", "planned_bytes_per_rank", planned.stages.front().bytes);
        });
        for (const auto& [path, matrix, orientation] : kernel_matrices(study, job, matrices))
            write_matrix(file.partial(), path, *matrix, orientation);
        writing = max_over_ranks(comm, seconds_since(write_start));
        file.write_small([&](Hdf5File& h5) { h5.set_attribute("/provenance", "seconds_output", writing); });
        file.commit();
    };
    write_or_keep(write_output, matrices, checkpoint);
    // Without the matrix in the output, the spectrum would have nothing to begin again from.
    if (whole_run && !study.output.save_gram && checkpoint_seconds() > 0) {
        try {
            checkpoint.write(matrices, true);
            kept_checkpoint = checkpoint;
        } catch (const Error& e) {
            session.log.warn(fmt::format(
                "no checkpoint: {}; a run that is stopped in the spectrum begins again", e.what()));
        }
    } else {
        remove_checkpoint(output, comm);
    }
    DistributedMatrix& first = matrices.formulas.front().gram;
    gram_matrix.emplace(first.block() == arithmetic::tile_rows
                            ? std::move(first)
                            : redistribute(first, grid, arithmetic::tile_rows));
    warn_beyond_plan("gram", planned, provenance);
    session.log.say(fmt::format("gram: {}, {} resident on the largest rank; written in {}", report.text(),
                                bytes_text(static_cast<double>(std::ranges::max(provenance.peaks))),
                                duration_text(writing)));
}

void StudyRun::gram(bool whole_run) {
    State& s = *state_;
    s.whole_run = whole_run;
    std::optional<Log::Waiting> waiting(std::in_place, s.session.log, "gram: reading model and data");
    auto [model, data] = load_model(s.study, s.session);
    waiting.reset();
    const GramJob job = s.gram_job(model, std::move(data));
    if (s.study.kernel.precision == "double")
        s.gram<double>(model, job);
    else
        s.gram<float>(model, job);
}

void StudyRun::plan(std::optional<int> ranks) {
    State& s = *state_;
    const int on = ranks.value_or(s.session.world.size());
    auto [model, data] = load_model(s.study, s.session);
    const GramJob job = s.gram_job(model, std::move(data));
    if (s.study.kernel.precision == "double")
        s.plan<double>(model, job, on);
    else
        s.plan<float>(model, job, on);
}

Eigenpairs StudyRun::State::write_spectrum_of(const DistributedMatrix& gram, const std::string& at,
                                              const std::string& inputs) {
    const Index n = gram.rows();
    session.log.say(fmt::format("{}: n = {}, {}", at.substr(1), n,
                                study.spectrum.vectors ? "with eigenvectors" : "eigenvalues only"));
    const auto start = Clock::now();
    const std::string made_of = "/kernel" + at.substr(std::string_view("/spectrum").size()) + "/gram";
    const MatrixName name{fmt::format("{}: {}", output.string(), made_of), ExitStatus::output};
    Eigenpairs pairs = solve(gram, name, study, session, *lock);
    const double seconds = max_over_ranks(comm, seconds_since(start));
    const Quality checks = quality(gram, pairs, attribute("/kernel", "precision", "gram") == "mixed");
    const Provenance provenance = Provenance::gather(grid);
    const Log::Waiting waiting(session.log, at.substr(1) + ": writing " + output.string());
    StagedFile file(comm, output, true,
                    pairs.vectors ? 8.0 * static_cast<double>(n) * static_cast<double>(n) : 0.0);
    file.write_small([&](Hdf5File& h5) {
        if (at == "/spectrum")
            for (const char* made_of_it : {"/rates", "/neighbours", "/tasks"}) h5.remove(made_of_it);
        write_spectrum(h5, at, pairs, checks, inputs, seconds);
        if (at == "/spectrum") h5.set_attribute("/provenance", "seconds_spectrum", seconds);
        h5.set_attribute("/provenance", "study", to_toml(study));
        h5.set_attribute("/provenance", "peak_bytes_per_rank", provenance.peaks);
        h5.set_attribute("/provenance", "ended", now_text());
    });
    if (pairs.vectors)
        write_matrix(file.partial(), at + "/eigenvectors", *pairs.vectors, Orientation::transposed);
    file.commit();
    if (forecast_of_run) warn_beyond_plan("spectrum", *forecast_of_run, provenance);
    session.log.say(spectrum_summary(pairs, checks, seconds));
    return pairs;
}

DistributedMatrix StudyRun::State::read_gram(const std::string& path) {
    const Log::Waiting waiting(session.log, "spectrum: reading " + output.string());
    return InputFile(comm, output, ExitStatus::output)
        .read_matrix(path, grid, arithmetic::tile_rows, Orientation::transposed);
}

void StudyRun::spectrum() {
    State& s = *state_;
    s.check_study("spectrum");
    if (s.kernel_inputs.empty()) s.kernel_inputs = s.attribute("/kernel", "inputs", "gram");
    const std::string inputs = s.spectrum_inputs();
    check_blas(s.session.log);
    for (std::size_t f = 0; f < s.study.kernel.formula.size(); ++f) {
        const std::string& formula = s.study.kernel.formula[f];
        if (formula_by_name(formula) == Formula::asymmetric_signgd) continue;  // not symmetric
        const std::string behind = f == 0 ? "" : "/" + formula;
        if (s.is_done("/spectrum" + behind, inputs)) {
            s.session.log.say(fmt::format("spectrum{}: made from the same inputs already; skipped", behind));
            continue;
        }
        if (f == 0 && !s.gram_matrix) s.gram_matrix.emplace(s.read_gram("/kernel/gram"));
        check_stop(s.session,
                   s.study.output.save_gram ? "before the spectrum; the Gram matrix is in the output file"
                   : s.kept_checkpoint      ? "before the spectrum; the Gram matrix is in the checkpoint"
                                            : "before the spectrum; the Gram matrix will be computed again");
        if (f == 0)
            s.eigen.emplace(s.write_spectrum_of(*s.gram_matrix, "/spectrum", inputs));
        else
            s.write_spectrum_of(s.read_gram("/kernel" + behind + "/gram"), "/spectrum" + behind, inputs);
    }
    if (s.kept_checkpoint) s.kept_checkpoint->remove_own(s.comm);
}

void StudyRun::spectrum_of_groups(std::vector<std::string> groups) {
    State& s = *state_;
    s.check_study("spectrum");
    s.kernel_inputs = s.attribute("/kernel", "inputs", "gram");
    const std::vector<std::string> kept =
        InputFile(s.comm, s.output, ExitStatus::output).read([](const Hdf5File& h5) {
            return h5.exists("/kernel/groups") ? h5.children("/kernel/groups") : std::vector<std::string>{};
        });
    std::ranges::sort(groups);
    groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
    for (const std::string& group : groups)
        if (std::ranges::find(kept, group) == kept.end())
            throw Error(ExitStatus::study,
                        fmt::format("--groups {}: {} holds {}", group, s.output.string(),
                                    kept.empty() ? "no groups; set kernel.groups and run `tangram gram`"
                                                 : fmt::format("{}", fmt::join(kept, ", "))));
    const std::string at = fmt::format("/spectrum/groups/{}", fmt::join(groups, "+"));
    const std::string inputs = s.spectrum_inputs();
    if (s.is_done(at, inputs)) {
        s.session.log.say(fmt::format("{}: made from the same inputs already; skipped", at.substr(1)));
        return;
    }
    check_blas(s.session.log);
    DistributedMatrix sum = s.read_gram("/kernel/groups/" + groups.front() + "/gram");
    for (std::size_t g = 1; g < groups.size(); ++g) {
        const DistributedMatrix more = s.read_gram("/kernel/groups/" + groups[g] + "/gram");
        if (more.rows() != sum.rows() || more.columns() != sum.columns())
            throw Error(
                ExitStatus::output,
                fmt::format("{}: /kernel/groups: the Gram matrix of {} is {} x {}, that of {} {} x {}; "
                            "delete the file and use `tangram gram` to compute it again",
                            s.output.string(), groups[g], more.columns(), more.rows(), groups.front(),
                            sum.columns(), sum.rows()));
        for (Index j = 0; j < sum.local_columns(); ++j)
            for (Index i = 0; i < sum.local_rows(); ++i)
                sum.data()[i + j * sum.lld()] += more.data()[i + j * more.lld()];
    }
    s.write_spectrum_of(sum, at, inputs);
}

void StudyRun::rates() {
    State& s = *state_;
    const std::string spectrum_inputs = s.attribute("/spectrum", "inputs", "spectrum");
    s.check_study("rates");
    const RatesOptions options = rates_options(s.study);
    const std::string inputs =
        Inputs().add("spectrum", spectrum_inputs).add("rates", text_of(options)).hash();
    if (s.is_done("/rates", inputs)) {
        s.session.log.say("rates: made from the same inputs already; skipped");
        return;
    }
    if (!s.study.spectrum.vectors)
        throw Error(ExitStatus::study, "rates need eigenvectors; set spectrum.vectors = true");
    const auto start = Clock::now();
    RatesMatrices matrices;
    matrices.gram.swap(s.gram_matrix);
    if (s.eigen) matrices.vectors.swap(s.eigen->vectors);
    const RatesInput input =
        read_rates_input(InputFile(s.comm, s.output, ExitStatus::output), s.grid, matrices);
    const RatesResult result = compute_rates(input, options, s.session);
    const double seconds = max_over_ranks(s.comm, seconds_since(start));
    const Provenance provenance = Provenance::gather(s.grid);
    const Log::Waiting waiting(s.session.log, "rates: writing " + s.output.string());
    StagedFile file(s.comm, s.output, true, 0.0);
    file.write_small([&](Hdf5File& h5) {
        h5.remove("/rates");
        h5.remove("/neighbours");
        h5.remove("/tasks");
        write_rates(h5, result);
        h5.set_attribute("/rates", "inputs", inputs);
        h5.set_attribute("/provenance", "seconds_rates", seconds);
        h5.set_attribute("/provenance", "study", to_toml(s.study));
        h5.set_attribute("/provenance", "peak_bytes_per_rank", provenance.peaks);
        h5.set_attribute("/provenance", "ended", now_text());
    });
    file.commit();
    if (s.forecast_of_run) s.warn_beyond_plan("rates", *s.forecast_of_run, provenance);
    s.session.log.result(rates_summary(result));
}

void spectrum_of_matrix(const std::string& matrix, const std::filesystem::path& output, const Study& study,
                        const Session& session) {
    const MPI_Comm comm = session.world.get();
    solver_by_name(study.spectrum.solver);  // refused before the matrix is read
    const auto [source, path] = file_and_path(matrix);
    const OutputLock lock(comm, output);
    std::error_code code;
    if (any_rank(comm, std::filesystem::equivalent(source, output, code)))
        throw Error(
            ExitStatus::study,
            fmt::format("--output {} is the file that --matrix reads; name another", output.string()));
    const ProcessGrid grid = ProcessGrid::most_square(comm);
    const DistributedMatrix G =
        read_matrix(source, path, grid, arithmetic::tile_rows, Orientation::transposed, ExitStatus::input);
    const auto start = Clock::now();
    const Eigenpairs pairs =
        solve(G, {fmt::format("{}: {}", source.string(), path), ExitStatus::input}, study, session, lock);
    const double seconds = max_over_ranks(comm, seconds_since(start));
    const Quality checks = quality(G, pairs, false);
    const Provenance provenance = Provenance::gather(grid);
    StagedFile file(comm, output, false, 8.0 * static_cast<double>(G.rows()) * static_cast<double>(G.rows()));
    file.write_small([&](Hdf5File& h5) {
        write_spectrum(h5, "/spectrum", pairs, checks, Inputs().add("matrix", matrix).hash(), seconds);
        provenance.write(h5, "# spectrum of " + matrix + "\n", "", G.block(), session);
        h5.set_attribute("/provenance", "seconds_spectrum", seconds);
    });
    if (pairs.vectors)
        write_matrix(file.partial(), "/spectrum/eigenvectors", *pairs.vectors, Orientation::transposed);
    file.commit();
    session.log.result(spectrum_summary(pairs, checks, seconds));
}

}  // namespace tangram
