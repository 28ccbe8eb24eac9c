#pragma once
#include <memory>

#include "runtime.hpp"
#include "tangram/gram/product_back_end.hpp"

namespace tangram::device {

/// Tile products on a device. While a slice is multiplied the next one is copied; sums stay on the device
/// from slice to slice, where they do not all find room they take turns.
/// @param memory             bytes of the device's memory that it may take
/// @param messages_reach_it  whether MPI reads and writes the device's memory
std::unique_ptr<ProductBackEnd> device_products(std::unique_ptr<Runtime> runtime, double memory,
                                                bool messages_reach_it = false);

}  // namespace tangram::device
