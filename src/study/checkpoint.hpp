#pragma once
#include <filesystem>
#include <string>

#include "tangram/gram/assembly.hpp"

namespace tangram {

/// `<output>.checkpoint`: the matrices of an unfinished assembly with the units that were added, written
/// aside and renamed. It holds the matrices in their global layout, so any number of ranks can go on from it.
class GramCheckpoint {
  public:
    /// @param inputs  what the assembly is made from (a hash); a checkpoint of other inputs is not used
    GramCheckpoint(const std::filesystem::path& output, std::string inputs);

    /// Collective over the matrices' grid. @throws Error(output) on every rank
    void write(const KernelMatrices& matrices) const;
    /// Fills the matrices from the checkpoint, if there is one of these inputs. Collective.
    /// @return whether it did. @throws Error(output) on every rank where it is torn
    bool read(KernelMatrices& matrices) const;

  private:
    std::filesystem::path output_;
    std::string inputs_;
};

}  // namespace tangram
