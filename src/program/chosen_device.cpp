#include "chosen_device.hpp"

#include <fmt/format.h>

#include "tangram/parallel/collective_error.hpp"

namespace tangram {

std::unique_ptr<ProductBackEnd> chosen_device(const std::string& device, const Session& session) {
    if (device == "cpu") return nullptr;
    const MPI_Comm comm = session.world.get();
    const Gpus gpus = collectively(comm, usable_gpus);
    const Index with = sum_over_ranks(comm, Index{gpus.count > 0 ? 1 : 0});
    if (with == 0 && device == "cuda")
        throw Error(ExitStatus::study, gpus.why, "--device cuda: " + gpus.words);
    if (with == 0) return nullptr;
    if (with < session.world.size())
        throw Error(
            ExitStatus::study, ErrorKind::contradiction,
            fmt::format("--device {}: {} of {} ranks see a GPU; start them on nodes that have one and "
                        "show it to all (srun --gpus-per-node), or use --device cpu",
                        device, with, session.world.size()));
    const Communicator host = Communicator::of_host(comm);
    std::unique_ptr<ProductBackEnd> products =
        collectively(comm, [&] { return products_on_gpu(host.rank() % gpus.count); });
    session.log.say(fmt::format("tiles are multiplied on {} (the first rank's), {} rank{} to {} GPU{} a host",
                                products->name(), host.size(), host.size() == 1 ? "" : "s", gpus.count,
                                gpus.count == 1 ? "" : "s"));
    return products;
}

}  // namespace tangram
