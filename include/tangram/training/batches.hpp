#pragma once
#include <cstdint>
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// Which examples each step takes: all of them, in order, or in every pass over the data ("epoch") another
/// random permutation, cut into batches of equal size; what is left of it is left out of that pass. Follows
/// from seed and step alone. Local.
class Batches {
  public:
    /// @param batch  0: all examples. @throws Error(study) naming finetune.batch where batch > examples
    Batches(Index examples, Index batch, std::uint64_t seed);

    Index size() const { return size_; }
    /// Of the step with this number, counted from 0; holds until the next call.
    const std::vector<Index>& of_step(Index step);

  private:
    Index examples_, size_;
    std::uint64_t seed_;
    Index epoch_ = -1;
    std::vector<Index> order_, batch_;
};

}  // namespace tangram
