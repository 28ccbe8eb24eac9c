#pragma once
#include <filesystem>
#include <string>

#include "tangram/gram/assembly.hpp"
#include "tangram/session/log.hpp"
#include "tangram/study/inputs.hpp"

namespace tangram {

/// `<output>.checkpoint`: the matrices of an unfinished assembly with the units that were added, written
/// aside and renamed; the one before stays beside it. It holds the matrices in their global layout, so any
/// number of ranks can go on from it.
class GramCheckpoint {
  public:
    /// @param inputs  what the assembly is made from, line by line
    GramCheckpoint(const std::filesystem::path& output, const Inputs& inputs);

    /// Collective over the matrices' grid. @throws Error(output) on every rank
    /// @param finished  the assembly has returned: sums stand on every rank
    void write(const KernelMatrices& matrices, bool finished = false) const;
    /// Removes a checkpoint of these inputs, if there is one: their matrices stand in the output. Collective
    /// over comm.
    /// @throws Error(output) on every rank
    void remove_own(MPI_Comm comm) const;
    /// Fills the matrices from the checkpoint, if there is one, or from the one before where that is torn.
    /// Collective.
    /// @param slices  of the whole assembly: no checkpoint holds more
    /// @return whether it did. @throws Error(output) on every rank: torn, or of other inputs or another
    ///         version of tangram, with the first difference
    bool read(KernelMatrices& matrices, Index slices, Log& log) const;

  private:
    std::filesystem::path output_;
    std::string inputs_;
};

}  // namespace tangram
