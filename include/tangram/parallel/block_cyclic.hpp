#pragma once
#include <vector>

#include "tangram/index.hpp"

namespace tangram {

/// One dimension of ScaLAPACK's block-cyclic layout: `size` indices in blocks of `block`, block k on process
/// k mod `processes` (source process 0). Pure arithmetic, 0-based, local.
struct BlockCyclic {
    Index size = 0;
    Index block = 1;
    int processes = 1;

    Index blocks() const { return (size + block - 1) / block; }
    int owner(Index global) const { return static_cast<int>((global / block) % processes); }
    Index to_local(Index global) const { return global / block / processes * block + global % block; }
    Index to_global(Index local, int process) const {
        return (local / block * processes + process) * block + local % block;
    }
    /// Number of indices on `process` (ScaLAPACK's numroc).
    Index local_size(int process) const;
    bool operator==(const BlockCyclic&) const = default;
};

}  // namespace tangram
