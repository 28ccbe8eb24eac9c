#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "tangram/device/device.hpp"
#include "tangram/parallel/communicator.hpp"
#include "tangram/session/session.hpp"

namespace tangram {

/// What GPUs are asked for: tests have others.
struct GpuSource {
    std::function<Gpus()> usable = usable_gpus;
    std::function<std::unique_ptr<ProductBackEnd>(int gpu, double memory, bool messages_reach_it)> products =
        products_on_gpu;
    std::function<std::unique_ptr<WholeSolver>(int gpu, double memory)> solver = solver_on_gpu;
    std::function<double(int gpu)> free_memory = free_gpu_memory;
    std::function<std::unique_ptr<PassBackEnd>(int gpu, double memory)> passes = passes_on_gpu;
    std::function<bool()> messages_reach_them = messages_reach_gpus;
};

/// A rank's GPU: products of tiles, passes, and the solver that eigenpairs() knows while this lives. All
/// empty: none.
struct ChosenDevice {
    std::string words = "CPU";  ///< the first rank's, for the reader
    std::unique_ptr<ProductBackEnd> products;
    std::unique_ptr<PassBackEnd> passes;
    std::unique_ptr<WholeSolver> solver;
    std::unique_ptr<RegisteredWholeSolver> registered;  // goes first
};

/// What --device asks for: "cpu": none, this machine's cores; "cuda": a GPU,
/// the ranks of a host take its GPUs in turn; "cuda-direct": the same, messages go from GPU to GPU; "auto":
/// GPUs where there are any. Collective.
/// @param memory  --device-memory, bytes of its GPU that a rank may take; nothing: nine tenths of it, or what
///                others leave, divided among the ranks that share one
/// @throws Error(study) on every rank where "cuda" finds none, only some ranks see one, or `memory` goes
///         without one or is more than a GPU has free for the ranks that share it, or "cuda-direct" meets an
///         MPI that reaches none; Error(numerical) where a GPU fails
ChosenDevice chosen_device(const std::string& device, std::optional<double> memory, const Session& session,
                           const GpuSource& source = {});

/// What a plan takes of each rank's GPU: --device-memory; else, where --device is not "cpu" and this machine
/// has GPUs, nine tenths of one divided among the ranks of this run that share it, the least of all ranks.
/// Nothing: there are none. Collective.
/// @throws Error(study) on every rank where "cuda" finds none, only some ranks see one, or "cpu" goes with a
///         memory
std::optional<double> planned_device_memory(const std::string& device, std::optional<double> memory,
                                            const Session& session, const GpuSource& source = {});

}  // namespace tangram
