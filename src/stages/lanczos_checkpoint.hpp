#pragma once
#include <filesystem>

#include "tangram/session/log.hpp"
#include "tangram/spectrum/leading_pairs.hpp"
#include "tangram/study/inputs.hpp"

namespace tangram {

/// A state of block Lanczos that was read, with the basis that it refers to.
struct StoredLanczos {
    std::vector<double> basis;
    LanczosState state;
};

/// `<output>.spectrum.checkpoint`: where block Lanczos stands, written aside and renamed; the one before
/// stays beside it. Any number of ranks can go on from it.
class LanczosCheckpoint {
  public:
    /// @param inputs  what the spectrum is made from, line by line
    /// @param basis   most vectors of the basis (lanczos_basis())
    LanczosCheckpoint(const std::filesystem::path& output, const Inputs& inputs, Index rows, Index basis);

    /// Collective over the grid; memory: the rank's share of the basis. @throws Error(output) on every rank
    void write(const LanczosState& state, const ProcessGrid& grid) const;
    /// What there is. Collective. @throws Error(output) on every rank: torn, or of other inputs, with the
    /// first difference
    std::optional<StoredLanczos> read(const ProcessGrid& grid, Log& log) const;
    /// Collective. @throws Error(output) on every rank
    void remove(MPI_Comm comm) const;

  private:
    std::filesystem::path base_;
    std::string inputs_;
    Index rows_, basis_;
};

}  // namespace tangram
