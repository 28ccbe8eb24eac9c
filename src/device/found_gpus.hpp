#pragma once
#include <string>
#include <vector>

#include "tangram/device/device.hpp"

namespace tangram::device {

/// A GPU as the driver describes it.
struct FoundGpu {
    std::string id, name;
    int major, minor;          ///< compute capability
    std::size_t block_memory;  ///< bytes of shared memory that a block may ask for
    std::size_t memory;        ///< bytes of all of it
};

/// All that the process sees, and what the driver says where it shows none.
struct FoundGpus {
    std::vector<FoundGpu> gpus;
    std::string problem;
};

/// Those that the kernels can run on; in words why not on another one. Local.
Gpus judged(const FoundGpus& found);

}  // namespace tangram::device
