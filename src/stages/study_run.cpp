#include "tangram/stages/study_run.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "study_state.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/study/stored_study.hpp"

namespace tangram {

StudyRun::State::State(Study s, const Session& in, bool writes)
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

bool StudyRun::State::exists() {
    std::error_code code;
    return any_rank(comm, first_rank && std::filesystem::exists(output, code));
}

bool StudyRun::State::holds(const std::string& path) {
    return exists() && InputFile(comm, output, ExitStatus::output).read([&](const Hdf5File& file) {
        return file.exists(path);
    });
}

bool StudyRun::State::is_done(const std::string& group, const std::string& inputs) {
    if (!exists()) return false;
    return InputFile(comm, output, ExitStatus::output).read([&](const Hdf5File& file) {
        return file.has_attribute(group, "inputs") && file.text_attribute(group, "inputs") == inputs;
    });
}

std::string StudyRun::State::attribute(const std::string& group, const std::string& key, const char* stage) {
    if (!exists())
        throw Error(ExitStatus::output, ErrorKind::missing,
                    fmt::format("{}: no such file; `tangram run` makes it", output.string()));
    return InputFile(comm, output, ExitStatus::output).read([&](const Hdf5File& file) {
        if (!file.has_attribute(group, key))
            throw Error(
                ExitStatus::output, ErrorKind::missing,
                fmt::format("{}: {} is missing; run `tangram {}` first", output.string(), group, stage));
        return file.text_attribute(group, key);
    });
}

void StudyRun::State::check_unchanged(const Hdf5File& file, const std::string& group,
                                      const std::string& inputs) const {
    if (file.has_attribute(group, "inputs") && file.text_attribute(group, "inputs") == inputs) return;
    throw Error(ExitStatus::output, ErrorKind::changed,
                fmt::format("{}: is not the file that this stage began with: {} is another; the same command "
                            "begins again with what is there",
                            output.string(), group));
}

void StudyRun::State::keep_study(Hdf5File& file, const std::string& stage) const {
    file.set_attribute("/provenance", "study",
                       with_sections(stored_study(file, output), study, {stage, "output"}));
}

void StudyRun::State::check_output() {
    if (!exists()) return;
    const InputFile file(comm, output, ExitStatus::output);
    if (!file.read([](const Hdf5File& h5) { return h5.has_attribute("/", "schema_version"); }))
        throw Error(ExitStatus::output, ErrorKind::malformed,
                    fmt::format("{}: is an HDF5 file that tangram did not write; change output.path",
                                output.string()));
    const std::string stored = file.read([&](const Hdf5File& h5) {
        refuse_newer(h5, output);
        return study_or_remark(h5);
    });
    if (is_remark(stored))
        throw Error(ExitStatus::output, ErrorKind::contradiction,
                    fmt::format("{}: was written by another command ({}) and is not replaced; change "
                                "output.path, or remove it",
                                output.string(), stored.substr(2, stored.find('\n') - 2)));
}

void StudyRun::State::check_study(const char* stage) {
    if (!kernel_inputs.empty() || !exists()) return;
    attribute("/kernel", "inputs", "gram");
    const std::string stored = InputFile(comm, output, ExitStatus::output).read([&](const Hdf5File& file) {
        return stored_study(file, output);
    });
    if (study.tasks.empty() && study.kernel.output.empty())
        study.kernel.output = attribute("/kernel", "output", "gram");
    if (const auto difference = kernel_difference(study, stored))
        throw Error(
            ExitStatus::study, ErrorKind::changed,
            fmt::format(
                "{}: its kernel was made by another study: {}; `tangram run` makes it again, or change "
                "output.path ({} reads the file)",
                output.string(), *difference, stage));
}

void StudyRun::State::warn_beyond_plan(const std::string& stage, const Forecast& planned,
                                       const Provenance& taken) {
    // What a process keeps whatever the study: glibc returns freed blocks below 32 MiB only where nothing
    // stands above them (mallopt(3), M_MMAP_THRESHOLD). Seen: 1 to 29 MiB on 1 to 4 ranks.
    constexpr double kept_by_allocator = 32 * 1024.0 * 1024.0;
    double most = 0;
    for (const StageForecast& of : planned.stages) {
        most = std::max(most, of.resident());
        if (of.stage == stage) break;
    }
    const auto peak = std::ranges::max_element(taken.peaks);
    if (!(static_cast<double>(*peak) > 1.1 * most + kept_by_allocator) || *peak <= peak_warned_of) return;
    peak_warned_of = *peak;
    session.log.warn(fmt::format("{}: rank {} took {}, {} were planned", stage, peak - taken.peaks.begin(),
                                 bytes_text(static_cast<double>(*peak)), bytes_text(most)));
}

StudyRun::StudyRun(Study study, const Session& session, bool writes)
    : state_(std::make_unique<State>(std::move(study), session, writes)) {}
StudyRun::~StudyRun() = default;

}  // namespace tangram
