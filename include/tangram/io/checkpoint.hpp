#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tangram/parallel/distributed_matrix.hpp"

namespace tangram {

/// The small part of a checkpoint; equal on every rank.
struct CheckpointState {
    std::string fingerprint;  ///< of what the matrices are made from; the caller compares it
    Index units_done = 0;
    std::map<std::string, std::vector<double>> vectors;  ///< by name; not distributed
};

/// Writes `<output>.checkpoint` with the matrices in their global layout, whatever they hold (an unfinished Gram matrix
/// is not symmetric), so that any grid can go on from it. It replaces an older one only when it is whole on disk.
/// Collective over the grid of the matrices, of which there is at least one; names are plain words.
/// @throws Error(output) on every rank; an older checkpoint then still stands
void write_checkpoint(const std::filesystem::path& output, const CheckpointState& state,
                      const std::map<std::string, const DistributedMatrix*>& matrices);

/// The small part of `<output>.checkpoint`, or nothing where there is none. Collective over comm.
/// @throws Error(output) on every rank where it is torn, or no checkpoint of tangram's
std::optional<CheckpointState> read_checkpoint(const std::filesystem::path& output, MPI_Comm comm);

/// A matrix of `<output>.checkpoint`, on any grid and in any block. Collective over grid.
/// @throws Error(output) on every rank: no matrix of that name, not rows x columns, torn
DistributedMatrix read_checkpoint_matrix(const std::filesystem::path& output, const std::string& name,
                                         const ProcessGrid& grid, Index rows, Index columns, Index block);

/// Removes `<output>.checkpoint`, if any. Collective over comm. @throws Error(output) where it cannot be removed
void remove_checkpoint(const std::filesystem::path& output, MPI_Comm comm);

}  // namespace tangram
