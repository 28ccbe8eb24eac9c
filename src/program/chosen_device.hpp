#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "tangram/device/device.hpp"
#include "tangram/session/session.hpp"

namespace tangram {

/// What GPUs are asked for: tests have others.
struct GpuSource {
    std::function<Gpus()> usable = usable_gpus;
    std::function<std::unique_ptr<ProductBackEnd>(int gpu, double memory)> products = products_on_gpu;
};

/// What --device asks for, which the first rank says: "cpu": nullptr, this machine's cores; "cuda": a GPU,
/// the ranks of a host take its GPUs in turn; "auto": GPUs where there are any. Collective.
/// @param memory  --device-memory, bytes of its GPU that a rank may take; nothing: nine tenths, divided among
///                the ranks that share one
/// @throws Error(study) on every rank where "cuda" finds none, only some ranks see one, or `memory` goes
///         without one; Error(numerical) where a GPU fails
std::unique_ptr<ProductBackEnd> chosen_device(const std::string& device, std::optional<double> memory,
                                              const Session& session, const GpuSource& source = {});

/// What a plan takes of each rank's GPU: --device-memory; else, where --device is not "cpu" and this machine
/// has GPUs, nine tenths of one. Nothing: there are none. Collective.
/// @throws Error(study) on every rank where "cuda" finds none, or "cpu" goes with a memory
std::optional<double> planned_device_memory(const std::string& device, std::optional<double> memory,
                                            const Session& session, const GpuSource& source = {});

}  // namespace tangram
