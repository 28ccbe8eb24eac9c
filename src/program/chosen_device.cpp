#include "chosen_device.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "tangram/parallel/collective_error.hpp"

namespace tangram {

namespace {

constexpr double used = 0.9;        // of a GPU's memory; the rest is the driver's
constexpr double used_free = 0.95;  // of what is free once CUDA has taken its own

[[noreturn]] void refuse(const std::string& device, ErrorKind kind, const std::string& words) {
    throw Error(ExitStatus::study, kind, fmt::format("--device {}: {}", device, words));
}

void check_memory(const std::string& device, std::optional<double> memory) {
    if (device == "cpu" && memory)
        refuse(device, ErrorKind::contradiction,
               "--device-memory is a GPU's; leave it out, or use --device cuda");
}

/// The GPU that a rank of a host takes, in turn, and the ranks that take the same one, itself among them:
/// each may see others, or see one by another number. Collective over the host.
struct Share {
    int gpu, ranks;
};
Share share_of(const Communicator& host, const Gpus& gpus) {
    const int gpu = host.rank() % gpus.count();
    const std::string& id = gpus.ids[static_cast<std::size_t>(gpu)];
    const std::vector<std::string> taken = gather_to_all(host.get(), id);
    return {gpu, static_cast<int>(std::ranges::count(taken, id))};
}

/// What every rank sees; nothing: none sees a GPU, and nobody insists on one. Collective.
std::optional<Gpus> gpus_of_all(const std::string& device, bool insists, const std::string& instead,
                                const Session& session, const GpuSource& source) {
    const MPI_Comm comm = session.world.get();
    const Gpus gpus = collectively(comm, source.usable);
    const auto with = static_cast<int>(sum_over_ranks(comm, Index{gpus.count() > 0 ? 1 : 0}));
    if (with == 0 && insists && device == "auto")
        throw Error(ExitStatus::study, gpus.why, "--device-memory: " + gpus.words + instead);
    if (with == 0 && insists) refuse(device, gpus.why, gpus.words + instead);
    if (with == 0 && gpus.seen) session.log.say("no GPU is used: " + gpus.words);
    if (with > 0 && !gpus.words.empty()) session.log.say("a GPU is left out: " + gpus.words);
    if (with == 0) return std::nullopt;
    if (with < session.world.size())
        refuse(
            device, ErrorKind::contradiction,
            fmt::format("{} of {} ranks see a GPU; start them on nodes that have one and show it to all "
                        "(srun --gpus-per-task=1, or --gpus-per-node with ranks that share), or use --device "
                        "cpu",
                        with, session.world.size()));
    return gpus;
}

}  // namespace

ChosenDevice chosen_device(const std::string& device, std::optional<double> memory, const Session& session,
                           const GpuSource& source) {
    check_memory(device, memory);
    if (device == "cpu") return {};
    const MPI_Comm comm = session.world.get();
    const std::optional<Gpus> gpus =
        gpus_of_all(device, device != "auto" || memory.has_value(), "", session, source);
    if (!gpus) return {};
    const bool direct = device == "cuda-direct",
               reached = collectively(comm, [&] { return !direct || source.messages_reach_them(); });
    if (any_rank(comm, !reached))
        refuse(device, ErrorKind::unsupported,
               "this MPI does not say that it reads the memory of GPUs, as OpenMPI from 5 on and MPICH from "
               "4 on do where they were built with CUDA; use --device cuda");
    const Communicator host = Communicator::of_host(comm);
    const auto [gpu, ranks] = share_of(host, *gpus);
    // Asked again when every rank has taken what CUDA itself needs.
    collectively(comm, [&, gpu = gpu] { return source.free_memory(gpu); });
    const double free = collectively(comm, [&, gpu = gpu] { return source.free_memory(gpu); }),
                 allowed = memory.value_or(std::min(used * gpus->memory, used_free * free) / ranks),
                 over = max_over_ranks(comm, allowed * ranks - free);
    if (over > 0)
        refuse(device, ErrorKind::contradiction,
               fmt::format(
                   "--device-memory {} for each rank is {} more than a GPU has free for those that share "
                   "it; take less, or fewer ranks for each GPU, and see who else is there (nvidia-smi)",
                   bytes_text(allowed), bytes_text(over)));
    ChosenDevice chosen = collectively(comm, [&, gpu = gpu] {
        ChosenDevice made{"", source.products(gpu, allowed, direct), source.passes(gpu, allowed),
                          source.solver(gpu, allowed), nullptr};
        made.registered = std::make_unique<RegisteredWholeSolver>(*made.solver);
        return made;
    });
    chosen.words = fmt::format("{} (the first rank's{}), {} of its memory{}", chosen.products->name(),
                               ranks > 1 ? fmt::format(", which {} ranks share", ranks) : "",
                               bytes_text(allowed), direct ? ", messages from there" : "");
    return chosen;
}

std::optional<double> planned_device_memory(const std::string& device, std::optional<double> memory,
                                            const Session& session, const GpuSource& source) {
    check_memory(device, memory);
    if (device == "cpu" || memory) return memory;
    const std::optional<Gpus> gpus =
        gpus_of_all(device, device != "auto", "; --device-memory plans for other machines", session, source);
    if (!gpus) return std::nullopt;
    const MPI_Comm comm = session.world.get();
    const int ranks = share_of(Communicator::of_host(comm), *gpus).ranks;
    return -max_over_ranks(comm, -used * gpus->memory / ranks);
}

}  // namespace tangram
