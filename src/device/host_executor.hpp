#pragma once
#include <memory>

#include "runtime.hpp"
#include "tangram/gram/product_back_end.hpp"

namespace tangram::device {

/// This machine's cores and memory in place of a device: kernels block by block and, in each phase, thread by
/// thread, in orders that nobody can rely on. What a stream is asked for is put off until somebody waits for
/// it, so that what is read too early or overwritten too early is found out; nothing is set before it is
/// written, and whoever touches the device's memory by another way than this one is ended by the system.
/// Slow; for tests and for the check of a device before it is used.
/// @param memory             bytes of the device that there are; what asks for more fails with no_memory
/// @param messages_reach_it  its memory may be touched by others than the device, at any time
std::unique_ptr<Runtime> host_runtime(double memory = 0x1p40, bool messages_reach_it = false);

/// Tile products on it: what a device must give in every bit.
/// @param memory  bytes that it has and may take
std::unique_ptr<ProductBackEnd> host_executor(double memory = 0x1p40);

/// Compares a back end with it on small ragged tiles, in float32 and float64, over two slices.
/// @throws Error(numerical)
void require_bits_of_the_host(ProductBackEnd& back_end);

}  // namespace tangram::device
