#pragma once
#include <memory>
#include <string>

#include "tangram/device/device.hpp"

/// What device.cpp needs of CUDA, in a build that has it.
namespace tangram::device {

Gpus cuda_gpus();
std::unique_ptr<ProductBackEnd> cuda_products(int gpu);

}  // namespace tangram::device
