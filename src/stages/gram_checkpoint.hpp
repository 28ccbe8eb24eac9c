#pragma once
#include "stage_checkpoint.hpp"
#include "tangram/gram/assembly.hpp"

namespace tangram {

/// The matrices of an unfinished assembly, in their global layout, with the units that were added.
/// Collective over the matrices' grid; `finished`: the assembly has returned, sums stand on every rank.
/// @throws Error(output) on every rank
void write_matrices(const StageCheckpoint& checkpoint, const KernelMatrices& matrices, bool finished = false);
/// Fills the matrices, where there is a checkpoint. Collective.
/// @param slices  of the whole assembly: no checkpoint holds more
/// @return whether it did. @throws as StageCheckpoint::read
bool read_matrices(const StageCheckpoint& checkpoint, KernelMatrices& matrices, Index slices, Log& log);

}  // namespace tangram
