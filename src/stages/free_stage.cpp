#include <fmt/core.h>

#include "free_kernel.hpp"
#include "lanczos_checkpoint.hpp"
#include "study_state.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/session/clock.hpp"
#include "tangram/spectrum/spectral_density.hpp"
#include "tangram/stages/spectrum_request.hpp"
#include "tangram/study/file_contents.hpp"
#include "tangram/study/files_of_ranks.hpp"
#include "tangram/study/fingerprints.hpp"
#include "tangram/study/open_study.hpp"

namespace tangram {

void StudyRun::State::open_free(OpenedStudy with) {
    const Forecast planned = study.kernel.precision == "double"
                                 ? forecast_that_fits<double>(with.model, with.job)
                                 : forecast_that_fits<float>(with.model, with.job);
    forecast_of_run = planned;
    session.log.say(fmt::format(
        "gram: {} examples, {} rows, {} parameters in {} tensors, {} ranks, {} precision; no matrix is "
        "formed; planned: {}{}",
        with.job.data.train.examples(), with.job.train_rows, with.job.parameter_count,
        with.job.parameters.size(), session.world.size(), study.kernel.precision,
        memory_text(planned, planned.largest()),
        planned.assembly.passes > 1
            ? fmt::format(", {} passes per example and product to save memory", planned.assembly.passes)
            : ""));
    free = free_kernel(std::move(with), study, planned.factor_limit, comm);
}

void StudyRun::State::free_gram(OpenedStudy with) {
    if (study.tasks.empty()) study.kernel.output = with.job.output_names.front();
    const KernelFingerprint fingerprint = fingerprint_of(study, with.model, with.job);
    kernel_inputs = fingerprint.made_of.hash();
    if (is_done("/kernel", kernel_inputs)) {
        session.log.say(
            fmt::format("gram: {} holds it already, made from the same inputs; skipped", output.string()));
        return;
    }
    open_free(std::move(with));
    const auto start = Clock::now();
    {
        const LeaveOnStop leaving = leave_during(session, *lock, "gram stage");
        const Log::Waiting waiting(session.log, "gram: forward and backward passes");
        free->squares();
    }
    const LoadedModel& model = free->opened().model;
    refuse_changed_files(model.files, comm);
    const double seconds = max_over_ranks(comm, seconds_since(start));
    const Provenance provenance = Provenance::gather(grid);
    warn_beyond_plan("gram", *forecast_of_run, provenance);
    StagedFile file(comm, output, false, forecast_of_run->gram().written_bytes);
    file.write_small([&](Hdf5File& h5) {
        free->write(h5);
        h5.set_attribute("/kernel", "inputs", kernel_inputs);
        h5.set_attribute("/kernel", "basis", fingerprint.basis);
        provenance.write(h5, to_toml(study), model.sha256, arithmetic::tile_rows, session);
        h5.set_attribute("/provenance", "seconds_gram", seconds);
        h5.set_attribute("/provenance", "planned_bytes_per_rank", forecast_of_run->largest().resident());
        complete_file(h5, session.log, "gram");
    });
    file.commit();
    session.log.say(fmt::format("gram: passes and diagonal done in {}", duration_text(seconds)));
}

LeadingPairs StudyRun::State::free_leading_pairs(const SymmetricOperator& G,
                                                 const StageCheckpoint& checkpoint) {
    const Log::Waiting waiting(session.log, "spectrum: block Lanczos");
    const Index rows = free->opened().job.train_rows, count = std::max<Index>(1, study.spectrum.count),
                basis = lanczos_basis(rows, count);
    std::optional<StoredLanczos> stored = read_lanczos(checkpoint, rows, basis, grid, session.log);
    LanczosCourse course;
    if (stored) {
        course.from = stored->state;
        session.log.say(
            fmt::format("spectrum: goes on from the checkpoint after {} products", stored->state.products));
    }
    CheckpointSchedule schedule(session, checkpoint_seconds(), free->opened().model.files, checkpoint.name());
    course.between = [&](const LanczosState& state) {
        stored.reset();  // the course has begun
        if (!schedule.is_due()) return;
        schedule.write([&] { write_lanczos(checkpoint, state, rows, basis, grid); });
        if (schedule.stopped()) schedule.leave();
    };
    return leading_pairs(G, count, {.seed = static_cast<std::uint64_t>(study.data.seed)}, course);
}

SpectrumResult StudyRun::State::free_pairs(const StageCheckpoint& checkpoint) {
    const SymmetricOperator G = free->gram();
    {
        const LeaveOnStop leaving = leave_during(session, *lock, "spectrum");
        free->squares();
    }
    const LeadingPairs leading = free_leading_pairs(G, checkpoint);
    SpectrumResult result = collectively(comm, [&] {
        return SpectrumResult{eigenpairs(leading, grid, arithmetic::tile_rows, study.spectrum.vectors),
                              quality(leading, free->squares().diagonal, study.kernel.precision == "mixed"),
                              std::nullopt};
    });
    if (study.spectrum.density) {
        const LeaveOnStop leaving = leave_during(session, *lock, "density");
        const Log::Waiting waiting(session.log, "spectrum: density");
        result.density = spectral_density(G, leading, result.checks.noise_floor,
                                          static_cast<std::uint64_t>(study.data.seed));
    }
    return result;
}

void StudyRun::State::free_spectrum(const std::string& inputs) {
    if (is_done("/spectrum", inputs)) {
        session.log.say("spectrum: made from the same inputs already; skipped");
        return;
    }
    if (!free) {
        OpenedStudy with = open_study(study, session);
        hash_weights(with.model, comm);
        if (study.tasks.empty()) study.kernel.output = with.job.output_names.front();
        if (fingerprint_of(study, with.model, with.job).made_of.hash() != kernel_inputs)
            throw Error(ExitStatus::study, ErrorKind::changed,
                        fmt::format("{}: its kernel was made from other inputs; `tangram run` makes it again",
                                    output.string()));
        open_free(std::move(with));
    }
    const auto start = Clock::now();
    const StageCheckpoint checkpoint(output.string() + ".spectrum", spectrum_inputs(study, kernel_inputs));
    SpectrumResult result = free_pairs(checkpoint);
    refuse_changed_files(free->opened().model.files, comm);
    write_spectrum_stage(result, "/spectrum", inputs, max_over_ranks(comm, seconds_since(start)));
    checkpoint.remove(comm);
    eigen.emplace(std::move(result.pairs));
}

}  // namespace tangram
