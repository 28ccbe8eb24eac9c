#include "stage_checkpoint.hpp"

#include <fmt/core.h>

#include "tangram/parallel/collective_error.hpp"
#include "tangram/study/files_of_ranks.hpp"

namespace tangram {

StageCheckpoint::StageCheckpoint(const std::filesystem::path& base, const Inputs& inputs)
    : base_(base), inputs_("program = " + library_versions().front() + "\n" + inputs.text()) {}

void StageCheckpoint::write(Index units_done, std::map<std::string, std::vector<double>> vectors,
                            const std::map<std::string, const DistributedMatrix*>& matrices) const {
    const MPI_Comm comm = matrices.begin()->second->grid().comm().get();
    const CheckpointState state = collectively(comm, [&] {
        return CheckpointState{inputs_, units_done, std::move(vectors)};
    });
    write_checkpoint(base_, state, matrices);
}

std::optional<CheckpointState> StageCheckpoint::read(
    const std::map<std::string, DistributedMatrix*>& matrices,
    const std::function<void(const CheckpointState&)>& accept, Log& log) const {
    auto found = read_checkpoint(base_, matrices, [&](const CheckpointState& state) {
        if (const auto other = difference(state.inputs, inputs_))
            throw Error(
                ExitStatus::output, ErrorKind::changed,
                fmt::format("{0}: was written by another study: {1}; run that one to its end, or delete {0}* "
                            "to start this one",
                            name(), *other));
        accept(state);
    });
    if (!found) return std::nullopt;
    if (!found->torn.empty()) log.warn(found->torn + "; the checkpoint before it is used");
    return std::move(found->state);
}

void StageCheckpoint::refuse(const std::string& what) const {
    throw Error(
        ExitStatus::output, ErrorKind::contradiction,
        fmt::format("{0}: {1} is not what this study needs; delete {0}* to start again", name(), what));
}

void StageCheckpoint::remove(MPI_Comm comm) const { remove_checkpoint(base_, comm); }

void StageCheckpoint::remove_own(MPI_Comm comm) const {
    const auto inputs = checkpoint_inputs(base_, comm);
    if (inputs && !difference(*inputs, inputs_)) remove(comm);
}

void StageCheckpoint::remove_previous(MPI_Comm comm) const { remove_previous_checkpoint(base_, comm); }

bool CheckpointSchedule::is_due() {
    const MPI_Comm comm = session_->world.get();
    stopped_ = stopped_ || session_->stop.requested(comm);
    return stopped_ || any_rank(comm, seconds_ > 0 && seconds_since(last_) > seconds_);
}

bool CheckpointSchedule::write(const std::function<void()>& write) {
    refuse_changed_files(*files_, session_->world.get());
    bool written = false;
    try {
        write();
        written = true;
    } catch (const Error& e) {
        if (e.status() != ExitStatus::output && e.kind() != ErrorKind::no_memory) throw;
        if (stopped_)
            throw Error(e.status(), e.kind(),
                        fmt::format("stopped on request, but {}; what was computed since the checkpoint "
                                    "before is lost",
                                    e.what()));
        session_->log.warn(fmt::format("no checkpoint: {}; the run goes on", e.what()));
    }
    last_ = Clock::now();
    return written;
}

void CheckpointSchedule::leave() const {
    throw Error(ExitStatus::stopped, ErrorKind::stopped,
                fmt::format("stopped on request after writing {}; the same command goes on", name_));
}

}  // namespace tangram
