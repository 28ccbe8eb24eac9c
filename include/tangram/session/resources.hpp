#pragma once
#include <optional>
#include <string>

#include "tangram/parallel/communicator.hpp"

namespace tangram {

/// "4GiB", "512 MB", "1.5G": bytes. @throws Error(study) naming the option
double parse_bytes(const std::string& text, const std::string& option);

/// Bytes that one rank may take: what was asked for; else what SLURM or the cgroup allows the ranks of this
/// node, or its memory, divided among them. Collective; the smallest over ranks.
double memory_limit_per_rank(const Communicator& world, std::optional<double> asked);

/// Ranks of the host that has the fewest. Collective.
int ranks_of_host(const Communicator& world);

/// Largest resident memory of this process so far, bytes (VmHWM).
Index peak_bytes();
/// Resident memory of this process now, bytes (VmRSS).
Index resident_bytes();
/// Of that what no other process shares, bytes (RssAnon).
Index own_bytes();

}  // namespace tangram
