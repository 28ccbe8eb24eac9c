#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tangram/files/files_read.hpp"
#include "tangram/io/checkpoint.hpp"
#include "tangram/session/clock.hpp"
#include "tangram/session/session.hpp"
#include "tangram/study/inputs.hpp"

namespace tangram {

/// `<base>.checkpoint` of a stage, by the means of io/checkpoint.hpp: written aside and renamed, the one
/// before stays beside it; any number of ranks can go on from it. It is of this version of tangram and of one
/// study.
class StageCheckpoint {
  public:
    /// @param inputs  what the stage is made from, line by line
    StageCheckpoint(const std::filesystem::path& base, const Inputs& inputs);
    std::string name() const { return base_.string() + ".checkpoint"; }

    /// Collective over the grid of the matrices. @throws Error(output) on every rank
    void write(Index units_done, std::map<std::string, std::vector<double>> vectors,
               const std::map<std::string, const DistributedMatrix*>& matrices) const;
    /// Fills the matrices from the checkpoint, if there is one, or from the one before where that is torn,
    /// which is said. Collective.
    /// @param accept  sees the small part first; calls refuse() where it is not of the study's shapes
    /// @throws Error(output) on every rank: torn, or of other inputs, with the first difference
    std::optional<CheckpointState> read(const std::map<std::string, DistributedMatrix*>& matrices,
                                        const std::function<void(const CheckpointState&)>& accept,
                                        Log& log) const;
    /// @param what  of its contents is not what the study needs. Local. @throws Error(output)
    [[noreturn]] void refuse(const std::string& what) const;
    /// Collective over comm. @throws Error(output) on every rank
    void remove(MPI_Comm comm) const;
    /// Only one of these inputs.
    void remove_own(MPI_Comm comm) const;
    /// The one before the newest.
    void remove_previous(MPI_Comm comm) const;

  private:
    std::filesystem::path base_;
    std::string inputs_;
};

/// When a stage writes its checkpoint, and what becomes of the run then. Members are collective.
class CheckpointSchedule {
  public:
    /// @param seconds  from one to the next; 0: only where the run is asked to stop
    /// @param files    a checkpoint of what they are no longer would be found in order later
    CheckpointSchedule(const Session& session, double seconds, const FilesRead& files, std::string name)
        : session_(&session), seconds_(seconds), files_(&files), name_(std::move(name)) {}

    /// Whether one is to be written now: after so many seconds, or as the run is asked to stop.
    bool is_due();
    /// Whether the run is asked to stop, as is_due() found it or stop() said.
    bool stopped() const { return stopped_; }
    void stop() { stopped_ = true; }
    /// Runs `write`, which writes one. Where the output does not take it, or memory is short, a run that is
    /// not to stop goes on, with a warning. @throws Error(input, changed) where one of the files is not what
    /// it was when it was read; what `write` throws otherwise. @return whether it was written
    bool write(const std::function<void()>& write);
    /// Behind the last one. @throws Error(stopped) on every rank
    [[noreturn]] void leave() const;

  private:
    const Session* session_;
    double seconds_;
    const FilesRead* files_;
    std::string name_;
    Clock::time_point last_ = Clock::now();
    bool stopped_ = false;
};

}  // namespace tangram
