#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram {

/// The small part of a checkpoint; equal on every rank.
struct CheckpointState {
    std::string inputs;  ///< what the matrices are made from; the caller compares it
    Index units_done = 0;
    std::map<std::string, std::vector<double>> vectors;  ///< by name; not distributed
};

/// Writes `<output>.checkpoint` with the matrices in their global layout, whatever they hold (an unfinished
/// Gram matrix is not symmetric), so that any grid can go on from it, and with checksums. It takes its name
/// only when it is whole on disk; the one before becomes `<output>.checkpoint.previous`. Collective over the
/// grid of the matrices, of which there is at least one; names are plain words.
/// @throws Error(output) on every rank; an older checkpoint then still stands
void write_checkpoint(const std::filesystem::path& output, const CheckpointState& state,
                      const std::map<std::string, const DistributedMatrix*>& matrices);

/// A checkpoint that was read.
struct ReadCheckpoint {
    CheckpointState state;
    std::string torn;  ///< why a newer one was not used; empty where there was none
};

/// Fills the matrices, on any grid and in any block, from `<output>.checkpoint`, or from the one before where
/// that is torn (not what was written: truncated, or a checksum that differs), which is then removed. No
/// second matrix is held. Collective over the matrices' grid.
/// @param accept  sees the small part before the matrices are read; throws where they are not to be used
/// @return nothing where there is no checkpoint
/// @throws Error(output) on every rank where each one there is torn, or is not of these shapes
std::optional<ReadCheckpoint> read_checkpoint(const std::filesystem::path& output,
                                              const std::map<std::string, DistributedMatrix*>& matrices,
                                              const std::function<void(const CheckpointState&)>& accept);

/// What the newest readable checkpoint is made from (its matrices are not looked at); nothing where there is
/// none. Collective over comm.
std::optional<std::string> checkpoint_inputs(const std::filesystem::path& output, MPI_Comm comm);

/// Removes the checkpoint before the newest, if any. Collective over comm.
/// @throws Error(output) where it cannot be removed
void remove_previous_checkpoint(const std::filesystem::path& output, MPI_Comm comm);

/// Removes `<output>.checkpoint`, the one before and one that was never finished, if any. Collective over
/// comm.
/// @throws Error(output) where one cannot be removed
void remove_checkpoint(const std::filesystem::path& output, MPI_Comm comm);

}  // namespace tangram
