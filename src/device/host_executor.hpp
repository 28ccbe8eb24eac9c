#pragma once
#include <memory>

#include "tangram/gram/product_back_end.hpp"

namespace tangram::device {

/// The devices' kernels on this machine's cores, block by block and, in each phase, thread by thread: what a
/// device must give in every bit. Slow; for tests and for the check of a device before it is used.
std::unique_ptr<ProductBackEnd> host_executor();

/// Compares a back end with it on small ragged tiles, in float32 and float64. @throws Error(numerical)
void require_bits_of_the_host(ProductBackEnd& back_end);

}  // namespace tangram::device
