#pragma once
#include <memory>

#include "runtime.hpp"
#include "tangram/model/pass_back_end.hpp"

namespace tangram::device {

/// Forward and backward passes on a device.
/// @param memory  bytes of the device's memory that they may take
std::unique_ptr<PassBackEnd> device_passes(std::unique_ptr<Runtime> runtime, double memory,
                                           PassSizes sizes = {});

/// Compares passes with those on this processor on a small network, in float32 and float64.
/// @throws Error(numerical)
void require_bits_of_the_host(PassBackEnd& back_end);

}  // namespace tangram::device
