#pragma once
#include <cstdlib>

#include "tangram/device/device.hpp"

namespace tangram::testing {

/// Whether kernels are tried on the host: everywhere, but where a GPU is there and TANGRAM_TEST_GPU_ALONE asks
/// for it alone (tools/checks/gpu, whose minutes are few).
inline bool on_the_host_too() {
    return std::getenv("TANGRAM_TEST_GPU_ALONE") == nullptr || usable_gpus().count() == 0;
}

}  // namespace tangram::testing
