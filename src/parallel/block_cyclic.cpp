#include "tangram/parallel/block_cyclic.hpp"

namespace tangram {

Index BlockCyclic::local_size(int process) const {
    const Index whole = size / block, extra = size % block;
    const Index mine = whole / processes, left = whole % processes;
    return mine * block + (process < left ? block : process == left ? extra : 0);
}

}  // namespace tangram
