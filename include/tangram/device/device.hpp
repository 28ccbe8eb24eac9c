#pragma once
#include <memory>
#include <string>

#include "tangram/error.hpp"
#include "tangram/gram/product_back_end.hpp"

namespace tangram {

/// The GPUs that this process may use.
struct Gpus {
    int count = 0;
    ErrorKind why = ErrorKind::missing;  ///< there are none, and in words
    std::string words;
};

/// NVIDIA GPUs of compute capability 8.0 or more, as CUDA_VISIBLE_DEVICES leaves them. None in a build
/// without CUDA, without a driver, or where one of them is older. Local; never throws for what it finds.
Gpus usable_gpus();

/// Tile products on one of them, 0 .. count - 1; before it is handed out its products are compared with the
/// same kernel on the host, bit for bit. Several processes may share a GPU. Local.
/// @throws Error(numerical) naming the GPU: the device fails, has too little memory, or gives other bits
std::unique_ptr<ProductBackEnd> products_on_gpu(int gpu);

}  // namespace tangram
