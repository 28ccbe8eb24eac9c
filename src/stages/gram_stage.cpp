#include <fmt/core.h>

#include <algorithm>

#include "finetune_tasks.hpp"
#include "gram_checkpoint.hpp"
#include "gram_report.hpp"
#include "growth.hpp"
#include "kernel_file.hpp"
#include "sketch_report.hpp"
#include "study_state.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/gram/product_back_end.hpp"
#include "tangram/io/matrix_io.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/session/clock.hpp"
#include "tangram/session/resources.hpp"
#include "tangram/stages/rates_request.hpp"
#include "tangram/study/file_contents.hpp"
#include "tangram/study/files_of_ranks.hpp"
#include "tangram/study/fingerprints.hpp"
#include "tangram/study/initial_network.hpp"
#include "tangram/study/job.hpp"
#include "tangram/study/open_study.hpp"
#include "tangram/training/batches.hpp"
#include "trained_folder.hpp"

namespace tangram {

void StudyRun::State::check_against_rows(const GramJob& job, bool finetuned) const {
    if (study.spectrum.count > job.train_rows)
        throw Error(
            ExitStatus::study, ErrorKind::out_of_range,
            fmt::format("spectrum.count = {}: the kernel has {} rows and as many eigenvalues; 0 takes all "
                        "of them",
                        study.spectrum.count, job.train_rows));
    if (study.rates.neighbours > 0 && study.spectrum.count > 0 && study.spectrum.count < job.train_rows)
        throw Error(ExitStatus::study, ErrorKind::contradiction,
                    "rates.neighbours needs all eigenvectors; set spectrum.count = 0");
    if (finetuned) Batches(job.data.train.examples(), study.finetune.batch, 0);
    check_window(rates_options(study).window,
                 study.spectrum.count > 0 ? study.spectrum.count : job.train_rows);
}

template <class Real>
Forecast StudyRun::State::forecast_that_fits(const LoadedModel& model, const GramJob& job) {
    const double limit = session.memory_per_rank;
    check_against_rows(job, whole_run && study.finetune.asked);
    PlannedStudy planned{
        model, job, study, limit, weight_bytes<Real>(model, study), ranks_of_host(session.world)};
    if (back_end != nullptr) planned.device_memory = -max_over_ranks(comm, -back_end->memory());
    if (pass_back_end != nullptr) planned.pass_memory = -max_over_ranks(comm, -pass_back_end->memory());
    if (const double before = planned.before(planned.ranks_of_host); before > limit)
        throw Error(ExitStatus::study, ErrorKind::no_memory,
                    fmt::format("the network needs {} on every rank before the kernel's part, {} allowed "
                                "(--memory-per-rank); no number of ranks would do, give each more memory",
                                bytes_text(before), bytes_text(limit)));
    Forecast on = forecast<Real>(planned, session.world.size());
    for (const StageForecast& stage : on.stages) {
        if (on.bytes(stage) <= limit || (is_later(stage) && !whole_run)) continue;
        const auto fewest = fewest_ranks<Real>(planned, !whole_run);
        throw Error(ExitStatus::study, ErrorKind::no_memory,
                    fmt::format("{} needs {}, {} allowed on each of {} rank{} (--memory-per-rank); {}; "
                                "`tangram plan` shows what takes how much",
                                stage.stage, memory_text(on, stage), bytes_text(limit), session.world.size(),
                                session.world.size() == 1 ? "" : "s",
                                fewest ? fmt::format("{} ranks with as much on each would do", *fewest)
                                       : "no number of ranks would do, use fewer samples"));
    }
    if (whole_run && !on.solver_refusal.empty())
        throw Error(ExitStatus::study, ErrorKind::out_of_range, on.solver_refusal);
    check_device_memory(planned, on);
    require_space(comm, output, false, bytes_to_write(on));
    return on;
}

double StudyRun::State::bytes_to_write(const Forecast& on) const {
    const double matrices = on.gram().written_bytes;
    if (!whole_run) return matrices;
    // What stands there now makes room when the kernel takes its place.
    std::error_code code;
    const auto there = std::filesystem::file_size(output, code);
    return std::max(matrices, on.disk_bytes() - (code ? 0.0 : static_cast<double>(there)));
}

bool StudyRun::State::device_failed() const {
    return (back_end != nullptr && back_end->failed()) ||
           (pass_back_end != nullptr && pass_back_end->failed());
}

template <class Real>
Network<Real> StudyRun::State::with_device(Network<Real> network, const Forecast& planned) const {
    if (pass_back_end == nullptr) return network;
    if (!planned.device_passes) {
        session.log.say(fmt::format(
            "gram: forward and backward passes run on the CPU: their weights find no room in the {} of {} "
            "that are theirs (a quarter of --device-memory)",
            bytes_text(pass_back_end->memory()), pass_back_end->name()));
        return network;
    }
    const Index tokens = planned.device_passes->tokens;
    session.log.say(fmt::format("gram: forward and backward passes run on {}, {} tokens at once",
                                pass_back_end->name(), tokens));
    return collectively(comm, [&] {
        return network.on([to = pass_back_end, tokens](std::shared_ptr<const NetworkWeights<Real>> weights) {
            return to->passes(std::move(weights), tokens);
        });
    });
}

KernelMatrices StudyRun::State::begin_matrices(const GramJob& job, const StageCheckpoint& checkpoint,
                                               const std::string& basis, Index slices) {
    KernelMatrices matrices = collectively(comm, [&] {
        return empty_matrices(grid, job.train_rows, job.test_rows, job.parameters.size(), job.formulas.size(),
                              job.groups.names.size());
    });
    const Log::Waiting waiting(session.log, "gram: reading what there is beside " + output.string());
    if (read_matrices(checkpoint, matrices, slices, session.log))
        session.log.say(
            fmt::format("gram: goes on from the checkpoint after {} slices", matrices.units_done));
    else if (const Index known = take_known_rows(output, basis, job, study, matrices); known > 0)
        session.log.say(
            fmt::format("gram: {} holds the kernel of the first {} examples; only the others' rows "
                        "are computed",
                        output.string(), known));
    else if (is_done("/kernel", kernel_inputs))
        session.log.say(
            fmt::format("gram: {} was made from the same inputs, without its Gram matrix "
                        "(output.save_gram = false), which is computed again",
                        output.string()));
    else if (holds("/kernel"))
        session.log.say(
            fmt::format("gram: {} holds a kernel of other inputs: when this one is done it replaces the "
                        "file, with all that "
                        "was made of it (output.path names another)",
                        output.string()));
    return matrices;
}

template <class Real>
AssemblyResult StudyRun::State::assemble_with_checkpoints(const KernelInputs<Real>& inputs,
                                                          KernelMatrices& matrices,
                                                          const StageCheckpoint& checkpoint,
                                                          const FilesRead& files) {
    CheckpointSchedule schedule(session, checkpoint_seconds(), files, checkpoint.name());
    Index units_written = matrices.units_done;  // those that begin are in a file
    const auto write_checkpoint = [&] {
        store_sums(matrices, back_end);  // where that fails nothing may go on
        schedule.write([&] {
            const Log::Waiting waiting(session.log, "gram: writing " + checkpoint.name());
            write_matrices(checkpoint, matrices);
            units_written = matrices.units_done;
        });
    };
    std::string part;
    const auto tell = [&](const char* now, const AssemblyProgress& at) {
        own_peak = std::max(own_peak, own_bytes());
        const Work work{at.flops, at.bytes_received};
        if (std::exchange(part, now) != now) session.log.start(now, at.of, at.done, work);
        session.log.progress(at.done, work);
    };
    const auto go_on = [&](const AssemblyProgress& at) {
        tell("gram", at);
        if (at.done == at.of) return true;
        if (schedule.is_due()) write_checkpoint();
        return !schedule.stopped();
    };
    const auto in_pass = [&](const AssemblyProgress& at) {
        tell("jacobian", at);
        if (session.stop.requested_here()) throw Error(ExitStatus::stopped, ErrorKind::stopped, "in a pass");
    };
    AssemblyResult assembled;
    try {
        assembled = assemble<Real>(inputs, matrices, go_on, in_pass);
    } catch (const Error& e) {
        if (any_rank(comm, device_failed())) keep_what_was_stored(e, matrices, checkpoint, units_written);
        if (e.kind() != ErrorKind::stopped) throw;
        schedule.stop();
        // Of the first pass too: status 75 says that there is a checkpoint.
        if (units_written == 0 || matrices.units_done > units_written) write_checkpoint();
    }
    session.log.finish();
    if (schedule.stopped()) schedule.leave();
    return assembled;
}

void StudyRun::State::keep_what_was_stored(const Error& failure, const KernelMatrices& matrices,
                                           const StageCheckpoint& checkpoint, Index units_written) {
    std::string where;
    const bool torn = any_rank(comm, matrices.units_done < 0);
    if (!torn && matrices.units_done > units_written) {
        try {
            write_matrices(checkpoint, matrices);
            units_written = matrices.units_done;
        } catch (const Error& e) {
            where = fmt::format("; no checkpoint: {}", e.what());
        }
    }
    if (units_written > 0)
        where +=
            fmt::format("; {} holds {} slices, the same command goes on", checkpoint.name(), units_written);
    throw Error(failure.status(), failure.kind(), failure.what() + where);
}

void StudyRun::State::write_or_keep(const std::function<void()>& write, const KernelMatrices& matrices,
                                    const StageCheckpoint& checkpoint) {
    try {
        // Disks then hold two copies and not three.
        checkpoint.remove_previous(comm);
        write();
    } catch (const Error& e) {
        if (e.status() != ExitStatus::output && e.kind() != ErrorKind::no_memory) throw;
        try {
            write_matrices(checkpoint, matrices, true);
        } catch (const Error& no_checkpoint) {
            throw Error(e.status(), e.kind(),
                        fmt::format("{}; no checkpoint either: {}", e.what(), no_checkpoint.what()));
        }
        throw Error(e.status(), e.kind(),
                    fmt::format("{}; what was computed is in {}, the same command goes on", e.what(),
                                checkpoint.name()));
    }
}

bool StudyRun::State::has_kernel() {
    // Without save_gram the file lacks the matrix that the spectrum is made from: done only if the spectrum
    // is there too.
    return is_done("/kernel", kernel_inputs) &&
           (holds("/kernel/gram") ||
            (!study.output.save_gram && is_done("/spectrum", spectrum_inputs(study, kernel_inputs).hash())));
}

void StudyRun::State::say_plan(const GramJob& job, const Forecast& planned) const {
    session.log.say(fmt::format(
        "gram: {} examples ({} tokens), {} rows, {} parameters in {} tensors, {} rank{} as {} x {}, "
        "{} precision; planned: {}{}",
        job.data.train.examples(), job.data.train.passed().tokens, job.train_rows, job.parameter_count,
        job.parameters.size(), session.world.size(), session.world.size() == 1 ? "" : "s", grid.rows(),
        grid.columns(), study.kernel.precision, memory_text(planned, planned.largest_until_written()),
        planned.assembly.passes > 1
            ? fmt::format(", {} passes per example to save memory", planned.assembly.passes)
            : ""));
    if (const std::string unused = unused_sketch(job.formulas, study.kernel.sketch); !unused.empty())
        session.log.say("gram: " + unused);
}

void StudyRun::State::keep_or_remove_checkpoint(const KernelMatrices& matrices,
                                                const StageCheckpoint& checkpoint) {
    // Without the matrix in the output, the spectrum would have nothing to begin again from.
    if (study.output.save_gram || !(checkpoint_seconds() > 0)) {
        if (!study.output.save_gram && !whole_run)
            session.log.warn(
                "the Gram matrix is not kept: output.save_gram = false, and without "
                "output.checkpoint_minutes no checkpoint holds it either; use `tangram run`");
        checkpoint.remove(comm);
        return;
    }
    try {
        write_matrices(checkpoint, matrices, true);
        kept_checkpoint = checkpoint;
        if (!whole_run)
            session.log.say(
                fmt::format("gram: the Gram matrix is in {} alone (output.save_gram = false), where "
                            "`tangram run` goes on",
                            checkpoint.name()));
    } catch (const Error& e) {
        session.log.warn(
            fmt::format("no checkpoint: {}; a run that is stopped in the spectrum begins again", e.what()));
    }
}

void StudyRun::State::take_gram_matrix(DistributedMatrix& matrix) {
    gram_matrix.emplace(matrix.block() == arithmetic::tile_rows
                            ? std::move(matrix)
                            : redistribute(matrix, grid, arithmetic::tile_rows));
}

template Forecast StudyRun::State::forecast_that_fits<float>(const LoadedModel&, const GramJob&);
template Forecast StudyRun::State::forecast_that_fits<double>(const LoadedModel&, const GramJob&);

template <class Real>
void StudyRun::State::gram(const LoadedModel& model, const GramJob& job) {
    if (study.tasks.empty()) study.kernel.output = job.output_names.front();
    const KernelFingerprint fingerprint = fingerprint_of(study, model, job);
    kernel_inputs = fingerprint.made_of.hash();
    const StageCheckpoint checkpoint(output, fingerprint.made_of);
    if (has_kernel()) {
        session.log.say(
            fmt::format("gram: {} holds it already, made from the same inputs; skipped", output.string()));
        checkpoint.remove_own(comm);  // of a run that ended between the two
        return;
    }

    const Forecast planned = forecast_that_fits<Real>(model, job);
    forecast_of_run = planned;
    Network<Real> network = with_device(initial_network<Real>(model, study, job, comm), planned);

    const auto start = Clock::now();
    say_plan(job, planned);
    KernelMatrices matrices = begin_matrices(job, checkpoint, fingerprint.basis, planned.assembly.slices);
    const auto sketch_seed = static_cast<std::uint64_t>(study.data.seed);
    const KernelInputs<Real> inputs{
        {job.data.train, job.data.test ? &*job.data.test : nullptr, job.outputs, job.parameters, job.formulas,
         planned.factor_limit, study.kernel.sketch, sketch_seed, job.groups.group_of, back_end},
        network};
    const AssemblyResult assembled = assemble_with_checkpoints(inputs, matrices, checkpoint, model.files);
    if (back_end != nullptr) back_end->give_back_memory();  // no later stage's plan counts it
    const GramReport report = GramReport::gather(inputs, job, assembled, seconds_since(start),
                                                 planned.assembly.product_flops, comm);
    const SketchReport sketch =
        report_sketch(inputs, matrices.formulas.front().gram, sketch_seed, session.log);
    refuse_changed_files(model.files, comm);
    const Provenance provenance = Provenance::gather(grid);
    const std::vector<Index> own_peaks = gather_to_all(comm, own_peak);
    warn_beyond_plan("gram", planned, provenance);

    double writing = 0;
    const auto write_output = [&] {
        const Log::Waiting waiting(session.log, "gram: writing " + output.string());
        const auto write_start = Clock::now();
        StagedFile file(comm, output, false, planned.gram().written_bytes);
        file.write_small([&](Hdf5File& h5) {
            write_kernel(h5, study, job, network, matrices, assembled);
            h5.set_attribute("/kernel", "inputs", kernel_inputs);
            h5.set_attribute("/kernel", "basis", fingerprint.basis);
            sketch.write(h5);
            provenance.write(h5, to_toml(study), model.sha256, arithmetic::tile_rows, session);
            report.write(h5);
            h5.set_attribute("/provenance", "peak_own_bytes_per_rank", own_peaks);
            h5.set_attribute("/provenance", "planned_bytes_per_rank",
                             planned.largest_until_written().resident());
            h5.set_attribute("/provenance", "planned_own_bytes_per_rank",
                             planned.largest_until_written().own_bytes);
            complete_file(h5, session.log, "gram");
        });
        for (const auto& [path, matrix, orientation] : kernel_matrices(study, job, matrices))
            write_matrix(file.partial(), path, *matrix, orientation);
        writing = max_over_ranks(comm, seconds_since(write_start));
        file.write_small([&](Hdf5File& h5) { h5.set_attribute("/provenance", "seconds_output", writing); });
        file.commit();
    };
    write_or_keep(write_output, matrices, checkpoint);
    keep_or_remove_checkpoint(matrices, checkpoint);
    take_gram_matrix(matrices.formulas.front().gram);
    session.log.say(
        fmt::format("gram: {}, {} resident on the largest rank, {} its own; written in {}", report.text(),
                    bytes_text(static_cast<double>(std::ranges::max(provenance.peaks))),
                    bytes_text(static_cast<double>(std::ranges::max(own_peaks))), duration_text(writing)));
}

void StudyRun::gram(bool whole_run, ProductBackEnd* back_end, PassBackEnd* pass_back_end) {
    State& s = *state_;
    s.whole_run = whole_run;
    s.back_end = back_end;
    s.pass_back_end = pass_back_end;
    s.session.log.enter("gram");
    if (whole_run && s.study.finetune.asked && !s.holds("/finetune") && !s.holds(trained_tasks_group))
        collectively(s.comm, [&] {  // hours before the training
            if (!s.first_rank) return;
            if (s.study.tasks.empty()) check_trained_folder(trained_folder(s.output));
            for (const Study::Task& task : s.study.tasks)
                check_trained_folder(trained_folder(s.output, task.name));
        });
    check_blas(s.session.log);  // what it costs is lost once the work is done
    std::optional<Log::Waiting> waiting(std::in_place, s.session.log, "gram: reading model and data");
    auto [model, job] = open_study(s.study, s.session);
    hash_weights(model, s.comm);
    waiting.reset();
    if (s.study.spectrum.free())
        s.free_gram({std::move(model), std::move(job)});
    else if (s.study.kernel.precision == "double")
        s.gram<double>(model, job);
    else
        s.gram<float>(model, job);
    if (s.study.finetune.asked && whole_run) s.opened.emplace(OpenedStudy{std::move(model), std::move(job)});
}

}  // namespace tangram
