#pragma once
#include "stage_checkpoint.hpp"
#include "tangram/spectrum/leading_pairs.hpp"

namespace tangram {

/// A state of block Lanczos that was read, with the basis that it refers to.
struct StoredLanczos {
    std::vector<double> basis;
    LanczosState state;
};

/// Where block Lanczos stands. Collective over the grid; memory: the rank's share of the basis.
/// @param basis  most vectors of the basis (lanczos_basis())
/// @throws Error(output) on every rank
void write_lanczos(const StageCheckpoint& checkpoint, const LanczosState& state, Index rows, Index basis,
                   const ProcessGrid& grid);
/// What there is. Collective over the grid. @throws as StageCheckpoint::read
std::optional<StoredLanczos> read_lanczos(const StageCheckpoint& checkpoint, Index rows, Index basis,
                                          const ProcessGrid& grid, Log& log);

}  // namespace tangram
