#pragma once
#include <memory>
#include <string>
#include <vector>

#include "tangram/error.hpp"
#include "tangram/gram/product_back_end.hpp"
#include "tangram/model/pass_back_end.hpp"
#include "tangram/spectrum/whole_solver.hpp"

namespace tangram {

/// The GPUs that this process may use.
struct Gpus {
    std::vector<std::string> ids;        ///< of those that are usable; the same to every process of the node
    double memory = 0;                   ///< bytes, of the usable one that has least
    bool seen = false;                   ///< there are some, usable or not
    ErrorKind why = ErrorKind::missing;  ///< one, or all, are not usable, and in words
    std::string words;
    std::vector<int> numbers = {};  ///< CUDA's, of those that are usable

    int count() const { return static_cast<int>(ids.size()); }
};

/// NVIDIA GPUs of compute capability 8.0 or more, as CUDA_VISIBLE_DEVICES leaves them; older ones are left
/// out. None in a build without CUDA or without a driver. Local; never throws for what it finds.
Gpus usable_gpus();

/// Bytes of one of them, 0 .. count() - 1, that nobody has taken; this process has taken what CUDA itself
/// needs of it. Local. @throws Error(numerical) naming the GPU and its node
double free_gpu_memory(int gpu);

/// Tile products on one of them, 0 .. count() - 1; before it is handed out its products are compared with the
/// same kernel on the host, bit for bit. Several processes may share a GPU. Local.
/// @param memory             bytes of the GPU's memory that this process may take
/// @param messages_reach_it  MPI reads and writes its memory (messages_reach_gpus)
/// @throws Error(numerical) naming the GPU and its node: the device fails, has too little memory, or gives
/// other bits
std::unique_ptr<ProductBackEnd> products_on_gpu(int gpu, double memory, bool messages_reach_it = false);
/// Forward and backward passes on one of them, compared with the host's before they are handed out. Of the
/// same memory they take pass_share, products the rest. @throws as products_on_gpu
std::unique_ptr<PassBackEnd> passes_on_gpu(int gpu, double memory);
/// cuSOLVER on one of them. @throws Error(numerical) naming it and its node
std::unique_ptr<WholeSolver> solver_on_gpu(int gpu, double memory);

}  // namespace tangram
